"""A store on a file system of 1 MiB that fills up: run by test_store.py in a mount namespace of its own."""

import json
import subprocess
import sys
from pathlib import Path

from experiments.errors import SetupError
from tasks.artifacts.store import ArtifactStore


def fill(folder: Path) -> dict[str, int]:
    (folder / "large.bin").write_bytes(b"x" * 4 * 2**20)
    return {}


def small(folder: Path) -> dict[str, int]:
    (folder / "small.bin").write_bytes(b"x" * 1000)
    return {}


def main(root: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(root)], check=False)
    if mounted.returncode:
        print("cannot mount")
        return
    store = ArtifactStore(root)
    error = ""
    try:
        store.get_or_make("words", {"size": "large"}, fill)
    except SetupError as caught:
        error = str(caught)
    leftovers = [path.name for path in root.glob(".partial-*")]
    after = store.get_or_make("words", {"size": "small"}, small)
    print(json.dumps({"error": error, "leftovers": leftovers, "small_after": after.was_made}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
