"""Readiness of many sockets within an event loop.

On Linux an epoll of our own hangs below uvloop's: uvloop's add_reader calls back once and never again when an error is
pending, even if that one read brought data; and it serves all that is ready before it looks at a timer.
"""

import asyncio
import select
import sys
import time
from collections.abc import Callable
from typing import Protocol

AT_ONCE = 64
"""Reads in a row before the loop looks at what else is due: about half a millisecond."""

NAP_S = 0.0003
NAP_FROM_EVENTS_RPS = 5_000
"""Above this rate reads are gathered for a moment: the kernel has stamped them, and to wake up for each one costs half
as much again. A send that is due meanwhile waits as long."""

_LOOK_EVERY_NS = 20_000_000

Callback = Callable[[], None]


class Poller(Protocol):
    """`watch` calls back while a socket has something to read; `await_writable` while it takes something."""

    def watch(self, fd: int, readable: Callback) -> None: ...

    def await_writable(self, fd: int, writable: Callback) -> None: ...

    def writes_no_more(self, fd: int) -> None: ...

    def forget(self, fd: int) -> None: ...

    def close(self) -> None: ...


def make_poller(loop: asyncio.AbstractEventLoop) -> Poller:
    """epoll where there is one."""
    return EpollPoller(loop) if sys.platform == "linux" else LoopPoller(loop)


class EpollPoller:
    """One wake-up of uvloop for many sockets that are ready."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._poll = self._epoll.poll
        self._readers: dict[int, Callback] = {}
        self._writers: dict[int, Callback] = {}
        self._served = 0
        self._look_at_ns = 0
        self._naps = False
        loop.add_reader(self._epoll.fileno(), self._serve)

    def _serve(self) -> None:
        if self._naps:
            time.sleep(NAP_S)
        readers = self._readers
        ready = self._poll(0, AT_ONCE)
        self._count(len(ready))
        for fd, events in ready:
            # A callback may have closed what comes later in this batch.
            if events & select.EPOLLOUT and (writable := self._writers.get(fd)) is not None:
                writable()
            if events != select.EPOLLOUT and (readable := readers.get(fd)) is not None:
                readable()

    def _count(self, served: int) -> None:
        self._served += served
        now = time.monotonic_ns()
        if now >= self._look_at_ns:
            passed_ns = now - self._look_at_ns + _LOOK_EVERY_NS
            self._naps = self._served * 1_000_000_000 > NAP_FROM_EVENTS_RPS * passed_ns
            self._served, self._look_at_ns = 0, now + _LOOK_EVERY_NS

    def watch(self, fd: int, readable: Callback) -> None:
        self._readers[fd] = readable
        self._epoll.register(fd, select.EPOLLIN)

    def await_writable(self, fd: int, writable: Callback) -> None:
        self._writers[fd] = writable
        self._epoll.modify(fd, select.EPOLLIN | select.EPOLLOUT)

    def writes_no_more(self, fd: int) -> None:
        del self._writers[fd]
        self._epoll.modify(fd, select.EPOLLIN)

    def forget(self, fd: int) -> None:
        del self._readers[fd]
        self._writers.pop(fd, None)
        self._epoll.unregister(fd)

    def close(self) -> None:
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()


class LoopPoller:
    """Where there is no epoll."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._writing: set[int] = set()

    def watch(self, fd: int, readable: Callback) -> None:
        self._loop.add_reader(fd, readable)

    def await_writable(self, fd: int, writable: Callback) -> None:
        self._writing.add(fd)
        self._loop.add_writer(fd, writable)

    def writes_no_more(self, fd: int) -> None:
        self._writing.discard(fd)
        self._loop.remove_writer(fd)

    def forget(self, fd: int) -> None:
        if fd in self._writing:
            self.writes_no_more(fd)
        self._loop.remove_reader(fd)

    def close(self) -> None:
        """The loop's own."""
