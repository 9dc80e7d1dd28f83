"""Hosts as Prefect knows them: the queue and the worker of each, its GPUs' limits, and which weights it has."""

import contextlib
import os
import re
import socket
from collections.abc import Iterator
from typing import cast

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, PrefectHTTPStatusError
from prefect.variables import Variable

from engine_adapters import ADAPTERS
from experiments.errors import InputError
from experiments.schema.variant import Variant
from tasks.campaigns.placement import weights_id
from tasks.patience import patiently
from tasks.serving.gpus import NoNvml, chosen_gpus, describe_gpus

HOST_PREFIX = "host-"
"""A host's worker bears the name of its queue: where such a worker is online, its queue is read."""

LEASE_S = 60.0
"""What a holder that was killed keeps of a limit: the least that Prefect takes."""

_MOST_WEIGHTS = 200


def host_name() -> str:
    """DYNO_HOST, or the machine's own name: lower-case letters, digits and dashes."""
    name = os.environ.get("DYNO_HOST") or socket.gethostname()
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unnamed"


def host_queue(host: str = "") -> str:
    """The queue that only a host's own worker reads."""
    return f"{HOST_PREFIX}{host or host_name()}"


def ensure_queue(pool: str) -> str:
    """This host's queue in a pool, made where there is none: before `default`, so that a worker takes what is meant for
    it first. Raises InputError where there is no such pool."""
    queue = host_queue()
    with get_client(sync_client=True) as client:
        try:
            client.read_work_pool(pool)
        except ObjectNotFound:
            raise InputError(f"Prefect has no work pool {pool}: `dyno deploy --pool {pool}` makes it") from None
        with contextlib.suppress(ObjectAlreadyExists):
            client.create_work_queue(queue, priority=1, work_pool_name=pool)
    return queue


def gpu_limit(host: str, index: int) -> str:
    """The name of a GPU's concurrency limit."""
    return f"gpu:{host}:{index}"


def limits_of(variant: Variant, host: str) -> list[str]:
    """The limits that a measurement of a variant holds: all GPUs that its worker sees, for two measurements beside one
    another measure each other; the host's CPU where it takes no GPU."""
    if not ADAPTERS[variant.engine].launch_spec(variant).gpus:
        return [f"cpu:{host}"]
    try:
        return [gpu_limit(host, gpu.index) for gpu in chosen_gpus(describe_gpus())] or [f"cpu:{host}"]
    except NoNvml:
        return [f"cpu:{host}"]  # the launch says what is missing


def ensure_limit(name: str) -> bool:
    """A concurrency limit of one, made where there is none: what holds it now is never touched. True where made."""
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
            return False
        except ObjectNotFound:
            pass
        try:
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))
        except (ObjectAlreadyExists, PrefectHTTPStatusError):
            client.read_global_concurrency_limit_by_name(name)  # another worker was faster
            return False
    return True


@contextlib.contextmanager
def alone_on_host(variant: Variant) -> Iterator[None]:
    """Nobody else of the fleet measures on what this variant takes while the block runs."""
    names = limits_of(variant, host_name())
    for name in names:
        patiently(lambda name=name: ensure_limit(name))  # type: ignore[misc]
    # A server that is away for a minute must not end a measurement: the worker's own limit of one and the store's lock
    # keep others off meanwhile.
    with contextlib.ExitStack() as held:
        patiently(
            lambda: held.enter_context(
                concurrency(names, strict=True, lease_duration=LEASE_S, raise_on_lease_renewal_failure=False)
            )
        )
        yield


def weights_variable(queue: str) -> str:
    """The Prefect variable that says which weights the host of a queue has."""
    return f"dyno_weights_{queue.removeprefix(HOST_PREFIX).replace('-', '_')}"


def remember_weights(variant: Variant) -> None:
    """That this host has the weights of a variant: the next one of the same is offered to it first."""
    name, found = weights_variable(host_queue()), weights_id(variant)
    known = cast(list[str], patiently(lambda: Variable.get(name, [])))
    if found not in known:
        weights = [*known, found][-_MOST_WEIGHTS:]
        patiently(lambda: Variable.set(name, weights, overwrite=True))
