"""Pins: what an experiment needs is kept, whatever its age. What was pinned is a copy of what its file asked for then.

A pin names no keys: an artifact that is made, or made anew, after the pin is held by it too.
"""

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from engine_adapters import ADAPTERS
from engine_adapters.base import UnsupportedVariant
from experiments.errors import DownloadError
from experiments.schema.experiment import Experiment
from experiments.schema.model import LocalSource
from experiments.schema.prompts import Dataset
from experiments.schema.variant import Variant
from tasks.artifacts.hub import COMMIT, last_seen_commits
from tasks.artifacts.inventory import ENVIRONMENT, Item, references
from tasks.artifacts.local import fetch_local
from tasks.artifacts.store import ArtifactStore, silent


@dataclass(frozen=True, slots=True)
class Need:
    """What one variant uses: weights from `source` (as written), the checkpoint of `recipe` made of them ("": none),
    and the environment of `requirements`. `local_key` is the key of weights that lie outside the store."""

    source: dict[str, Any]
    recipe: str
    requirements: tuple[str, ...]
    local_key: str = ""


@dataclass(frozen=True, slots=True)
class Pin:
    """One experiment's needs, by its name; `datasets` are those on a hub, as (repo, file, split)."""

    experiment: str
    file: str
    pinned_at: str
    needs: tuple[Need, ...]
    datasets: tuple[tuple[str, str, str], ...]

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """Raises KeyError or TypeError where it is none."""
        needs = tuple(Need(**{**need, "requirements": tuple(need["requirements"])}) for need in body["needs"])
        datasets = tuple((repo, file, split) for repo, file, split in body["datasets"])
        return cls(body["experiment"], body["file"], body["pinned_at"], needs, datasets)


def pin(folder: Path, experiment: Experiment, file: Path, store: ArtifactStore) -> Pin:
    """Written aside and renamed. A second pin of the same name takes the place of the first."""
    variants = {cell.variant.id: cell.variant for cell in experiment.cells() if not cell.excluded}
    prompts = [workload.prompts for workload in experiment.workloads]
    datasets = {(p.repo, p.file or "", p.split or "") for p in prompts if isinstance(p, Dataset) and p.repo}
    needs = tuple(need for variant in variants.values() if (need := _need(variant, store)))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    made = Pin(experiment.name, str(file.absolute()), now, needs, tuple(sorted(datasets)))
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{experiment.name}.{secrets.token_hex(4)}"
    aside.write_text(json.dumps(asdict(made), indent=1), encoding="utf-8")
    aside.replace(folder / f"{experiment.name}.json")
    return made


def unpin(folder: Path, experiment: str) -> bool:
    """Whether there was such a pin."""
    path = folder / f"{experiment}.json"
    was_there = path.exists()
    path.unlink(missing_ok=True)
    return was_there


def pins(folder: Path) -> list[Pin]:
    """All, by name. Raises ValueError that names one which cannot be read: to skip it would let go what it holds."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(Pin.from_json(json.loads(path.read_bytes())))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} cannot be understood: {error!r}. Remove it, and pin its experiment again"
            ) from None
    return found


def pinned(found: Iterable[Item], held_by: Iterable[Pin], root: Path) -> dict[tuple[str, str], list[str]]:
    """The names of the pins that hold each item; an item that none holds is not in there."""
    found, commits = list(found), last_seen_commits(root)
    holders: dict[tuple[str, str], list[str]] = {}
    for one in held_by:
        for item in dict.fromkeys(_items_of(one, found, commits)):
            holders.setdefault(item, []).append(one.experiment)
    return holders


def _need(variant: Variant, store: ArtifactStore) -> Need | None:
    """None for a variant that no engine of ours would run, and for a server that is there already."""
    adapter = ADAPTERS[variant.engine]
    try:
        launch, checkpoint = adapter.launch_spec(variant), adapter.checkpoint(variant)
    except UnsupportedVariant:
        return None
    if launch.url:
        return None
    source = variant.model.source
    local_key = _local_key(source, store) if isinstance(source, LocalSource) else ""
    recipe = checkpoint.recipe if checkpoint else ""
    return Need(source.model_dump(mode="json"), recipe, tuple(launch.packages), local_key)


def _local_key(source: LocalSource, store: ArtifactStore) -> str:
    try:
        return fetch_local(source, store, progress=silent).key
    except DownloadError:
        return ""  # not there now: nothing can have been made from it that could be told


def _items_of(pin_: Pin, found: list[Item], commits: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for need in pin_.needs:
        for item in found:
            if item.kind == ENVIRONMENT and item.requirements == need.requirements:
                yield item.kind, item.key
        weights = [item for item in found if _is_source(item, need.source, commits)]
        yield from ((item.kind, item.key) for item in weights)
        names = frozenset({need.local_key} - {""}).union(*(item.identities for item in weights))
        yield from _made_of(names, need.recipe, found)
    for repo, file, split in pin_.datasets:
        wanted = {"dataset": repo, "file": file, "split": split}
        yield from ((i.kind, i.key) for i in found if i.kind == "dataset" and wanted.items() <= i.made_from.items())


def _made_of(names: frozenset[str], recipe: str, found: list[Item]) -> Iterator[tuple[str, str]]:
    """What is made of what bears these names, and of that in turn: checkpoints of this recipe, and what is compiled
    from them."""
    fitting = [item for item in found if item.manifest and item.recipe in ("", recipe)]
    while grown := [
        item for item in fitting if item.key not in names and not names.isdisjoint(references(item.made_from))
    ]:
        names = names.union(*(item.identities for item in grown))
        yield from ((item.kind, item.key) for item in grown)


def _is_source(item: Item, source: Mapping[str, Any], commits: Mapping[str, str]) -> bool:
    """A branch is every commit of it that is there, unless it is known which one it is now."""
    made_from = item.made_from
    if source["kind"] != "hub":
        return made_from.get("source") == dict(source)
    if made_from.get("repo") != source["repo"]:
        return False
    revision = source["revision"]
    commit = revision if COMMIT.match(revision) else commits.get(f"{source['repo']}@{revision}")
    return commit is None or made_from.get("commit") == commit
