"""`dyno deploy` and `dyno worker`: a fleet on a Prefect server, and this host's part in it."""

import os
import re
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from flows.terminal import Json, note, show

if TYPE_CHECKING:
    from flows.deploying import PoolType

Pool = Annotated[
    str, typer.Option(help="measure on the workers of this Prefect work pool (see dyno deploy)", metavar="NAME")
]
PoolTypes = StrEnum("PoolTypes", ["process", "docker", "kubernetes"])


def deploy(
    pool: Annotated[
        list[str] | None, typer.Option(help="a further pool to measure in, beside `dyno`; may be repeated")
    ] = None,
    pool_type: Annotated[PoolTypes, typer.Option("--type", help="of the further pools")] = PoolTypes.process,
    gpu_host: Annotated[
        list[str] | None, typer.Option(help="a concurrency limit for each GPU of a host", metavar="NAME=GPUS")
    ] = None,
    experiment: Annotated[
        list[str] | None, typer.Option(help="what scheduled deployments measure: a shipped name or a path")
    ] = None,
    notify: Annotated[
        str, typer.Option(help="block that tells of regressions, as slack-webhook/team", metavar="TYPE/NAME")
    ] = "",
    secret: Annotated[
        list[str] | None,
        typer.Option(
            help="a Secret block as an environment variable of runs, as HF_TOKEN=hf-token", metavar="NAME=BLOCK"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Registers work pools, deployments, automations, concurrency limits and variables with the Prefect server of
    PREFECT_API_URL. Repeated, it changes only what differs; a schedule that a person paused stays paused."""
    _server()
    hosts = dict(map(_gpu_host, gpu_host or []))
    from flows.deploying import deploy_all

    found = deploy_all(
        pools=dict.fromkeys(pool or [], cast("PoolType", pool_type.value)),
        hosts=hosts,
        experiments=experiment or [],
        notify=notify,
        secrets=dict(map(_secret, secret or [])),
    )
    show(as_json, found, _table(found))
    if not notify:
        note("nobody is told of a regression: make a notification block in Prefect, and give it with --notify")


def worker(
    pool: Annotated[str, typer.Option(help="the pool that this host works for")] = "dyno",
    control: Annotated[
        bool, typer.Option("--control", help="work for the pool that waits, watches and publishes")
    ] = False,
    name: Annotated[str, typer.Option(help="this host in the fleet; default: DYNO_HOST, or its host name")] = "",
) -> None:
    """Works for a pool until it is stopped: as this host's one worker, measuring one thing at a time, in the store of
    DYNO_HOME, and telling MLFLOW_TRACKING_URI. Variants whose weights are here are offered to it first."""
    _server()
    from experiments.schema.requests import CONTROL_POOL
    from flows.fleet import HEARTBEAT_S
    from flows.hosts import ensure_queue, host_name
    from tasks.campaigns.home import open_home

    if name:
        os.environ["DYNO_HOST"] = name
    os.environ["DYNO_HOST"] = host_name()
    os.environ["DYNO_HOME"] = str(open_home().make().root)
    for variable, value in {**_SETTINGS, "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S)}.items():
        os.environ.setdefault(variable, value)
    if control:
        shape = ["--pool", CONTROL_POOL, "--name", f"control-{host_name()}"]
    else:
        queue = ensure_queue(pool)
        shape = ["--pool", pool, "--name", queue, "--limit", "1", "--work-queue", queue, "--work-queue", "default"]
    command = [sys.executable, "-m", "prefect", "worker", "start", "--type", "process", *shape]
    os.execv(sys.executable, command)


_SETTINGS = {
    "PREFECT_LOGGING_EXTRA_LOGGERS": "dyno",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_WORKER_QUERY_SECONDS": "5",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def _server() -> None:
    """Raises InputError without a server to speak to, SetupError where it does not answer."""
    from experiments.errors import InputError
    from flows.local_api import check_it_answers

    url = os.environ.get("PREFECT_API_URL")
    if not url:
        raise InputError("set PREFECT_API_URL to the /api of a Prefect server: deployments live there")
    check_it_answers(url)


def _gpu_host(text: str) -> tuple[str, int]:
    from experiments.errors import InputError

    name, _, count = text.partition("=")
    if not name or not count.isdigit() or not 0 < int(count) <= 64:
        raise InputError(f"--gpu-host {text}: write NAME=GPUS, as h100-a=8")
    return name, int(count)


def _secret(text: str) -> tuple[str, str]:
    from experiments.errors import InputError

    name, _, block = text.partition("=")
    if not name.isidentifier() or not re.fullmatch(r"[a-z0-9-]+", block):
        raise InputError(f"--secret {name}: write NAME=BLOCK, as HF_TOKEN=hf-token; the block holds the secret")
    return name, block


def _table(found: dict[str, list[dict[str, Any]]]) -> Any:
    from rich.table import Column, Table

    table = Table("What", Column("Name", overflow="fold"), "Change", Column("More", overflow="fold"), box=None)
    for what in ("pools", "deployments", "automations", "limits", "variables"):
        for row in found[what]:
            more = " ".join(str(row.get(key, "")) for key in ("type", "pool", "schedules") if row.get(key))
            table.add_row(what.removesuffix("s"), row["name"], row["change"], more)
    return table
