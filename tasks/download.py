"""Stage: the model's files are in the store."""

import logging
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from experiments.schema.model import Model
from experiments.schema.prompts import Dataset, Prompts
from tasks.artifacts.hub import fetch_hub_dataset
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


@task(name="download dataset", task_run_name="dataset", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5)
def download_dataset(prompts: Prompts, artifacts: Path) -> Path | None:
    """The file or folder of a workload's dataset on this machine; None where its prompts are not of one."""
    if not isinstance(prompts, Dataset):
        return None
    source = prompts.hub_source()
    if source is None:
        return Path(prompts.path or "").expanduser()
    store = ArtifactStore(artifacts)
    found = fetch_hub_dataset(source, store, file=prompts.file, split=prompts.split, progress=log.info)
    log.info("%s: %.1f MB %s", source.repo, found.bytes / 1e6, "made" if found.was_made else "kept")
    return found.path
