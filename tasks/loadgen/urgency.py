"""While measuring, the client goes before the engine for the little CPU that it needs, where the system lets it.

On two cores kept busy by others, sends are 10 ms late at p99 without it, and 0.15 ms with real-time priority.
"""

import contextlib
import os
import sys
from collections.abc import Iterator

_PRIORITY = 1
_NICE = -20


@contextlib.contextmanager
def urgent(*, wanted: bool = True) -> Iterator[str]:
    """Gives what was granted to this thread: real-time, nice or normal. Back to normal afterwards."""
    if not wanted or sys.platform != "linux":
        yield "normal"
        return
    before = os.getpriority(os.PRIO_PROCESS, 0)
    granted = _ask()
    try:
        yield granted
    finally:
        if granted == "real-time":
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        elif granted == "nice":
            os.setpriority(os.PRIO_PROCESS, 0, before)


def _ask() -> str:
    with contextlib.suppress(OSError):
        # Inherited by a thread that is started meanwhile: one without it could be stopped while it holds the GIL.
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(_PRIORITY))
        return "real-time"
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
        return "nice"
    return "normal"


def leaves_room(processes: int) -> bool:
    """So many urgent processes could otherwise take every core from the server."""
    return processes <= max(1, (os.cpu_count() or 1) // 2)
