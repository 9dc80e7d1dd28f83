"""What is due next where requests make conversations: the next turn a think time after the answer to the last one."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from itertools import count

from tasks.loadgen.agenda import PAUSE_AFTER_REFUSAL_NS, Due
from tasks.loadgen.assignment import Assignment
from tasks.loadgen.conversation_stock import ConversationStock
from tasks.loadgen.dialogue import Dialogue
from tasks.loadgen.exchange import WireEnd
from tasks.loadgen.reception import Reception
from tasks.loadgen.spill import SpillFile

LEAST_ERROR = 400


class ConversationAgenda:
    """In open loop the schedule says when conversations begin; in closed loop each user holds one after the other.

    A turn that fails ends its conversation: where a number of requests was asked for, its later turns will never be
    sent, and are named so. With seconds no turn falls due at or after their end, and none is missed. `release` gives
    the connection of a conversation that is over back.
    """

    def __init__(
        self,
        assignment: Assignment,
        start_ns: int,
        *,
        dialogue: Dialogue,
        stock: ConversationStock,
        spill: SpillFile,
        release: Callable[[int], None],
    ) -> None:
        self._assignment = assignment
        self._dialogue = dialogue
        self._stock = stock
        self._spill = spill
        self._release = release
        self._until_ns = None if assignment.until_ns is None else start_ns + assignment.until_ns
        self._tie = count()
        self._heap: list[tuple[int, int, int, bytes | None]] = []
        self._void: set[int] = set()  # positions in the heap that have nothing to follow
        self._last: dict[int, tuple[Reception, int]] = {}
        self._lost: list[Due] = []
        self._begun = 0
        self._under_way: dict[int, int] = {}  # conversation → turns taken
        stock.on_failed = self._unheard_failed
        for due in assignment.user_due_ns if assignment.due_ns is None else assignment.due_ns:
            self._begin(start_ns + due, None)

    @property
    def next_due_ns(self) -> int | None:
        """What is next in line has been heard: it can be sent, or it was found to have nothing to follow."""
        while self._heap:
            at_ns, _, position, _ = self._heap[0]
            if position in self._void:
                heapq.heappop(self._heap)
                self._void.remove(position)
            elif self._stock.is_unheard(position):
                self._stock.hear(position)
            else:
                return at_ns
        return None

    def take(self) -> Due:
        at_ns, _, position, stamp = heapq.heappop(self._heap)
        conversation, turn = divmod(position, self._dialogue.most_turns)
        self._under_way[conversation] = turn + 1
        return Due(position, at_ns, stamp, conversation)

    def ended(self, reception: Reception, end_ns: int) -> None:
        position = self._assignment.position(reception.index)
        conversation, turn = divmod(position, self._dialogue.most_turns)
        if turn + 1 == self._turns(conversation):
            self._end(conversation, reception, end_ns)
            return
        next_ns = end_ns + self._dialogue.think_ns(self._number(conversation), turn + 1)
        self._last[conversation] = reception, end_ns
        if reception.end not in (WireEnd.COMPLETE, WireEnd.EOF) or reception.status >= LEAST_ERROR:
            self._failed(position + 1, f"turn {turn} of its conversation did not complete")
        elif self._push(next_ns, position + 1, reception.end_stamp):
            self._stock.expect(position + 1, reception, end_ns, self._spill)
        else:
            self._end(conversation, reception, end_ns)

    def _failed(self, position: int, reason: str) -> None:
        conversation, turn = divmod(position, self._dialogue.most_turns)
        reception, end_ns = self._last[conversation]
        self._lost += self._never(conversation, turn, end_ns, reason)
        self._end(conversation, reception, end_ns)

    def _unheard_failed(self, position: int, reason: str) -> None:
        self._void.add(position)
        self._failed(position, reason)

    def lost(self) -> Sequence[Due]:
        lost, self._lost = self._lost, []
        return lost

    def _end(self, conversation: int, reception: Reception, end_ns: int) -> None:
        """It is over; in closed loop its user begins the next."""
        del self._under_way[conversation]
        self._last.pop(conversation, None)
        self._stock.forget(conversation)
        self._release(conversation)
        if self._assignment.due_ns is not None:
            return
        next_ns = end_ns + self._assignment.think_ns
        if reception.end is WireEnd.CONNECT_FAILED:
            self._begin(next_ns + PAUSE_AFTER_REFUSAL_NS, None)
        else:
            self._begin(next_ns, reception.end_stamp)

    def _begin(self, due_ns: int, stamp: bytes | None) -> None:
        conversation, most = self._begun, self._assignment.count
        if (most is None or conversation < most) and self._push(
            due_ns, conversation * self._dialogue.most_turns, stamp
        ):
            self._under_way[conversation] = 0
            self._begun += 1

    def _push(self, due_ns: int, position: int, stamp: bytes | None) -> bool:
        """False where it would fall due too late."""
        if self._until_ns is not None and due_ns >= self._until_ns:
            return False
        heapq.heappush(self._heap, (due_ns, next(self._tie), position, stamp))
        return True

    def _never(self, conversation: int, first: int, at_ns: int, reason: str) -> Iterator[Due]:
        """The turns that a number of requests promised: due, for want of a better time, when that came to nothing."""
        if self._until_ns is None:
            start = conversation * self._dialogue.most_turns
            for turn in range(first, self._turns(conversation)):
                yield Due(start + turn, at_ns, None, conversation, reason)

    def rest(self, now_ns: int) -> Iterator[Due]:
        """What was scheduled and not sent. First turns of an open loop keep their times."""
        own = {position: at_ns for at_ns, _, position, _ in self._heap if self._assignment.due_ns is not None}
        begun = dict(self._under_way)
        if self._until_ns is None:
            begun |= dict.fromkeys(range(self._begun, self._assignment.count or 0), 0)
        for conversation, taken in begun.items():
            start = conversation * self._dialogue.most_turns
            if taken == 0 and start in own:
                yield Due(start, own[start], None, conversation)
                taken = 1
            yield from self._never(conversation, taken, now_ns, "")

    def _turns(self, conversation: int) -> int:
        return self._dialogue.turns(self._number(conversation))

    def _number(self, conversation: int) -> int:
        """Of the trial, for the k-th conversation of this process."""
        return self._assignment.process + conversation * self._assignment.processes
