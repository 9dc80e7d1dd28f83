"""A run that is cancelled ends, though its worker may not hear of it.

Prefect's worker listens for the cancelling of a run on a websocket; where the server was away for half a minute it
gives up for as long as that run lasts, and the run would go on while Prefect calls it cancelled. So the run looks for
itself."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.exceptions import PrefectException

LOOK_EVERY_S = 15.0
WORKERS_SHARE_S = 30.0
"""What the worker is given to end the run itself, once it is to be cancelled."""


@contextlib.contextmanager
def ended_when_cancelled() -> Iterator[None]:
    """While the block runs, a cancelled run gets the SIGTERM that its worker did not send. Without a worker nothing."""
    run_id = os.environ.get("PREFECT__FLOW_RUN_ID")
    if run_id is None:
        yield
        return
    over = threading.Event()
    look = threading.Thread(
        target=watch,
        args=(lambda: _is_cancelled(UUID(run_id)), lambda: os.kill(os.getpid(), signal.SIGTERM), over),
        name="cancelling",
        daemon=True,
    )
    look.start()
    try:
        yield
    finally:
        over.set()


def watch(
    is_cancelled: Callable[[], bool],
    end: Callable[[], None],
    over: threading.Event,
    *,
    every_s: float = LOOK_EVERY_S,
    grace_s: float = WORKERS_SHARE_S,
) -> None:
    """Looks until it is over, or until the run is to be cancelled; then it ends it, unless someone else has."""
    while not over.wait(every_s):
        if is_cancelled():
            if not over.wait(grace_s):
                end()
            return


def this_run_is_cancelled() -> bool:
    """Whether someone cancelled the run that a worker started this process for; False without a worker."""
    run_id = os.environ.get("PREFECT__FLOW_RUN_ID")
    return run_id is not None and _is_cancelled(UUID(run_id))


def _is_cancelled(run_id: UUID) -> bool:
    """False too where the server does not say."""
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(run_id).state
    except (httpx.HTTPError, PrefectException, OSError):
        return False
    return state is not None and state.type in (StateType.CANCELLING, StateType.CANCELLED)
