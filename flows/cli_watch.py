"""`dyno watch`: one round of the release watcher."""

import os
from typing import Annotated, Any

import typer

from experiments.errors import EXIT_OK, EXIT_SETUP
from flows.terminal import Json, logs_shown, note, show


def watch(
    engine: Annotated[list[str] | None, typer.Option(help="watch this one; may be repeated. Default: all")] = None,
    prereleases: Annotated[bool, typer.Option("--prereleases", help="release candidates are news too")] = False,
    announce: Annotated[
        list[str] | None,
        typer.Option(help="look for nothing, and announce this release by hand", metavar="ENGINE==VERSION"),
    ] = None,
    as_json: Json = False,
) -> int:
    """Looks for new releases of engines, once, and announces them to the Prefect server of PREFECT_API_URL; without
    one it only shows them. The first look announces nothing: what is there then is the past.

    Exit code 3: the releases of an engine could not be asked for.
    """
    from flows.local_api import check_it_answers, quiet_environment
    from tasks.campaigns.home import open_home

    home = open_home().make()
    quiet_environment(home)
    if announce:
        return _announced(announce, as_json=as_json)
    from experiments.schema.requests import WatchRequest
    from flows.watch_releases import announced, watch_round

    url = os.environ.get("PREFECT_API_URL")
    if url:
        check_it_answers(url)
    with logs_shown():
        request = WatchRequest(engines=tuple(engine or ()), prereleases=prereleases)
        rows = watch_round(request, home, announced if url else None)
    show(as_json, {"engines": rows}, _table(rows))
    if not url and any(row["news"] for row in rows):
        note("not announced: set PREFECT_API_URL to a server that `dyno deploy` has set up")
    return EXIT_SETUP if any(row["problem"] for row in rows) else EXIT_OK


def _announced(releases: list[str], *, as_json: bool) -> int:
    from experiments.errors import InputError
    from flows.local_api import check_it_answers
    from flows.watch_releases import announce_by_hand

    url = os.environ.get("PREFECT_API_URL")
    if not url:
        raise InputError("--announce: set PREFECT_API_URL to a server that `dyno deploy` has set up")
    check_it_answers(url)
    told = announce_by_hand(releases)
    lines = [
        f"{one['engine']} {one['version']}: "
        + ("announced, engine-release compares it" if one["announced"] else "announced before: run engine-release anew")
        for one in told
    ]
    show(as_json, {"announced": told}, "\n".join(lines))
    return EXIT_OK


def _table(rows: list[dict[str, Any]]) -> Any:
    from rich.table import Column, Table

    table = Table("Engine", "Newest", "Released", "Releases", Column("News", overflow="fold"), box=None)
    for row in rows:
        fresh = ", ".join(one["version"] for one in row["news"])
        said = row["problem"] or fresh or ("first look: all known" if row["first_look"] else "none")
        table.add_row(row["engine"], row["newest"] or "–", row["uploaded_at"][:10], str(row["releases"]), said)
    return table
