"""A flow ends with the worker that started it: the kernel says so, for a worker that is killed cannot."""

import contextlib
import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def end_with_worker() -> None:
    """From now on the death of this process's parent is a SIGTERM to it, which ends engines as any stop does. Without a
    worker (no PREFECT__FLOW_RUN_ID), and where the kernel is not Linux, nothing changes."""
    if "PREFECT__FLOW_RUN_ID" in os.environ:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
