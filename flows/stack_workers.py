"""The workers of the stack: one machine stands for two hosts, each with a store of its own, and a third for control."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from flows.local_api import QUIET
from flows.stack_services import Service, Stack, authorized_json

HEARTBEAT_S = 30
"""Prefect's least: after three without one a run is taken for dead."""


@dataclass(frozen=True, slots=True)
class Host:
    """A worker of a pool, and what it reads beside the pool's own queue."""

    name: str
    pool: str
    queues: tuple[str, ...] = ()
    at_once: int = 1


MEASURING = "dyno"
HOSTS = (
    Host("host-a", MEASURING, ("host-a",)),
    Host("host-b", MEASURING, ("host-b",)),
    Host("control", "dyno-control", at_once=10),
)


def store_of(stack: Stack, host: Host) -> Path:
    """Each host's own DYNO_HOME; nothing is shared but Prefect and MLflow."""
    return stack.folder / "hosts" / host.name


def worker(stack: Stack, host: Host) -> Service:
    """Prefect's own process worker. It is well when Prefect's server hears from it."""
    store = store_of(stack, host)
    store.mkdir(parents=True, exist_ok=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    env = kept | QUIET | stack.client_environment()
    env |= {
        "PREFECT_LOGGING_LEVEL": "INFO",
        "PREFECT_LOGGING_TO_API_ENABLED": "true",
        "PREFECT_HOME": str(store / "prefect"),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S),
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "DYNO_HOME": str(store),
        "DYNO_HOST": host.name.removeprefix("host-"),
        "PYTHONUNBUFFERED": "1",
    }
    argv = [sys.executable, "-m", "prefect", "worker", "start", "--type", "process", "--pool", host.pool]
    argv += ["--name", host.name, "--limit", str(host.at_once)]
    for queue in ("default", *host.queues) if host.queues else ():
        argv += ["--work-queue", queue]
    return Service(host.name, tuple(argv), env, lambda: is_online(stack, host), grace_s=40.0)


def is_online(stack: Stack, host: Host) -> bool:
    """As Prefect's server sees it."""
    found = authorized_json(stack, f"/api/work_pools/{host.pool}/workers/filter", {"workers": {}})
    return any(one["name"] == host.name and one["status"] == "ONLINE" for one in found or [])
