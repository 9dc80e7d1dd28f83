"""Stage: the model's files are in the store."""

import logging
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from experiments.schema.model import Model
from tasks.artifacts.manifest import Artifact
from tasks.artifacts.sources import fetch_model
from tasks.artifacts.store import ArtifactStore

log = logging.getLogger("dyno.download")


@task(name="download", task_run_name="download {model.name}", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5)
def download(model: Model, artifacts: Path) -> Artifact:
    """Cached by content in the store; Prefect's own cache would know only this host's results."""
    found = fetch_model(model.source, ArtifactStore(artifacts), progress=log.info)
    verb = "made" if found.was_made else "kept"
    log.info("%s: %s, %.1f MB %s", model.name, model.source.kind, found.bytes / 1e6, verb)
    return found
