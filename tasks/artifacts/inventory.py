"""What lies in a store: artifacts and engine environments, and what the dead have left beside them."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.artifacts.lock import is_in_use
from tasks.artifacts.manifest import Manifest, read_manifest

ENVIRONMENT = "environment"
ENVIRONMENT_RECORD = "environment.json"
UNREADABLE = "artifact.json cannot be understood"


@dataclass(frozen=True, slots=True)
class Stock:
    """The two folders of a home that hold what was made: artifacts by content, environments by requirements."""

    artifacts: Path
    environments: Path


@dataclass(frozen=True, slots=True)
class Item:
    """One artifact or environment, as it was when it was listed. `manifest` is None for an environment, and where
    artifact.json is broken; whoever uses the item has a shared lock on `use_file`, which changes at each use."""

    root: Path
    kind: str
    key: str
    use_file: Path
    what: str
    bytes: int
    made_at: datetime
    last_used: datetime
    manifest: Manifest | None = None
    requirements: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """What goes when it goes."""
        return self.root / self.key if self.kind == ENVIRONMENT else self.root / self.kind / self.key

    @property
    def is_in_use(self) -> bool:
        """Whether a living process uses it."""
        return is_in_use(self.use_file)

    @property
    def made_from(self) -> Mapping[str, Any]:
        """What its bytes depend on."""
        return self.manifest.made_from if self.manifest else {}

    @property
    def identities(self) -> frozenset[str]:
        """What others name it by in what they are made from: its key, or the hash of its largest file, which is one of
        weights; smaller ones, such as a tokenizer, are the same in many models."""
        files = self.manifest.files.values() if self.manifest else ()
        largest = max(files, key=lambda entry: entry.size, default=None)
        return frozenset({self.key} | ({largest.sha256} if largest else set()))

    @property
    def recipe(self) -> str:
        """What was made of the weights; "" for weights themselves."""
        return str(self.made_from.get("recipe", ""))


@dataclass(frozen=True, slots=True)
class Remains:
    """What a dead maker, a damage or a broken download left. `lock_file` is free where nobody works on it."""

    folder: Path
    what: str
    lock_file: Path
    bytes: int
    changed_at: datetime
    may_go_on: bool = False

    @property
    def is_whole_now(self) -> bool:
        """Whether its maker has finished it since: an environment is made in place."""
        return (self.folder / ENVIRONMENT_RECORD).is_file()


def items(stock: Stock) -> list[Item]:
    """All that stand, by kind and key."""
    return [*_artifacts(stock.artifacts), *_environments(stock.environments)]


def remains(stock: Stock) -> list[Remains]:
    """All that no engine will ever be given; a download that was cut off may yet go on."""
    return [*_artifact_remains(stock.artifacts), *_environment_remains(stock.environments)]


def model_names(found: list[Item], known: Mapping[str, str]) -> dict[str, str]:
    """The model of each artifact by its key: that of what it is made from, at any depth. `known` names weights whose
    own record has no name for people, by key."""
    named = {name: item for item in found if item.manifest for name in item.identities}
    return {item.key: _model_name(item, named, known, depth=8) for item in found if item.manifest}


def references(value: object) -> Iterator[str]:
    """Every text in a plain JSON value: keys of inputs are among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from references(inner)


def _model_name(item: Item, named: Mapping[str, Item], known: Mapping[str, str], depth: int) -> str:
    if item.key in known:
        return known[item.key]
    if "repo" in item.made_from:
        return str(item.made_from["repo"])
    inputs = [named[text] for text in references(item.made_from) if text in named and named[text] is not item]
    if not inputs or not depth:
        return str(item.made_from.get("model", ""))
    return _model_name(inputs[0], named, known, depth - 1)


def last_use(use_file: Path, made_at: datetime) -> datetime:
    """When it was made, where no use is on record."""
    return max(made_at, _changed(use_file) or made_at)


def _artifacts(root: Path) -> Iterator[Item]:
    for folder in sorted(path for path in root.glob("[a-z]*/*") if path.is_dir()):
        kind, key = folder.parent.name, folder.name
        manifest = read_manifest(folder / "artifact.json")
        use_file = root / ".used" / f"{kind}-{key}"
        if manifest is None:
            made_at, what, size = _changed(folder) or datetime.now(UTC), UNREADABLE, bytes_below(folder)
        else:
            made_at, what, size = datetime.fromisoformat(manifest.made_at), _what(manifest), manifest.bytes
        yield Item(root, kind, key, use_file, what, size, made_at, last_use(use_file, made_at), manifest)


def _what(manifest: Manifest) -> str:
    made_from = manifest.made_from
    if manifest.kind in ("hub", "dataset"):
        name = made_from.get("repo") or made_from.get("dataset")
        part = made_from.get("file") or made_from.get("split") or ""
        return f"{name} {part}".rstrip() + f" at {str(made_from.get('commit'))[:12]}"
    source = made_from.get("source")
    if manifest.kind == "synthetic" and isinstance(source, dict):
        return f"random Llama: {source['layers']} layers of {source['hidden_size']}, {source['vocab_size']} tokens"
    return " ".join(str(made_from[name]) for name in ("format", "recipe") if name in made_from) or manifest.kind


def _environments(root: Path) -> Iterator[Item]:
    for folder in _environment_folders(root):
        try:
            body = json.loads((folder / ENVIRONMENT_RECORD).read_bytes())
            requirements = tuple(str(text) for text in body["requirements"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        made_at = _changed(folder / ENVIRONMENT_RECORD) or datetime.now(UTC)
        use_file = root / f"{folder.name}.lock"
        used_at, size = last_use(use_file, made_at), bytes_below(folder)
        what = ", ".join(requirements)
        yield Item(root, ENVIRONMENT, folder.name, use_file, what, size, made_at, used_at, requirements=requirements)


def _environment_folders(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("[!.]*") if path.is_dir())


def _artifact_remains(root: Path) -> Iterator[Remains]:
    words = {
        "partial": "half-made",
        "damaged": "damaged, set aside",
        "gone": "half-removed",
        "download": "half-fetched",
    }
    for folder in sorted(path for path in root.glob(".*-*-*") if path.is_dir()):
        state, kind, key = folder.name.removeprefix(".").split("-")[:3]
        if state in words:
            # A damaged one may still be read by a process that found it sound.
            lock = root / (".used" if state == "damaged" else ".locks") / f"{kind}-{key}"
            yield _remains(folder, f"{kind} {key}: {words[state]}", lock, may_go_on=state == "download")


def _environment_remains(root: Path) -> Iterator[Remains]:
    for folder in _environment_folders(root):
        if not (folder / ENVIRONMENT_RECORD).is_file():
            yield _remains(folder, f"environment {folder.name}: half-made", root / f"{folder.name}.lock")
    for folder in sorted(root.glob(".gone-*")):
        yield _remains(folder, f"environment {folder.name}: half-removed", root / f"{folder.name}.lock")


def _remains(folder: Path, what: str, lock: Path, *, may_go_on: bool = False) -> Remains:
    return Remains(folder, what, lock, bytes_below(folder), _newest(folder), may_go_on)


def bytes_below(folder: Path) -> int:
    """Of all files; those that vanish meanwhile do not count."""
    return sum(stat.st_size for stat in _stats_below(folder))


def _newest(folder: Path) -> datetime:
    newest_s = max((stat.st_mtime for stat in _stats_below(folder)), default=0.0)
    own = _changed(folder)
    return max(datetime.fromtimestamp(newest_s, UTC), own) if own else datetime.fromtimestamp(newest_s, UTC)


def _stats_below(folder: Path) -> Iterator[os.stat_result]:
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                yield os.lstat(os.path.join(parent, name))
            except FileNotFoundError:
                continue


def _changed(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return None
