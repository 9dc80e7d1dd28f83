"""Stage: the model's files are in the store."""

import logging
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from experiments.errors import DownloadError
from experiments.schema.model import Model
from experiments.schema.prompts import Dataset, Prompts
from tasks.artifacts.hub import fetch_hub_dataset
from tasks.artifacts.manifest import Artifact
from tasks.artifacts.sources import fetch_model
from tasks.artifacts.store import ArtifactStore

log = logging.getLogger("dyno.download")

TRANSPORT_ERRORS = ("ConnectError", "ConnectTimeout", "ReadError", "ReadTimeout", "RemoteProtocolError", "WriteError")
"""By name: huggingface-hub brings an HTTP client of its own, whose classes are not those of ours."""


def may_pass(error: object) -> bool:
    """Whether the same download may succeed a little later: the network or the hub failed, not the request."""
    if not isinstance(error, DownloadError):
        return False
    cause = error.__cause__
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if status is not None:
        return bool(status == 429 or status >= 500)
    return isinstance(cause, (ConnectionError, TimeoutError)) or type(cause).__name__ in TRANSPORT_ERRORS


def _retry_condition(_task: object, _run: object, state: State[Any]) -> bool:
    return may_pass(state.data)


def _live(text: str) -> None:
    """One line that is written over on a terminal; elsewhere a line of it now and then."""
    log.debug("%s", text, extra={"live": text})


@task(
    name="download",
    task_run_name="download {model.name}",
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=5,
    retry_condition_fn=_retry_condition,
)
def download(model: Model, artifacts: Path) -> Artifact:
    """Cached by content in the store; Prefect's own cache would know only this host's results."""
    found = fetch_model(model.source, ArtifactStore(artifacts), progress=log.info, live=_live)
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
    part = {"file": prompts.file, "split": prompts.split}
    found = fetch_hub_dataset(source, store, **part, progress=log.info, live=_live)
    log.info("%s: %.1f MB %s", source.repo, found.bytes / 1e6, "made" if found.was_made else "kept")
    return found.path
