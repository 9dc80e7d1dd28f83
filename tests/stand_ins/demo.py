"""Two cells of almanac.yaml through the whole of dyno, without a GPU: `demo.py FOLDER` runs them and keeps what came.

NOTHING HERE IS A MEASUREMENT. Stand-ins answer in the place of vLLM and TensorRT-LLM, of the latter's compiler, of the
model hub (a tiny real Llama under a gated name) and of NVIDIA's library. dyno is the real one, from download to MLflow.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from experiments.schema.model import SyntheticSource
from tasks.artifacts.sources import fetch_model
from tasks.artifacts.store import ArtifactStore
from tests.stand_ins.nvml import compile_nvml
from tests.stand_ins.programs import stand_in_programs
from tests.tasks.artifacts.hub_server import TOKEN, Hub, HubRepository

ROOT = Path(__file__).parents[2]
DYNO = [sys.executable, "-c", "from flows.cli import main; main()"]
MODEL, REPOSITORY, WORKLOAD = "llama-3.1-8b-instruct", "meta-llama/Llama-3.1-8B-Instruct", "in1024-out128"
LINES: dict[str, dict[str, str]] = {
    "vllm": {"quantization": "bf16"},
    "tensorrt_llm": {"quantization": "bf16", "engine_backend": "tensorrt"},
}
"""Of almanac.yaml's lines of that model, which of their combinations."""

QUICK = {
    "requests_per_point": 8,
    "min_seconds": 0.3,
    "max_seconds": 2,
    "warm_up": {"max_seconds": 2, "window_seconds": 0.2},
    "saturation": {"max_concurrency": 2},
    "open_loop": {"fractions": [0.5]},
}
GPU = f"GPU-5trd-1n-0 62 {2**29} 412000 51 1755 2619 0 1\n"
"""Utilisation, memory, mW, °C, clocks, throttle reasons, and that it counts energy, as stand_in_nvml.c reads them."""

SOURCE = SyntheticSource(
    kind="synthetic", vocab_size=2048, hidden_size=256, intermediate_size=512, layers=2, context_length=131_072
)


def two_cells() -> dict[str, Any]:
    """almanac.yaml cut down to two cells, with a plan of seconds. Nothing of the variants is changed."""
    whole = yaml.safe_load((ROOT / "experiments/almanac.yaml").read_text())
    lines = [line | LINES[line["engine"]] for line in whole["variants"] if line["engine"] in LINES]
    chosen = [line for line in lines if line["model"] == MODEL]
    return {"variants": chosen, "workloads": [WORKLOAD], "slos": whole["slos"], "load_plan": QUICK}


@contextlib.contextmanager
def gated_hub(folder: Path) -> Iterator[Hub]:
    """Gives the tiny Llama as the gated repository that the catalog names."""
    made = fetch_model(SOURCE, ArtifactStore(folder), progress=lambda _: None)
    files = {path.name: path.read_bytes() for path in made.path.iterdir() if path.is_file()}
    weights = frozenset(name for name in files if name.endswith(".safetensors"))
    hub = Hub({REPOSITORY: HubRepository(files, weights, access="gated")})
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()


@contextlib.contextmanager
def demonstration(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which dyno meets stand-ins only, and `almanac.yaml` with two cells in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "almanac.yaml").write_text(json.dumps(two_cells(), indent=1))
    (folder / "gpus").write_text(GPU)
    library = compile_nvml(folder / "nvml")
    if library is None:
        raise SystemExit("no C compiler: the stand-in for libnvidia-ml.so.1 cannot be made")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "CUDA_", "MLFLOW_"))}
    with gated_hub(folder / "hub") as hub:
        yield {
            **inherited,
            "PYTHONPATH": str(ROOT),
            "DYNO_HOME": str(folder / "home"),
            "DYNO_STAND_INS": str(stand_in_programs(folder / "programs")),
            "HF_HOME": str(folder / "hf-home"),
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": TOKEN,
            "LD_LIBRARY_PATH": str(library),
            "STAND_IN_NVML": str(folder / "gpus"),
        }


def run_dyno(folder: Path, environment: dict[str, str], *args: str) -> "subprocess.CompletedProcess[str]":
    """dyno in the folder, with what it says."""
    return subprocess.run(
        [*DYNO, *args], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=900
    )


if __name__ == "__main__":
    with demonstration(Path(sys.argv[1]).absolute()) as around:
        sys.exit(subprocess.run([*DYNO, "run", "almanac.yaml"], cwd=sys.argv[1], env=around, check=False).returncode)
