"""Stage: a checkpoint in the precision and format that the engine loads."""

import logging
import os
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from engine_adapters import ADAPTERS
from engine_adapters.base import CheckpointSpec
from experiments.schema.model import Model
from experiments.schema.variant import Variant
from tasks.artifacts.manifest import Artifact
from tasks.artifacts.store import ArtifactStore
from tasks.loadgen.english import sentences
from tasks.quantization.calibration import Calibration, read_calibration
from tasks.quantization.checkpoint import make_checkpoint
from tasks.quantization.ggml import find_ggml_library
from tasks.quantization.published import checkpoint_to_load, read_published
from tasks.quantization.recipes import is_calibrated
from tasks.serving.environment import Environment, engine_environment

log = logging.getLogger("dyno.quantize")

GPU_NODE = Path("/dev/nvidiactl")
"""Where NVIDIA's driver answers, in a container that was given a GPU too."""

ENGLISH_SEEDS = 8
"""Of 2048 sentences each: enough tokens for the default amount, whatever the tokenizer."""


@task(name="quantize", task_run_name="quantize {variant.model.name} {variant.quantization}", cache_policy=NO_CACHE)
def quantize(
    variant: Variant, model: Artifact, artifacts: Path, environment: Environment | None, environments: Path
) -> Artifact:
    """Made by the engine's own quantizer where its environment has one, or by a tool in its own environment, below
    `environments`; cached by content in the store. A model that is published in the variant's precision is used as it
    comes."""
    spec = _spec(variant, model.path)
    if spec is None:
        return model
    found = make_checkpoint(
        model,
        spec,
        ArtifactStore(artifacts),
        progress=lambda text: log.debug("%s", text, extra={"live": text}),
        ggml_library=find_ggml_library(environment.site_packages) if environment and spec.format == "gguf" else None,
        environment=lambda requirements: engine_environment(environments, requirements, log.info),
        calibration=calibration_of(variant.model) if is_calibrated(spec) else None,
        device=device(),
    )
    verb = "made and verified" if found.was_made else "kept"
    log.info("%s: %s %s, %.1f MB %s", variant.model.name, spec.format, spec.recipe, found.bytes / 1e6, verb)
    return found


def _spec(variant: Variant, folder: Path) -> CheckpointSpec | None:
    """What the adapter asks for, or the model's own files where they are published in that precision."""
    adapter = ADAPTERS[variant.engine]
    asked = adapter.checkpoint(variant)
    if asked is None:
        return None
    quantizes = adapter.build_spec(variant) is not None or bool(
        set(adapter.quantizing_flags) & set(adapter.launch_spec(variant).argv)
    )
    published = read_published(folder)
    name = variant.model.name
    if published is not None:
        log.info("%s: its weights are published as %s", name, published.what)
    return checkpoint_to_load(asked, variant.quantization, published, model=name, engine_quantizes=quantizes)


def calibration_of(model: Model) -> Calibration:
    """The person's own data where the model names a file, else English of ours."""
    if model.calibration is not None:
        return read_calibration(Path(model.calibration))
    text = " ".join(sentence for seed in range(ENGLISH_SEEDS) for sentence in sentences(seed))
    return Calibration(f"dyno english, seeds 0 to {ENGLISH_SEEDS - 1}", text)


def device() -> str:
    """cuda where the machine has an NVIDIA GPU that is not hidden; whether torch can use it, the tool finds."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1")
    return "cuda" if GPU_NODE.exists() and not hidden else "cpu"
