"""The store of artifacts: each is made once, whatever is killed, and is whole whenever it is seen.

<root>/<kind>/<key>/artifact.json   what it is, what from, and the hash of each file
<root>/<kind>/<key>/content/…       the files
<root>/.locks/                      one lock a key; held while making
<root>/.used/                       one file a key: locked by those who use it, and changed at its last use
<root>/.partial-<kind>-<key>-…/     being made, or left by a maker that died
<root>/.damaged-<kind>-<key>/       set aside: it was found not to be what its manifest says
<root>/.gone-<kind>-<key>-…/        taken out of the store, and being removed
<root>/.download-<kind>-<key>/      a download that resumes where it was cut
"""

import errno
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from experiments.errors import SetupError
from experiments.schema.base import content_id
from experiments.schema.failure import FailureClass
from tasks.artifacts.lock import lock_if_free, locked, use_until_exit
from tasks.artifacts.manifest import Artifact, Manifest, entries_of, read_manifest, sync_folder, write_manifest

logger = logging.getLogger("dyno.artifacts")

Make = Callable[[Path], Mapping[str, Any]]
"""Writes files into the empty folder that it is given and returns the facts to keep. It may be killed at any moment."""

SPARE_BYTES = 64 * 2**20
"""Left free on the disk after an artifact whose size is known beforehand."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
KIND = re.compile(r"^[a-z][a-z0-9_]*$")


def silent(message: str) -> None:
    """The progress of somebody who does not look."""


@dataclass(frozen=True, slots=True)
class ArtifactStore:
    """Content-addressed by what an artifact is made from. Any number of processes may use one root."""

    root: Path

    def get_or_make(
        self,
        kind: str,
        made_from: Mapping[str, Any],
        make: Make,
        *,
        entry: str = "",
        needed_bytes: int = 0,
        progress: Callable[[str], None] = silent,
        verify: bool = False,
    ) -> Artifact:
        """The artifact made from `made_from`; `make` runs only where there is none that is sound.

        `made_from` is plain JSON and names all that the content depends on: keys of inputs, the recipe and its
        version, tools and their versions. `needed_bytes` is the size if it is known beforehand: too little disk is
        then an error before the work. `verify` compares the hash of every file of a hit. Raises SetupError where the
        disk is full, and whatever `make` raises; neither leaves anything behind. What it returns is not collected as
        long as this process lives.
        """
        key = artifact_key(kind, made_from)
        use_until_exit(self.use_file(kind, key))
        found = self._find(kind, key, verify=verify)
        if isinstance(found, Artifact):
            return found
        with locked(self.lock_file(kind, key), waiting=lambda who: progress(f"{kind} {key}: {who}")):
            found = self._find(kind, key, verify=verify)
            if isinstance(found, Artifact):
                return found
            self._set_aside(kind, key, found, progress)
            self._sweep(kind, key)
            self.require_space(needed_bytes)
            return self._make(kind, key, dict(made_from), make, entry, needed_bytes)

    def artifacts(self) -> Iterator[Artifact]:
        """All that are there, unchecked, by kind and key."""
        for path in sorted(self.root.glob("[a-z]*/*/artifact.json")):
            manifest = read_manifest(path)
            if manifest is not None:
                yield Artifact(path.parent / "content", manifest, was_made=False)

    def download_folder(self, kind: str, made_from: Mapping[str, Any]) -> Path:
        """Where a maker keeps what it has fetched so far, over kills. It belongs to the holder of the lock, so it may
        be used inside `make` only; removed once the artifact stands."""
        folder = self._download(kind, artifact_key(kind, made_from))
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def use_file(self, kind: str, key: str) -> Path:
        """Locked by those who use the artifact; its modification time is that of the last use."""
        return self.root / ".used" / f"{kind}-{key}"

    def lock_file(self, kind: str, key: str) -> Path:
        """Held while the artifact is made."""
        return self.root / ".locks" / f"{kind}-{key}"

    def _folder(self, kind: str, key: str) -> Path:
        return self.root / kind / key

    def _download(self, kind: str, key: str) -> Path:
        return self.root / f".download-{kind}-{key}"

    def _find(self, kind: str, key: str, *, verify: bool) -> Artifact | str:
        """The artifact, or what is wrong with it: "" where there is none."""
        folder = self._folder(kind, key)
        if not folder.exists():
            return ""
        manifest = read_manifest(folder / "artifact.json")
        if manifest is None or (manifest.kind, manifest.key) != (kind, key):
            return "artifact.json cannot be understood"
        damage = manifest.damage(folder / "content", hashes=verify)
        return damage or Artifact(folder / "content", manifest, was_made=False)

    def _set_aside(self, kind: str, key: str, damage: str, progress: Callable[[str], None]) -> None:
        if not damage:
            return
        aside = self.root / f".damaged-{kind}-{key}"
        shutil.rmtree(aside, ignore_errors=True)
        self._folder(kind, key).rename(aside)
        message = f"{kind} {key} is damaged: {damage}. Set aside as {aside}; it is made again."
        say = logger.warning if progress is silent else progress  # once: who listens has a log of its own
        say(message)

    def _sweep(self, kind: str, key: str) -> None:
        """Removes what dead makers and collectors left: partials of the key whose lock we hold and of those whose
        lock nobody holds, and what was taken out of the store."""
        for gone in self.root.glob(".gone-*"):
            shutil.rmtree(gone, ignore_errors=True)
        for partial in self.root.glob(".partial-*"):
            theirs = tuple(partial.name.split("-")[1:3])
            if theirs == (kind, key):
                shutil.rmtree(partial, ignore_errors=True)
                continue
            with lock_if_free(self.lock_file(*theirs)) as free:
                if free:
                    shutil.rmtree(partial, ignore_errors=True)

    def require_space(self, needed_bytes: int) -> None:
        """Raises SetupError where the disk has less than that, and something to spare."""
        free = shutil.disk_usage(self.root).free
        if needed_bytes > 0 and free < needed_bytes + SPARE_BYTES:
            raise SetupError(_no_space(self.root, needed_bytes, free), failure_class=FailureClass.DISK_FULL)

    def _make(
        self, kind: str, key: str, made_from: dict[str, Any], make: Make, entry: str, needed_bytes: int
    ) -> Artifact:
        with self._partial(kind, key) as partial, full_disk_explained(self.root, needed_bytes):
            content = partial / "content"
            content.mkdir()
            began = time.monotonic()
            facts = dict(make(content))
            seconds = time.monotonic() - began
            now = datetime.now(UTC).isoformat(timespec="seconds")
            manifest = Manifest(kind, key, made_from, facts, entries_of(content), round(seconds, 3), now, entry)
            write_manifest(partial / "artifact.json", manifest)
            self._publish(partial, self._folder(kind, key))
        shutil.rmtree(self._download(kind, key), ignore_errors=True)
        return Artifact(self._folder(kind, key) / "content", manifest, was_made=True)

    @contextmanager
    def _partial(self, kind: str, key: str) -> Iterator[Path]:
        partial = self.root / f".partial-{kind}-{key}-{secrets.token_hex(4)}"
        partial.mkdir(parents=True)
        try:
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _publish(self, partial: Path, folder: Path) -> None:
        for inner in (path for path in partial.rglob("*") if path.is_dir()):
            sync_folder(inner)
        sync_folder(partial)
        folder.parent.mkdir(exist_ok=True)
        os.rename(partial, folder)
        sync_folder(folder.parent)
        sync_folder(self.root)


def artifact_key(kind: str, made_from: Mapping[str, Any]) -> str:
    """Equal for equal inputs, on every machine."""
    if not KIND.match(kind):
        raise ValueError(f"{kind!r} cannot be a folder's name")
    return content_id("artifact", kind, dict(made_from))


@contextmanager
def full_disk_explained(root: Path, needed_bytes: int) -> Iterator[None]:
    """Turns "no space left on device" into what a person can act on."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        words = _OTHER_LIMITS.get(error.errno) or _no_space(root, needed_bytes, shutil.disk_usage(root).free)
        raise SetupError(words, failure_class=FailureClass.DISK_FULL) from error


_LEFT = "Nothing half-written stands in the store."
_OTHER_LIMITS = {
    errno.EDQUOT: f"the quota of this user on the disk is used up. {_LEFT} Make room within it, or have it raised.",
    errno.EFBIG: f"a file is larger than may be written here (ulimit -f, or the file system's own limit). {_LEFT}",
}
"""Where the disk itself may have room."""


def _no_space(root: Path, needed_bytes: int, free_bytes: int) -> str:
    needed = f"{size_text(needed_bytes)} needed, " if needed_bytes else ""
    return (
        f"{root}: the disk is full: {needed}{size_text(free_bytes)} free. {_LEFT} "
        "Make room (dyno store gc --older-than 30d), or set DYNO_HOME to a folder on a larger disk."
    )


def size_text(size_bytes: int) -> str:
    """A size for people."""
    if size_bytes < 2**30:
        return f"{size_bytes / 2**20:.1f} MiB"
    return f"{size_bytes / 2**30:.1f} GiB"
