"""Stage: a checkpoint in the precision and format that the engine loads."""

import logging
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from engine_adapters import ADAPTERS
from experiments.schema.variant import Variant
from tasks.artifacts.manifest import Artifact
from tasks.artifacts.store import ArtifactStore
from tasks.quantization.checkpoint import make_checkpoint
from tasks.quantization.ggml import find_ggml_library
from tasks.serving.environment import Environment

log = logging.getLogger("dyno.quantize")


@task(name="quantize", task_run_name="quantize {variant.model.name} {variant.quantization}", cache_policy=NO_CACHE)
def quantize(variant: Variant, model: Artifact, artifacts: Path, environment: Environment | None) -> Artifact:
    """Made by the engine's own quantizer where its environment has one; cached by content in the store."""
    spec = ADAPTERS[variant.engine].checkpoint(variant)
    if spec is None:
        return model
    found = make_checkpoint(
        model,
        spec,
        ArtifactStore(artifacts),
        progress=lambda text: log.debug("%s", text, extra={"live": text}),
        ggml_library=find_ggml_library(environment.site_packages) if environment and spec.format == "gguf" else None,
    )
    verb = "made and verified" if found.was_made else "kept"
    log.info("%s: %s %s, %.1f MB %s", variant.model.name, spec.format, spec.recipe, found.bytes / 1e6, verb)
    return found
