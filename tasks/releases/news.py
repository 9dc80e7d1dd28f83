"""Which releases are news: announced once each, at least once whatever crashes, and never for the past."""

import json
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from tasks.releases.index import Release


@dataclass(frozen=True, slots=True)
class Watched:
    """What is known of one engine: the releases that were there when it was first seen, or were announced since."""

    engine: str
    known: frozenset[str]


@dataclass(frozen=True, slots=True)
class News:
    """A release that nobody announced yet, and the one before it, which it is compared with; "" where none was."""

    engine: str
    release: Release
    previous: str

    @property
    def event_id(self) -> uuid.UUID:
        """The same on every machine and at each try: whoever receives it twice can tell."""
        return uuid.uuid5(uuid.NAMESPACE_URL, f"llm-dyno:release:{self.engine}:{self.release.version}")


def eligible(found: Iterable[Release], *, prereleases: bool) -> list[Release]:
    """Old to new; without yanked ones, and without pre-releases unless asked for."""
    ordered = sorted(found, key=lambda one: one.order)
    return [one for one in ordered if not one.yanked and (prereleases or not one.order.is_prerelease)]


def news(engine: str, found: Sequence[Release], watched: Watched | None, *, prereleases: bool = False) -> list[News]:
    """What is eligible, not known, and newer than the newest that is known. On the first start nothing is: all that
    is there then is the past. A fix for an old line (1.2.9 after 2.0) is not announced: nobody would switch to it.
    """
    if watched is None:
        return []
    candidates = eligible(found, prereleases=prereleases)
    newest_known = max((Version(version) for version in watched.known), default=None)
    fresh = [one for one in candidates if newest_known is None or one.order > newest_known]
    return [News(engine, one, one_before(one.order, candidates, watched.known)) for one in fresh]


def by_hand(engine: str, version: str, found: Sequence[Release]) -> News | None:
    """That release as news, whether it is any or not; None where there is none of that version."""
    release = next((one for one in found if one.version == version), None)
    if release is None:
        return None
    return News(engine, release, one_before(release.order, eligible(found, prereleases=False)))


def one_before(limit: Version, candidates: Iterable[Release], known: Iterable[str] = ()) -> str:
    """The newest version below a limit among candidates and versions that are known; "" where there is none."""
    versions = [*(one.order for one in candidates), *map(Version, known)]
    older = [version for version in versions if version < limit]
    return str(max(older)) if older else ""


def with_known(watched: Watched | None, engine: str, found: Iterable[Release]) -> Watched:
    """Nothing is ever forgotten: a release that vanishes from the index and comes back is no news."""
    return Watched(engine, (watched.known if watched else frozenset()) | {one.version for one in found})


def read_watched(file: Path) -> dict[str, Watched]:
    """By engine; empty where nothing was watched yet."""
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return {engine: Watched(engine, frozenset(versions)) for engine, versions in body.items()}


def write_watched(file: Path, watched: Mapping[str, Watched]) -> None:
    """Written aside and renamed; after what is news was announced, so that a crash announces twice and never not."""
    file.parent.mkdir(parents=True, exist_ok=True)
    body = {engine: sorted(one.known, key=Version) for engine, one in sorted(watched.items())}
    aside = file.with_suffix(".partial")
    with aside.open("w", encoding="utf-8") as opened:
        json.dump(body, opened, indent=1)
        opened.flush()
        os.fsync(opened.fileno())
    aside.rename(file)
