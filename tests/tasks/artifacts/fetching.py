"""Fetches models from the hub that HF_ENDPOINT names, in a process of its own, and reports what became of each.

fetching.py ROOT REPO@REVISION …
"""

import json
import sys
from pathlib import Path
from typing import Any

from experiments.errors import DynoError
from experiments.schema.model import HubSource
from tasks.artifacts.sources import fetch_model
from tasks.artifacts.store import ArtifactStore


def report(store: ArtifactStore, model: str) -> dict[str, Any]:
    said: list[str] = []
    repo, revision = model.split("@")
    try:
        source = HubSource(kind="hub", repo=repo, revision=revision)
        artifact = fetch_model(source, store, progress=said.append)
    except DynoError as error:
        return {"said": said, "error": type(error).__name__, "message": error.message}
    return {"said": said, "path": str(artifact.path), "key": artifact.key, "was_made": artifact.was_made}


if __name__ == "__main__":
    print(json.dumps([report(ArtifactStore(Path(sys.argv[1])), model) for model in sys.argv[2:]]))
