"""Builds with stand-ins for the compilers; also a program that is killed: `toolchains.py ROOT ENGINE`."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from engine_adapters import ADAPTERS
from experiments.schema.model import Model, SyntheticSource
from experiments.schema.variant import EnvironmentVariable, Quantization, Variant
from tasks.artifacts.manifest import Artifact
from tasks.artifacts.store import ArtifactStore
from tasks.building.build import Ended, Inputs, Step, Toolchain, build_engine
from tasks.building.identity import GPU
from tasks.serving.guarded_run import guarded_run
from tasks.serving.server import programs_first
from tests.stand_ins.programs import stand_in_programs

STAND_INS = Path(__file__).parents[2] / "stand_ins"
H200 = GPU("NVIDIA H200", "9.0", "580.65.06")
MODEL = Model(name="m", source=SyntheticSource(kind="synthetic"))
CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
TOKENIZER = b'{"version": "1.0", "truncation": null, "odd": "\xe2\x82\xac  "}\n'
ENGINES: dict[str, dict[str, Any]] = {
    "mlc_llm": {"engine_version": "0.20.0", "quantization": Quantization.BF16},
    "tensorrt_llm": {
        "engine_version": "1.2.1",
        "quantization": Quantization.FP8,
        "engine_backend": "tensorrt",
        "tensor_parallel": 2,
    },
    "tensorrt_llm from its model": {
        "engine": "tensorrt_llm",
        "engine_version": "1.2.1",
        "quantization": Quantization.BF16,
        "engine_backend": "tensorrt",
        "runtime": "container",
    },
}


def variant_of(engine: str, **env: str) -> Variant:
    fields = {"engine": engine, "model": MODEL, "hardware": "h200-sxm", "max_num_seqs": 256, **ENGINES[engine]}
    return Variant(**fields, env=tuple(EnvironmentVariable(name=name, value=value) for name, value in env.items()))


def programs(root: Path) -> Path:
    """A folder like an environment's `bin`, with the stand-ins under the names of the real programs."""
    return stand_in_programs(root / "bin")


def toolchain(root: Path) -> Toolchain:
    environment = programs_first(programs(root) / "python", dict(os.environ))

    def run(step: Step) -> Ended:
        argv = step.argv
        if argv[0] == sys.executable and argv[1].endswith(
            "convert_checkpoint.py"
        ):  # the image's own path, where the script of its family lies
            argv = (argv[0], str(STAND_INS / "convert_checkpoint.py"), Path(argv[1]).parent.name, *argv[2:])
        env = environment | dict(step.env)
        return Ended(*guarded_run(argv, env=env, log=step.log, leases=root / "leases", what="a build", cwd=step.cwd))

    return Toolchain(run, sys.executable, "packages-1", H200)


def artifacts(store: ArtifactStore, ranks: int = 2) -> tuple[Artifact, Artifact]:
    """A checkpoint for so many GPUs, and the model that it is of."""

    def model(folder: Path) -> dict[str, Any]:
        (folder / "config.json").write_text(json.dumps(CONFIG))
        (folder / "tokenizer.json").write_bytes(TOKENIZER)
        (folder / "model.safetensors").write_bytes(b"weights" * 100)
        return {}

    def checkpoint(folder: Path) -> dict[str, Any]:
        (folder / "config.json").write_text(json.dumps(CONFIG | {"mapping": {"world_size": ranks}}))
        for rank in range(ranks):
            (folder / f"rank{rank}.safetensors").write_bytes(b"weights" * 50)
        return {}

    return store.get_or_make("checkpoint", {"ranks": ranks}, checkpoint), store.get_or_make("model", {"a": 1}, model)


def built(root: Path, engine: str, *, log: Path | None = None, **env: str) -> Artifact:
    store = ArtifactStore(root / "artifacts")
    variant = variant_of(engine, **env)
    spec = ADAPTERS[variant.engine].build_spec(variant)
    assert spec
    checkpoint, model = artifacts(store)
    there = Inputs(checkpoint if engine == "tensorrt_llm" else model, model)
    where = log or root / "build.log"
    return build_engine(variant, spec, there, store, toolchain(root), log=where, say=lambda _: None)


if __name__ == "__main__":
    made = built(Path(sys.argv[1]), sys.argv[2], log=Path(sys.argv[1]) / f"{os.getpid()}.log")
    print(json.dumps({"was_made": made.was_made, "key": made.key, "path": str(made.path)}))
