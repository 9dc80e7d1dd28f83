"""The measuring itself, in one process: sends what is due, keeps what arrives, and watches itself. Parses nothing."""

import asyncio
import struct
import time
from array import array
from collections.abc import Callable, Mapping
from typing import Any

import httptools

from tasks.loadgen.agenda import Agenda, Due
from tasks.loadgen.alarm import make_alarm
from tasks.loadgen.assignment import Assignment, Beat
from tasks.loadgen.clock import ClockLog
from tasks.loadgen.connections import Connections
from tasks.loadgen.exchange import WireEnd
from tasks.loadgen.glance import Glance
from tasks.loadgen.reception import Reception
from tasks.loadgen.spill import SpillFile
from tasks.loadgen.stock import Bodies

_TICK_NS = 20_000_000
_TICKS_A_BEAT = 25
_TICKS_A_CLOCK_SAMPLE = 50
_SPILL_AT_LEAST_BYTES = 64 * 1024

_pair = struct.Struct("qq").unpack


class Measurement:
    """One trial's share of one process. `run` returns when each request is over; `done` then holds them all."""

    def __init__(
        self,
        assignment: Assignment,
        *,
        agenda: Agenda,
        stock: Bodies,
        connections: Connections,
        clock: ClockLog,
        spill: SpillFile,
        on_beat: Callable[[Beat], None],
    ) -> None:
        self._assignment = assignment
        self._agenda = agenda
        self.stock = stock
        self._connections = connections
        self.clock = clock
        self.spill = spill
        self._on_beat = on_beat
        self._glance = Glance(clock)
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._alarm = make_alarm(self._loop, self._fire)
        self._ticker = make_alarm(self._loop, self._tick)
        self._firing = False
        self._has_begun = False
        self._ticks = 0
        self._tick_due_ns = 0
        self._resident_bytes = 0
        self.done: list[Reception] = []
        self.loop_delay_ns = array("q")
        self.began_ns = self.ended_ns = time.monotonic_ns()
        self.cpu_ns = time.process_time_ns()
        connections.on_ended = self._ended

    async def run(self) -> None:
        """From the first due time until everything is over. GC is the caller's to switch off."""
        self.clock.sample()
        if (first_due := self._agenda.next_due_ns) is None:
            self._finish()
        else:
            self._tick_due_ns = first_due
            self._ticker.set(first_due)
            self._alarm.set(first_due)
        await self._over
        self.ended_ns = time.monotonic_ns()
        self._ticker.close()
        self._alarm.close()
        self._connections.shut()
        self.clock.sample()

    def cancel(self) -> None:
        """Ends all that is under way, and names all that was not sent."""
        now = time.monotonic_ns()
        for reception in list(self._connections.busy):
            self._connections.abort(reception)
            self._give_up(reception, WireEnd.CANCELLED, now)
        for reception in self._connections.waiting:
            self._give_up(reception, WireEnd.NEVER_SENT, None)
        self._connections.waiting.clear()
        for due in (*self._agenda.lost(), *self._agenda.rest(now)):
            self._never_send(due)
        self._finish()

    def fail(self, context: Mapping[str, Any]) -> None:
        """The event loop's exception handler: a callback of ours that raised would otherwise hang the trial."""
        error = context.get("exception")
        if isinstance(error, OSError) or self._over.done():
            return  # a transport's own trouble, which it tells its connection too
        self._over.set_exception(error or RuntimeError(str(context.get("message"))))

    def _never_send(self, due: Due) -> None:
        reception = Reception(self._assignment.index(due.position), due.at_ns, b"")
        self._give_up(reception, WireEnd.NEVER_SENT, None, due.reason or None)

    def _give_up(self, reception: Reception, end: WireEnd, at_ns: int | None, reason: str | None = None) -> None:
        reception.payload = b""
        reception.finish(end, at_ns, reason)
        self.done.append(reception)

    def _fire(self) -> None:
        """Sends all that is due by now."""
        if self._firing or self._over.done():
            return  # a send that fails at once comes back here
        if not self._has_begun:
            self._begin()
        self._firing = True
        agenda, now = self._agenda, time.monotonic_ns()
        while (due_ns := agenda.next_due_ns) is not None and due_ns <= now:
            self._send_next()
        self._firing = False
        for due in agenda.lost():
            self._never_send(due)
        if due_ns is not None:
            self._alarm.set(due_ns)
        elif not self._connections.busy and not self._connections.waiting:
            self._finish()

    def _begin(self) -> None:
        self._has_begun = True
        self.began_ns, self.cpu_ns = time.monotonic_ns(), time.process_time_ns()

    def _send_next(self) -> None:
        due = self._agenda.take()
        payload = self.stock.at(due.position)
        index = self._assignment.index(due.position)
        reception = Reception(index, due.at_ns, payload, due.stamp, due.conversation)
        self._glance.expect(reception)
        self._connections.assign(reception)

    def _finish(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def _ended(self, reception: Reception) -> None:
        self.done.append(reception)
        self._glance.ended(reception)
        self._agenda.ended(reception, self._end_ns(reception))
        self._resident_bytes += len(reception.data)
        if self._resident_bytes > self._assignment.spill_bytes:
            self._move_to_disk(reception)
        self._fire()

    def _end_ns(self, reception: Reception) -> int:
        """Near enough to decide what is due next; the records' own times are made when the clock log is complete."""
        if reception.end_stamp is None:
            return reception.end_at_ns or time.monotonic_ns()
        seconds, nanoseconds = _pair(reception.end_stamp)
        if seconds < 0:
            return int(nanoseconds)
        return int(seconds * 1_000_000_000 + nanoseconds - self.clock.latest_offset_ns)

    def _move_to_disk(self, reception: Reception) -> None:
        self._resident_bytes -= len(reception.data)
        reception.pieces.append(self.spill.put(reception.data))
        reception.data = bytearray()

    def _tick(self) -> None:
        now = time.monotonic_ns()
        self.loop_delay_ns.append(now - self._tick_due_ns)
        self._ticks += 1
        self._time_out(now)
        if self._ticks % _TICKS_A_BEAT == 0:
            self._beat()
        if self._ticks % _TICKS_A_CLOCK_SAMPLE == 0:
            self.clock.sample()
        self._refill()
        self._tick_due_ns = max(self._tick_due_ns + _TICK_NS, time.monotonic_ns())
        if not self._over.done():
            self._ticker.set(self._tick_due_ns)

    def _refill(self) -> None:
        """Between sends, never in place of one."""
        until = time.monotonic_ns() + self.stock.refill_ns
        next_due = self._agenda.next_due_ns
        self.stock.refill(until if next_due is None else min(until, next_due))
        if self._agenda.next_due_ns != next_due:
            self._fire()  # an answer turned out to be none

    def _time_out(self, now_ns: int) -> None:
        busy = self._connections.busy
        while busy:
            oldest = next(iter(busy))
            if now_ns - (oldest.sent_at_ns or now_ns) < self._assignment.timeout_ns:
                return
            self._connections.abort(oldest)
            oldest.finish(WireEnd.TIMED_OUT, now_ns)
            self._ended(oldest)

    def _beat(self) -> None:
        busy = self._connections.busy
        self._on_beat(self._glance.beat(list(busy)))
        in_flight = sum(len(reception.data) for reception in busy)
        if self._resident_bytes + in_flight > self._assignment.spill_bytes:
            for reception in busy:
                self._thin_out(reception)

    def _thin_out(self, reception: Reception) -> None:
        if len(reception.data) < _SPILL_AT_LEAST_BYTES:
            return
        try:
            reception.pieces.append(self.spill.put(reception.cut()))
        except httptools.HttpParserError:
            return  # its end will say so
