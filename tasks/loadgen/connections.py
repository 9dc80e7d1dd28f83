"""The connections of one process: opened ahead, reused last in first out, or each used once."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from tasks.loadgen.connection import ConnectFailed, Connection, Dialer
from tasks.loadgen.exchange import WireEnd
from tasks.loadgen.reception import Reception

_OPENING_AT_ONCE = 64
"""More would overflow the backlog of many servers, and a lost SYN costs a second."""

_SPARE = 2
"""Where a request may need a connection that has served nobody: the handshake is over when it is due."""

_LONG_CONNECT_NS = 1_000_000
"""Below it, no more than the spare ones are opened ahead: a connection that waits may hold a thread of the server."""


class Connections:
    """Requests get a connection at once, or wait in order for one; each failed attempt fails one waiting request.

    `users` are kept connected in a closed loop. With a rate, spare connections are held: as many as come due, at
    twice that rate, in the time that a connection takes. `on_ended` gets each exchange that is over.

    A connection that served a turn of a conversation is held for the next one, until `release`. Where the server has
    closed it since, the next turn gets one that has served nobody: that it was not reused is then what its record says.
    """

    def __init__(self, dialer: Dialer, *, users: int, rate_rps: float, fresh: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._dialer = dialer
        self._users = users
        self._rate_rps = rate_rps
        self._fresh = fresh
        self._idle: deque[Connection] = deque()
        self._held: dict[int, Connection] = {}
        self._talking: set[int] = set()  # conversations of which a turn was sent
        self.busy: dict[Reception, Connection] = {}  # in the order of sending
        self._opening: set[asyncio.Task[Any]] = set()
        self._gate = asyncio.Semaphore(_OPENING_AT_ONCE)
        self._refused = False
        self._shut = False
        self.waiting: deque[Reception] = deque()
        self.on_ended: Callable[[Reception], None] = lambda reception: None

    async def open_ahead(self, limit: int) -> None:
        """Opens what the start needs; a server that refuses is found out by the requests themselves."""
        await self._settle(min(1, limit))  # the first tells how long one takes
        await self._settle(min(limit, max(self._users, self._spare())))

    async def _settle(self, count: int) -> None:
        self._open(count - len(self._idle))
        while self._opening:
            await asyncio.wait(self._opening)

    def _spare(self) -> int:
        """Held beyond those in use."""
        took_ns = self._dialer.quickest_ns
        if self._users:
            if not self._fresh:
                return 0
            return self._users if took_ns > _LONG_CONNECT_NS else min(self._users, _SPARE)
        return _SPARE + int(2 * self._rate_rps * took_ns / 1e9)

    def assign(self, reception: Reception) -> None:
        """Sends it now if a connection is ready, else as soon as one is."""
        if not self._send(reception):
            self.waiting.append(reception)
        self._top_up()

    def _send(self, reception: Reception) -> bool:
        while (connection := self._take(reception.conversation)) is not None:
            self.busy[reception] = connection
            if connection.send(reception):
                if reception.conversation is not None:
                    self._talking.add(reception.conversation)
                return True
            del self.busy[reception]
        return False

    def _take(self, conversation: int | None) -> Connection | None:
        if conversation in self._talking:
            return self._held.pop(conversation, None) or self._unused()
        if not self._idle:
            return None
        # The freshest of the reused is warm; the oldest of the unused is the first that a server has accepted.
        return self._idle.popleft() if self._fresh else self._idle.pop()

    def _unused(self) -> Connection | None:
        found = next((connection for connection in self._idle if not connection.served), None)
        if found is not None:
            self._idle.remove(found)
        return found

    def _top_up(self) -> None:
        if self._refused and not self.waiting:
            return  # spare connections are not worth hammering a server that refuses them
        wanted = len(self.waiting) + self._spare() - len(self._idle)
        if self._users and not self._fresh:
            wanted = max(wanted, self._users - len(self._idle) - len(self.busy) - len(self._held))
        if self._talking and self.waiting:
            wanted = max(wanted, self._unused_wanted())
        if wanted > len(self._opening):
            self._open(wanted - len(self._opening))

    def _unused_wanted(self) -> int:
        """Later turns that lost their connection are not helped by one that has served another."""
        turns = sum(reception.conversation in self._talking for reception in self.waiting)
        return turns - sum(not connection.served for connection in self._idle)

    def _open(self, count: int) -> None:
        for _ in range(count):
            self._opening.add(self._loop.create_task(self._open_one()))

    async def _open_one(self) -> None:
        connection, error = None, ""
        async with self._gate:
            try:
                connection = await self._dialer.open(self._loop, self)
            except ConnectFailed as failure:
                error = str(failure)
        # Before anything follows from it: what is counted as opening is what waiting requests may rely on.
        task = asyncio.current_task()
        assert task is not None
        self._opening.discard(task)
        if connection is None:
            self._failed(error)
        else:
            self._refused = False
            self._use(connection)

    def _failed(self, error: str) -> None:
        self._refused = True
        if self.waiting and not self._shut:
            reception = self.waiting.popleft()
            reception.finish(WireEnd.CONNECT_FAILED, time.monotonic_ns(), error)
            self.on_ended(reception)

    def _use(self, connection: Connection) -> None:
        if self._shut:
            connection.close()
            return
        if not self.waiting:
            self._idle.append(connection)
            return
        self._idle.append(connection)
        if self._send(self.waiting[0]):
            self.waiting.popleft()
            return
        if self._idle:  # not what the first in line may have
            self._send_another()
        self._top_up()

    def _send_another(self) -> None:
        for reception in tuple(self.waiting):
            if reception.conversation not in self._talking and self._send(reception):
                self.waiting.remove(reception)
                return

    def release(self, conversation: int) -> None:
        """It is over: its connection is anybody's."""
        self._talking.discard(conversation)
        connection = self._held.pop(conversation, None)
        if connection is not None:
            self._use(connection)

    def ended(self, connection: Connection, reception: Reception, *, reusable: bool) -> None:
        self.busy.pop(reception, None)
        if reusable and self._fresh:
            connection.close()
        elif reusable and reception.conversation is not None:
            self._held[reception.conversation] = connection
        elif reusable:
            self._use(connection)
        self.on_ended(reception)

    def closed_idle(self, connection: Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)
        self._held = {key: held for key, held in self._held.items() if held is not connection}
        if connection.served:  # one that never served was refused in disguise: asking again at once would hammer
            self._top_up()

    def abort(self, reception: Reception) -> None:
        """Closes the connection that this one is on. Its exchange is the caller's to finish."""
        self.busy.pop(reception).close()

    def shut(self) -> None:
        """Closes everything; what is waiting stays in `waiting`."""
        self._shut = True
        for task in self._opening:
            task.cancel()
        for connection in [*self._idle, *self._held.values(), *self.busy.values()]:
            connection.close()
        self._idle.clear()
        self._held.clear()
        self.busy.clear()
