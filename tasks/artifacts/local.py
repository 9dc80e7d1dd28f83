"""A model in a folder of the person's own, used where it lies: not copied, not linked, never written to.

Its identity is the content of the files that an engine needs. Hashes are kept by (path, size, times, inode), so that a
large model is read once; a file that changes has another hash and so makes other checkpoints.
"""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from experiments.errors import DownloadError
from experiments.schema.failure import FailureClass
from experiments.schema.model import LocalSource
from tasks.artifacts.manifest import Artifact, FileEntry, Manifest, sha256_of
from tasks.artifacts.model_files import lacking, lacking_shards, needed_files
from tasks.artifacts.remembered import recall, remember
from tasks.artifacts.store import ArtifactStore, artifact_key, size_text

SETTLED_NS = 2_000_000_000
"""A file that changed less than this before it was hashed may change again under the same modification time."""

Hashes = dict[str, str]


def fetch_local(source: LocalSource, store: ArtifactStore, *, progress: Callable[[str], None]) -> Artifact:
    """Raises DownloadError that names what the folder lacks."""
    folder = Path(source.path).expanduser().absolute()
    names = files_of(folder)
    began = time.monotonic()
    files = _entries(folder, names, store.root / ".file-hashes.json", progress)
    made_from = {"files": {name: entry.sha256 for name, entry in files.items()}}
    manifest = Manifest(
        kind="local",
        key=artifact_key("local", made_from),
        made_from=made_from,
        facts={"folder": str(folder)},
        files=files,
        seconds=round(time.monotonic() - began, 3),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return Artifact(folder, manifest, was_made=False)


def files_of(folder: Path) -> list[str]:
    """The files of a model's folder that count. Raises DownloadError that names everything that it lacks."""
    if not folder.is_dir():
        raise DownloadError(
            f"{folder}: there is no such folder. Check `path` of the model's source.",
            failure_class=FailureClass.WEIGHTS_MISSING,
        )
    names = [path.name for path in folder.iterdir() if path.is_file()]
    lacks = lacking(names) + lacking_shards(folder)
    if lacks:
        raise DownloadError(
            f"{folder} is no model in the Hugging Face layout: it lacks {'; '.join(lacks)}.",
            failure_class=FailureClass.WEIGHTS_MISSING,
        )
    return needed_files(names)


def _entries(folder: Path, names: list[str], cache: Path, progress: Callable[[str], None]) -> dict[str, FileEntry]:
    hashes = recall(cache)
    known = dict(hashes)
    entries = {name: _entry(folder / name, hashes, progress) for name in names}
    if hashes != known:
        remember(cache, hashes)
    return entries


def _entry(path: Path, hashes: Hashes, progress: Callable[[str], None]) -> FileEntry:
    """Adds what it had to hash to `hashes`."""
    stat = path.stat()
    place = _place(path, stat)
    digest = hashes.get(place)
    if digest is None:
        progress(f"hashing {path.name} ({size_text(stat.st_size)})")
        digest = sha256_of(path)
        if _place(path, path.stat()) != place:
            raise DownloadError(f"{path} changed while it was read. Start again when nothing writes to it.")
        if _now_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > SETTLED_NS:
            hashes[place] = digest
    return FileEntry(size=stat.st_size, sha256=digest, mtime_ns=stat.st_mtime_ns)


def _place(path: Path, stat: os.stat_result) -> str:
    """The change time too: a tool may set the modification time back, but not that."""
    return f"{path}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ctime_ns}|{stat.st_dev}|{stat.st_ino}"


def _now_ns() -> int:
    """Of the clock by which files are stamped."""
    return time.clock_gettime_ns(time.CLOCK_REALTIME)
