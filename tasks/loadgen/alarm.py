"""An alarm in the event loop, precise to tens of microseconds by timerfd, where uvloop's own timers count in ms."""

import asyncio
import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Callable
from typing import Protocol

_CLOCK_MONOTONIC = 1
_ABSOLUTE = 1
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC if sys.platform == "linux" else 0


class Alarm(Protocol):
    """Calls back once, at the time last set or as soon after as the loop is free."""

    def set(self, at_ns: int) -> None: ...

    def close(self) -> None: ...


def make_alarm(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> Alarm:
    """On Linux a timerfd; elsewhere the loop's own timer."""
    return TimerAlarm(loop, callback) if sys.platform == "linux" else LoopAlarm(loop, callback)


class TimerAlarm:
    """timerfd_settime with an absolute time on CLOCK_MONOTONIC, the clock of time.monotonic_ns."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._settime = libc.timerfd_settime
        self._fd: int = libc.timerfd_create(_CLOCK_MONOTONIC, _FLAGS)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._spec = (ctypes.c_int64 * 4)()  # interval s, ns; first expiry s, ns
        self._loop = loop
        self._callback = callback
        loop.add_reader(self._fd, self._rings)

    def set(self, at_ns: int) -> None:
        self._spec[2], self._spec[3] = divmod(max(at_ns, 1), 1_000_000_000)
        self._settime(self._fd, _ABSOLUTE, self._spec, None)

    def _rings(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 8)
            self._callback()

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)


class LoopAlarm:
    """Where there is no timerfd."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None

    def set(self, at_ns: int) -> None:
        self.close()
        self._handle = self._loop.call_later(max(0.0, (at_ns - time.monotonic_ns()) / 1e9), self._rings, at_ns)

    def _rings(self, at_ns: int) -> None:
        self._handle = None
        if time.monotonic_ns() < at_ns:
            self.set(at_ns)
        else:
            self._callback()

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
