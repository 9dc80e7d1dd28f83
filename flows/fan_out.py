"""One run of `measure-variant` for each variant, on the workers of a pool: sent, waited for, sent again."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import cast
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Cancelling
from prefect.variables import Variable

from experiments.errors import InputError
from experiments.redaction import redacted, without_password
from experiments.schema.order import ExperimentOrder, VariantOrder
from flows.cancelling import this_run_is_cancelled
from flows.hosts import HOST_PREFIX, weights_variable
from tasks.campaigns.dispatch import GONE, Dispatch, asked_id, next_step
from tasks.campaigns.placement import ANY, placed, weights_id
from tasks.patience import patiently
from tasks.show_results import Progress

log = logging.getLogger("dyno.pool")

MEASURE = "measure-variant"
"""What the names of deployments begin with that measure one variant: one deployment a pool."""

NAMED = " · "
"""Is in each name that says what runs, and in none that Prefect makes up."""

POLL_S = 2.0
PAGE = 200


def deployment_in(pool: str) -> UUID:
    """The id of the deployment that measures variants in a pool. Raises InputError where there is none."""
    with get_client(sync_client=True) as client:
        try:
            client.read_work_pool(pool)
        except ObjectNotFound:
            raise InputError(f"Prefect has no work pool {pool}: make it with `dyno deploy --pool {pool}`") from None
        found = client.read_deployments(work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])))
    measuring = [one.id for one in found if one.name.startswith(MEASURE)]
    if not measuring:
        raise InputError(f"nothing in the pool {pool} measures variants: `dyno deploy --pool {pool}` registers it")
    return measuring[0]


def fan_out(run: ExperimentOrder, pool: str, *, attempts: int, before: dict[str, str]) -> dict[str, str]:
    """Returns when each variant's run has ended: by variant id the reason why nothing came of it, where so. `before`
    are the ends of the results by cell that are to be replaced. Where this run is cancelled, so are those that it
    sent; where it is ended otherwise they go on, and who runs it again finds them."""
    deployment = patiently(lambda: deployment_in(pool))
    open_: list[Dispatch] = []
    with get_client(sync_client=True) as client:
        try:
            for one in patiently(lambda: _dispatches(client, run, pool, before)):
                open_.append(patiently(lambda one=one: _sent(deployment, run, one, past=True)))  # type: ignore[misc]
            log.info("%d runs in the pool %s: %s/runs", len(open_), pool, _ui(client))
            return _waited_for(client, deployment, run, pool, open_, attempts)
        except BaseException:
            if this_run_is_cancelled():
                _cancel(client, open_)
            raise


def _cancel(client: SyncPrefectClient, dispatches: Sequence[Dispatch]) -> None:
    """Those that a worker has started end in its own time; the others never start."""
    log.warning("cancelled: so are the %d runs that were sent and have not ended", len(dispatches))
    for one in _read(client, [UUID(one.run_id) for one in dispatches]).values():
        if one.state is not None and not one.state.is_final():
            is_there = one.state.type in (StateType.RUNNING, StateType.PENDING)
            client.set_flow_run_state(one.id, Cancelling() if is_there else Cancelled(), force=not is_there)


def check_pool(pool: str, orders: Sequence[VariantOrder]) -> None:
    """Raises InputError where the pool cannot measure these variants, before anything is sent."""
    deployment_in(pool)
    for one in orders:
        _check_no_secret(one)


def _check_no_secret(order: VariantOrder) -> None:
    """Parameters of runs lie in Prefect's database for all to read."""
    asked = order.model_dump(mode="json")
    if redacted(asked) != asked:
        raise InputError(
            f"{order.variant.label}: a secret of it would lie in Prefect's database: leave it out of the file, and "
            "set it in the environment of the workers"
        )


def _dispatches(client: SyncPrefectClient, run: ExperimentOrder, pool: str, before: dict[str, str]) -> list[Dispatch]:
    hosts = online_hosts(client, pool)
    holders = {host: cast(list[str], Variable.get(weights_variable(host), [])) for host in hosts}
    hosts_of = placed({one.variant.id: weights_id(one.variant) for one in run.variants}, holders, hosts)
    if not hosts and not _workers(client, pool):
        log.warning(
            "no worker of the pool %s is online: its runs wait until one is (dyno worker --pool %s)", pool, pool
        )
    return [
        Dispatch(
            one,
            asked_id(run, one, [before.get(cell.cell_id, "") for cell in one.cells]),
            hosts_of[one.variant.id],
        )
        for one in run.variants
    ]


def online_hosts(client: SyncPrefectClient, pool: str) -> list[str]:
    """Queues that a worker of their host reads now."""
    return [name for name in _workers(client, pool) if name.startswith(HOST_PREFIX)]


def _workers(client: SyncPrefectClient, pool: str) -> list[str]:
    return sorted(one.name for one in client.read_workers_for_work_pool(pool) if one.status == "ONLINE")


def _sent(deployment: UUID, run: ExperimentOrder, dispatch: Dispatch, *, past: bool = False) -> Dispatch:
    """With its run: a new one, or the one that an earlier invocation made of the same. `past` goes on behind those that
    ended without a result."""
    whole = run.model_copy(update={"variants": (), "kept": (), "home": ""})
    variant = dispatch.order.variant
    found: FlowRun = run_deployment(  # type: ignore[assignment]  # in a flow that is not async, it is none either
        deployment,
        parameters={"run": whole.model_dump(mode="json"), "order": dispatch.order.model_dump(mode="json")},
        timeout=0,
        flow_run_name=f"{run_name(run, dispatch.order)} try {dispatch.attempt}",
        tags=[f"engine:{variant.engine}", f"model:{variant.model.name}", f"campaign:{run.experiment}-{run.campaign}"],
        idempotency_key=dispatch.key,
        work_queue_name=dispatch.host or None,
    )
    if past and found.state is not None and found.state.type.value in GONE:
        return _sent(deployment, run, dispatch.past(), past=True)
    queue = found.work_queue_name or ""  # of a run that is there already, another than it would get now
    return replace(dispatch, run_id=str(found.id), host=queue if queue.startswith(HOST_PREFIX) else ANY)


def run_name(run: ExperimentOrder, order: VariantOrder) -> str:
    """What runs, in a line."""
    return f"{order.variant.label}{NAMED}{run.experiment}-{run.campaign}"


def _waited_for(
    client: SyncPrefectClient,
    deployment: UUID,
    run: ExperimentOrder,
    pool: str,
    open_: list[Dispatch],
    attempts: int,
) -> dict[str, str]:
    """`open_` is at all times what has not ended."""
    lost: dict[str, str] = {}
    whole, told = len(open_), 0
    progress = Progress()
    progress.tell(0, f"0 of {whole} variants")
    while open_:
        # Twice is as good as once: a run that was sent has a key, by which the second asking finds it.
        open_[:] = patiently(lambda: _looked_after(client, deployment, run, pool, open_, attempts, lost))
        if (ended := whole - len(open_)) != told:
            told = ended
            progress.tell(100 * ended / whole, f"{ended} of {whole} variants, {len(lost)} lost")
        if open_:
            time.sleep(POLL_S)
    return lost


def _looked_after(
    client: SyncPrefectClient,
    deployment: UUID,
    run: ExperimentOrder,
    pool: str,
    open_: Sequence[Dispatch],
    attempts: int,
    lost: dict[str, str],
) -> list[Dispatch]:
    """Those that are still open; what was lost is added, and what crashed is sent again."""
    found = _read(client, [UUID(one.run_id) for one in open_])
    hosts = online_hosts(client, pool)
    idle = _idle(client, pool) - sum(not one.host and _waits(found.get(one.run_id)) for one in open_)
    left: list[Dispatch] = []
    for one in open_:
        run_now = found.get(one.run_id)
        is_there = not one.host or one.host in hosts
        others_idle = bool(one.host) and idle > 0
        step = "wait" if run_now is None else _step_of(run_now, is_there, attempts - one.tries, others_idle)
        if step == "wait":
            left.append(one)
        elif step in ("again", "offer"):
            idle -= step == "offer"
            left.append(_elsewhere(client, deployment, run, one, run_now, step))
        elif step == "lost":
            lost[one.order.variant.id] = _words(run_now)
        else:
            log.info("%s: %s", run_name(run, one.order), _ended(run_now))
    return left


def _elsewhere(
    client: SyncPrefectClient,
    deployment: UUID,
    run: ExperimentOrder,
    dispatch: Dispatch,
    run_now: FlowRun | None,
    step: str,
) -> Dispatch:
    """Sent before the old run is withdrawn: where that fails, both are done again, and the key finds what was sent."""
    if step == "offer":
        log.info(
            "%s: %s is busy, and another host is not: offered to any", run_name(run, dispatch.order), dispatch.host
        )
        next_, why = dispatch.offered(), "its host is busy: it was offered to any"
    else:
        log.warning("%s: %s; running it again elsewhere", run_name(run, dispatch.order), _words(run_now))
        next_, why = dispatch.again(), "its worker is gone: it runs elsewhere"
    sent = _sent(deployment, run, next_)
    if run_now is not None and run_now.state is not None and not run_now.state.is_final():
        client.set_flow_run_state(run_now.id, Cancelled(message=why), force=True)
    return sent


def _idle(client: SyncPrefectClient, pool: str) -> int:
    """How many workers of the pool have nothing to do: each does one thing at a time."""
    begun = FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING, StateType.CANCELLING])
    busy = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=begun)),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
        limit=PAGE,
    )
    return len(_workers(client, pool)) - len(busy)


def _waits(run: FlowRun | None) -> bool:
    return run is not None and run.state is not None and run.state.is_scheduled()


def _read(client: SyncPrefectClient, ids: Sequence[UUID]) -> dict[str, FlowRun]:
    """By id, in pages: the server gives no more than PAGE runs at a time."""
    found: dict[str, FlowRun] = {}
    for first in range(0, len(ids), PAGE):
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=list(ids[first : first + PAGE])))
        found |= {str(one.id): one for one in client.read_flow_runs(flow_run_filter=wanted, limit=PAGE)}
    return found


def _step_of(run: FlowRun, host_is_there: bool, tries_left: int, others_idle: bool) -> str:
    state = run.state
    if state is None:
        return "wait"
    seconds = (datetime.now(UTC) - state.timestamp).total_seconds()
    return next_step(
        state.type.value,
        seconds_in_state=seconds,
        host_is_there=host_is_there,
        tries_left=max(0, tries_left),
        others_idle=others_idle,
    )


def _ui(client: SyncPrefectClient) -> str:
    return without_password(str(client.api_url)).rstrip("/").removesuffix("/api")


def _ended(run: FlowRun | None) -> str:
    return str(run.state.name).lower() if run is not None and run.state is not None else "ended"


def _words(run: FlowRun | None) -> str:
    if run is None or run.state is None:
        return "its run is gone"
    return f"its run {run.name} is {str(run.state.name).lower()}: {run.state.message or 'no reason given'}"
