"""Where a model's weights come from: each kind of source, and how it becomes an artifact."""

from collections.abc import Callable

from experiments.schema.model import LocalSource, ModelSource, SyntheticSource
from tasks.artifacts.hub import fetch_hub
from tasks.artifacts.local import fetch_local
from tasks.artifacts.manifest import Artifact
from tasks.artifacts.store import ArtifactStore
from tasks.artifacts.synthetic import fetch_synthetic


def fetch_model(
    source: ModelSource,
    store: ArtifactStore,
    *,
    progress: Callable[[str], None],
    live: Callable[[str], None] | None = None,
) -> Artifact:
    """A folder in the Hugging Face layout. Raises DownloadError where the source does not give it, SetupError where
    the disk is full. What is there already is not fetched again. `live` is told over and over how much has arrived."""
    if isinstance(source, SyntheticSource):
        return fetch_synthetic(source, store, progress=progress)
    if isinstance(source, LocalSource):
        return fetch_local(source, store, progress=progress)
    return fetch_hub(source, store, progress=progress, live=live)
