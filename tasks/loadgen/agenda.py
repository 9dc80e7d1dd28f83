"""What is due next in one process: read off the schedule in open loop, off what has ended in closed loop."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from tasks.loadgen.assignment import Assignment
from tasks.loadgen.exchange import WireEnd
from tasks.loadgen.reception import Reception

PAUSE_AFTER_REFUSAL_NS = 100_000_000
"""A closed loop would otherwise turn a server that is gone into a storm of connection attempts."""


@dataclass(frozen=True, slots=True)
class Due:
    """The k-th request of this process. With a stamp, it is due a think time after that instant of the kernel's.

    `conversation` is this process's number of it; `reason` why the request will never be sent."""

    position: int
    at_ns: int
    stamp: bytes | None = None
    conversation: int | None = None
    reason: str = ""


class Agenda(Protocol):
    """`next_due_ns` None: nothing is due until something ends. Times are CLOCK_MONOTONIC. `lost` names, once,
    requests that will never be sent because of how others ended."""

    @property
    def next_due_ns(self) -> int | None: ...

    def take(self) -> Due: ...

    def ended(self, reception: Reception, end_ns: int) -> None: ...

    def lost(self) -> Sequence[Due]: ...

    def rest(self, now_ns: int) -> Iterator[Due]: ...


class OpenLoopAgenda:
    """Due whatever became of the earlier ones."""

    def __init__(self, assignment: Assignment, start_ns: int) -> None:
        assert assignment.due_ns is not None
        self._due = [start_ns + due for due in assignment.due_ns]
        self._position = 0

    @property
    def next_due_ns(self) -> int | None:
        return self._due[self._position] if self._position < len(self._due) else None

    def take(self) -> Due:
        due = Due(self._position, self._due[self._position])
        self._position += 1
        return due

    def ended(self, reception: Reception, end_ns: int) -> None:
        """Nothing follows from it."""

    def lost(self) -> Sequence[Due]:
        """Each is due whatever became of the others."""
        return ()

    def rest(self, now_ns: int) -> Iterator[Due]:
        while self.next_due_ns is not None:
            yield self.take()


class ClosedLoopAgenda:
    """Each user's next request is due a think time after its last one ended."""

    def __init__(self, assignment: Assignment, start_ns: int) -> None:
        self._count = assignment.count
        self._until_ns = None if assignment.until_ns is None else start_ns + assignment.until_ns
        self._think_ns = assignment.think_ns
        self._tie = count()
        self._heap: list[tuple[int, int, bytes | None]] = []
        self._position = 0
        for due in assignment.user_due_ns:
            self._push(start_ns + due, None)

    def _push(self, due_ns: int, stamp: bytes | None) -> None:
        if self._until_ns is None or due_ns < self._until_ns:
            heapq.heappush(self._heap, (due_ns, next(self._tie), stamp))

    def _has_more(self) -> bool:
        return self._count is None or self._position < self._count

    @property
    def next_due_ns(self) -> int | None:
        return self._heap[0][0] if self._heap and self._has_more() else None

    def take(self) -> Due:
        at_ns, _, stamp = heapq.heappop(self._heap)
        due = Due(self._position, at_ns, stamp)
        self._position += 1
        return due

    def ended(self, reception: Reception, end_ns: int) -> None:
        if reception.end is WireEnd.CONNECT_FAILED:
            self._push(end_ns + self._think_ns + PAUSE_AFTER_REFUSAL_NS, None)
        else:
            self._push(end_ns + self._think_ns, reception.end_stamp)

    def lost(self) -> Sequence[Due]:
        """A user goes on, whatever became of the last request."""
        return ()

    def rest(self, now_ns: int) -> Iterator[Due]:
        """Of a count, what is left; each would have been due at the earliest now. Without a count, nothing was."""
        while self._count is not None and self._position < self._count:
            yield Due(self._position, now_ns)
            self._position += 1


def make_agenda(assignment: Assignment, start_ns: int) -> Agenda:
    """Open loop where the schedule has due times."""
    kind = ClosedLoopAgenda if assignment.due_ns is None else OpenLoopAgenda
    return kind(assignment, start_ns)
