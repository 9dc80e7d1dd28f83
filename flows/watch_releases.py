"""The release watcher: asks for the releases of each engine, and announces those that nobody announced yet."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from packaging.version import Version
from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from prefect.variables import Variable

from experiments.errors import DynoError, InputError
from experiments.schema.requests import WatchRequest
from flows.announcing import announce_release
from tasks.campaigns.home import Home, open_home
from tasks.find_releases import image_of, releases_of, watched_engines
from tasks.releases.index import Release
from tasks.releases.news import News, Watched, by_hand, eligible, news, read_watched, with_known, write_watched
from tasks.releases.settings import pip_settings

log = logging.getLogger("dyno.watch")

EVERYTHING = WatchRequest()

Announce = Callable[[News], bool]
"""Tells of a release; False where it was told before."""

NEWEST = "dyno_newest_releases"
"""The Prefect variable that shows people what the watcher saw last."""


@flow(name="watch-releases", flow_run_name="look for new releases", persist_result=False)
def watch_releases(request: WatchRequest = EVERYTHING) -> State[Any]:
    """One round. The state is failed where no engine's releases could be asked for.

    Args:
        request: what is watched
    """
    rows = watch_round(request, open_home().make(), announced)
    create_table_artifact(key="releases", table=[_flat(row) for row in rows], description="what the watcher saw")
    Variable.set(NEWEST, {row["engine"]: row["newest"] for row in rows if row["newest"]}, overwrite=True)
    fresh = [f"{row['engine']} {one['version']}" for row in rows for one in row["news"]]
    if all(row["problem"] for row in rows):
        return Failed(message=rows[0]["problem"])
    return Completed(message=f"news: {', '.join(fresh)}" if fresh else "no news")


def watch_round(request: WatchRequest, home: Home, announce: Announce | None) -> list[dict[str, Any]]:
    """A row for each engine. Without `announce` nobody is told, and news stays news: the next round that can tells.

    What is known is written engine by engine, each time after the telling."""
    file = home.root / "releases.json"
    settings, watched, rows = pip_settings(), read_watched(file), []
    for engine in request.engines or watched_engines():
        try:
            found = releases_of(engine, settings)
        except DynoError as error:
            log.warning("%s: %s", engine, error.message)
            rows.append(_row(engine, (), watched.get(engine), [], str(error.message)))
            continue
        fresh = news(engine, found, watched.get(engine), prereleases=request.prereleases)
        told = [_told(one, announce) for one in fresh]
        rows.append(_row(engine, found, watched.get(engine), told, ""))
        if announce is not None or not fresh:
            watched[engine] = with_known(watched.get(engine), engine, found)
            write_watched(file, watched)
    return rows


def announce_by_hand(words: Sequence[str]) -> list[dict[str, Any]]:
    """`engine==version` each, told to Prefect's server whether it is news or not; what was told. Raises InputError
    before anything is told."""
    return [_told(one, announced) | {"engine": one.engine} for one in [_by_hand(word) for word in words]]


def _by_hand(word: str) -> News:
    engine, _, version = word.partition("==")
    if not engine or not version:
        raise InputError(f"--announce {word}: write ENGINE==VERSION, as llama_cpp==2026.10.11549")
    found = releases_of(engine, pip_settings())
    if (release := by_hand(engine, version, found)) is None:
        newest = ", ".join(one.version for one in eligible(found, prereleases=False)[-3:])
        raise InputError(f"--announce {word}: {engine} has no such release; the newest are {newest}")
    return release


def announced(one: News) -> bool:
    """To Prefect's server, whose automation starts engine-release."""
    is_new = announce_release(one.event_id, one.engine, one.release.version, one.previous)
    log.info("%s %s is new: %s", one.engine, one.release.version, "announced" if is_new else "it was announced before")
    return is_new


def _told(one: News, announce: Announce | None) -> dict[str, Any]:
    return {
        "version": one.release.version,
        "previous": one.previous,
        "uploaded_at": one.release.uploaded_at,
        "event_id": str(one.event_id),
        "image": image_of(one.engine, one.release.version),
        "announced": announce is not None and announce(one),
    }


def _row(
    engine: str, found: tuple[Release, ...], before: Watched | None, told: list[dict[str, Any]], problem: str
) -> dict[str, Any]:
    stable = eligible(found, prereleases=False)
    return {
        "engine": engine,
        "newest": stable[-1].version if stable else "",
        "uploaded_at": stable[-1].uploaded_at if stable else "",
        "releases": len(found),
        "first_look": before is None,
        "newest_known": max(before.known, key=Version, default="") if before else "",
        "news": told,
        "problem": problem,
    }


def _flat(row: dict[str, Any]) -> dict[str, object]:
    return row | {"news": ", ".join(one["version"] for one in row["news"])}
