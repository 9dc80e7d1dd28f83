"""Fetches models from the hub that HF_ENDPOINT names, in a process of its own, and reports what became of each.

fetching.py ROOT REPO@REVISION … dataset:REPO@REVISION:FILE:SPLIT …
"""

import json
import sys
from pathlib import Path
from typing import Any

from experiments.errors import DynoError
from experiments.schema.model import HubSource
from experiments.schema.prompts import HubDataset
from tasks.artifacts.hub import fetch_hub_dataset
from tasks.artifacts.manifest import Artifact
from tasks.artifacts.sources import fetch_model
from tasks.artifacts.store import ArtifactStore


def fetched(store: ArtifactStore, repo: str, revision: str, said: list[str]) -> Artifact:
    if not repo.startswith("dataset:"):
        return fetch_model(HubSource(kind="hub", repo=repo, revision=revision), store, progress=said.append)
    revision, file, split = revision.split(":")
    source = HubDataset(kind="hub", repo=repo.removeprefix("dataset:"), revision=revision)
    return fetch_hub_dataset(source, store, file=file or None, split=split or None, progress=said.append)


def report(store: ArtifactStore, model: str) -> dict[str, Any]:
    said: list[str] = []
    repo, revision = model.split("@")
    try:
        artifact = fetched(store, repo, revision, said)
    except DynoError as error:
        return {"said": said, "error": type(error).__name__, "message": error.message, "class": error.failure_class}
    return {"said": said, "path": str(artifact.path), "key": artifact.key, "was_made": artifact.was_made}


if __name__ == "__main__":
    print(json.dumps([report(ArtifactStore(Path(sys.argv[1])), model) for model in sys.argv[2:]]))
