"""The workers of the stack: one machine stands for two hosts, each with a store of its own, and a third for control."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from experiments.schema.requests import CONTROL_POOL, MEASURING_POOL
from flows.stack_services import Service, Stack, authorized_json, telemetry_off


@dataclass(frozen=True, slots=True)
class Host:
    """A worker: `worker` is its name with Prefect's server, `words` what `dyno worker` is told."""

    name: str
    worker: str
    pool: str
    words: tuple[str, ...]


HOSTS = (
    Host("host-a", "host-a", MEASURING_POOL, ("--name", "a")),
    Host("host-b", "host-b", MEASURING_POOL, ("--name", "b")),
    Host("control", "control-stack", CONTROL_POOL, ("--control", "--name", "stack")),
)


def store_of(stack: Stack, host: Host) -> Path:
    """Each host's own DYNO_HOME; nothing is shared but Prefect and MLflow."""
    return stack.folder / "hosts" / host.name


def worker(stack: Stack, host: Host) -> Service:
    """Well when Prefect's server hears from it. What it needs to fetch weights, such as HF_TOKEN, is inherited."""
    store = store_of(stack, host)
    store.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    own = {
        "DYNO_HOME": str(store),
        "PREFECT_HOME": str(store / "prefect"),
        "PREFECT_CLI_COLORS": "false",
        "PYTHONUNBUFFERED": "1",
    }
    argv = (sys.executable, "-m", "flows.cli", "worker", *host.words)
    env = kept | telemetry_off() | stack.client_environment() | own
    return Service(host.name, argv, env, lambda: is_online(stack, host), grace_s=40.0)


def is_online(stack: Stack, host: Host) -> bool:
    """As Prefect's server sees it."""
    found = authorized_json(stack, f"/api/work_pools/{host.pool}/workers/filter", {})
    return any(one["name"] == host.worker and one["status"] == "ONLINE" for one in found or [])
