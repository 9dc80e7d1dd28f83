"""What an artifact is: files, what they were made from, and the check that they are still those files."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from experiments.errors import SetupError

FORMAT = 1
"""Of artifact.json; an artifact of another format is made again."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file. A changed mtime_ns is no damage by itself: it is the reason to hash the file again."""

    size: int
    sha256: str
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """`made_from` is hashed into `key`; `facts` are what the maker found out; `made_at` is ISO 8601, UTC.

    `entry` is the one file that stands for the artifact ("" where that is the whole folder).
    """

    kind: str
    key: str
    made_from: dict[str, Any]
    facts: dict[str, Any]
    files: dict[str, FileEntry]
    seconds: float
    made_at: str
    entry: str = ""

    @property
    def bytes(self) -> int:
        """Of all files together."""
        return sum(entry.size for entry in self.files.values())

    def to_json(self) -> dict[str, Any]:
        """Plain data, for artifact.json and for the tracking store."""
        return {"format": FORMAT, **asdict(self)}

    @property
    def content_sha256(self) -> str:
        """One hash for all files, names and contents: that of `sha256sum`'s lines, ordered by name."""
        lines = "".join(f"{entry.sha256}  {name}\n" for name, entry in sorted(self.files.items()))
        return hashlib.sha256(lines.encode()).hexdigest()

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Raises ValueError, KeyError or TypeError where `data` is no manifest of this format."""
        fields = dict(data)
        if fields.pop("format") != FORMAT:
            raise ValueError(f"format {data['format']}")
        fields["files"] = {name: FileEntry(**entry) for name, entry in fields["files"].items()}
        return cls(**fields)

    def damage(self, folder: Path, *, hashes: bool = False) -> str:
        """What is wrong with the files in `folder`, or "". Sizes are always compared; contents where `hashes` is set
        or a file's modification time is not the recorded one."""
        for name, entry in self.files.items():
            found = _file_damage(folder / name, entry, hashes=hashes)
            if found:
                return f"{name} {found}"
        return ""


def _file_damage(path: Path, entry: FileEntry, *, hashes: bool) -> str:
    try:
        stat = path.stat()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if stat.st_size != entry.size:
        return f"has {stat.st_size} bytes instead of {entry.size}"
    if not hashes and stat.st_mtime_ns == entry.mtime_ns:
        return ""
    if sha256_of(path) != entry.sha256:
        return "has other content than when it was made (SHA-256 differs)"
    return ""


@dataclass(frozen=True, slots=True)
class Artifact:
    """Files that exist and are whole. `path` is the folder that holds them; `was_made` is False on a hit."""

    path: Path
    manifest: Manifest
    was_made: bool

    @property
    def kind(self) -> str:
        """What sort of artifact: the name of its maker."""
        return self.manifest.kind

    @property
    def key(self) -> str:
        """Equal for equal inputs, on every machine."""
        return self.manifest.key

    @property
    def bytes(self) -> int:
        """Of all files together."""
        return self.manifest.bytes

    @property
    def entry(self) -> Path:
        """What an engine is given: the one file that is the artifact, else the folder."""
        return self.path / self.manifest.entry

    @property
    def sha256s(self) -> Mapping[str, str]:
        """Of each file, by its name relative to the folder."""
        return {name: entry.sha256 for name, entry in self.manifest.files.items()}

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the maker found out: sizes, types, tools and their versions."""
        return self.manifest.facts

    def check(self, *, hashes: bool = False) -> None:
        """Raises SetupError where the files are not the ones that the manifest describes any more."""
        damage = self.manifest.damage(self.path, hashes=hashes)
        if damage:
            raise SetupError(f"{self.path}: {damage}: it changed while it was in use. Start again with files at rest.")


def sha256_of(path: Path) -> str:
    """Of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def entries_of(folder: Path) -> dict[str, FileEntry]:
    """Every file below `folder`, hashed and forced to disk, by its name relative to it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _settled(path) for path in paths}


def _settled(path: Path) -> FileEntry:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
        stat = os.fstat(file.fileno())
    return FileEntry(size=stat.st_size, sha256=digest, mtime_ns=stat.st_mtime_ns)


def read_manifest(path: Path) -> Manifest | None:
    """None where there is none, or none that can be understood."""
    try:
        return Manifest.from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Forced to disk before it returns."""
    with path.open("w", encoding="utf-8") as file:
        json.dump(manifest.to_json(), file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
