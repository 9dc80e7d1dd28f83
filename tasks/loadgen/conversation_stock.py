"""The requests of conversations: first turns encoded ahead, later ones while their user thinks."""

import time
from collections.abc import Callable

from tasks.loadgen.assignment import Assignment
from tasks.loadgen.dialogue import Dialogue
from tasks.loadgen.exchange import Asked, Exchange, WireEnd
from tasks.loadgen.history import History, TurnBodies, repeated
from tasks.loadgen.http1 import read_response
from tasks.loadgen.reception import Reception
from tasks.loadgen.record import Outcome
from tasks.loadgen.spill import SpillFile
from tasks.loadgen.stock import AHEAD_AT_LEAST, AHEAD_BYTES, AHEAD_PER_USER, request_head
from tasks.loadgen.stream import Answer, read_answer
from tasks.loadgen.verdict import verdict


class ConversationStock:
    """`at` gives the request of a position, once. An answer is heard in one pass over its bytes (2 µs an event) and the
    next turn encoded while its user thinks, between sends; at the latest when that turn is next in line, and then it
    shows as lateness. `on_failed` gets the position that has nothing to follow, and why."""

    refill_ns = 2_000_000

    def __init__(self, assignment: Assignment, dialogue: Dialogue, bodies: TurnBodies) -> None:
        self._assignment = assignment
        self._dialogue = dialogue
        self._bodies = bodies
        self._head = request_head(assignment)
        self._histories: dict[int, History] = {}
        self._ready: dict[int, bytes] = {}
        self._ready_bytes = 0
        # By the position of the next turn, in the order in which answers ended.
        self._unheard: dict[int, tuple[Reception, int, SpillFile]] = {}
        self._to_encode: dict[int, None] = {}
        self.on_failed: Callable[[int, str], None] = lambda position, reason: None
        self._first_turns = 0
        self._asked: dict[int, int] = {}
        self._ahead = assignment.count
        if self._ahead is None:
            self._ahead = max(AHEAD_AT_LEAST, AHEAD_PER_USER * len(assignment.user_due_ns))

    def at(self, position: int) -> bytes:
        """The whole request."""
        if position not in self._ready:
            self._encode(position)
        payload = self._ready.pop(position)
        self._ready_bytes -= len(payload)
        return payload

    def refill(self, until_ns: int | None = None) -> None:
        """Hears and encodes until nothing is wanting, or the time has come; what is due sooner first."""
        while until_ns is None or time.monotonic_ns() < until_ns:
            if self._to_encode:
                self._encode(next(iter(self._to_encode)))
            elif self._unheard:
                self.hear(next(iter(self._unheard)))
            elif (position := self._first_turn_wanting()) is not None:
                self._encode(position)
            else:
                return

    def _first_turn_wanting(self) -> int | None:
        first, count = self._first_turns, self._assignment.count
        is_full = self._ready_bytes >= AHEAD_BYTES or len(self._ready) >= (self._ahead or 1)
        return None if is_full or first == count else first * self._dialogue.most_turns

    def _encode(self, position: int) -> None:
        assignment, (conversation, turn) = self._assignment, divmod(position, self._dialogue.most_turns)
        self._to_encode.pop(position, None)
        self._first_turns = max(self._first_turns, conversation + 1)
        prompt_tokens, output_tokens = assignment.lengths(position)
        prompt = self._bodies.prompt(assignment.index(position), turn, prompt_tokens)
        history = self._histories.setdefault(conversation, History(self._bodies.form))
        body = self._bodies.source.around(history.ask(prompt), output_tokens)
        self._ready[position] = b"%b%d\r\n\r\n%b" % (self._head, len(body), body)
        self._ready_bytes += len(self._ready[position])

    def expect(self, position: int, reception: Reception, end_ns: int, spill: SpillFile) -> None:
        """This later turn is to follow that answer."""
        self._unheard[position] = reception, end_ns, spill

    def is_unheard(self, position: int) -> bool:
        """Whether the answer before this turn is still to be read."""
        return position in self._unheard

    def hear(self, position: int) -> None:
        """Takes the answer before this turn into the history, if it is one."""
        reception, end_ns, spill = self._unheard.pop(position)
        answer = self._completed(reception, position - 1, end_ns, spill)
        said = None if answer is None else repeated(answer, self._bodies.form)
        conversation, turn = divmod(position, self._dialogue.most_turns)
        if answer is None:
            self.on_failed(position, f"turn {turn - 1} of its conversation did not complete")
        elif said is None:
            self.on_failed(position, f"the server did not tell the token ids of its answer to turn {turn - 1}")
        else:
            self._histories[conversation].hear(said)
            self._to_encode[position] = None
            if self._bodies.form == "ids" and answer.prompt_tokens is not None:
                # Ids are joined without loss: all that the server counted, its answer, and the new turn.
                new, _ = self._assignment.lengths(position)
                self._asked[position] = answer.prompt_tokens + len(answer.said_ids) + new

    def _completed(self, reception: Reception, position: int, end_ns: int, spill: SpillFile) -> Answer | None:
        """By the verdict that its record will have."""
        assignment = self._assignment
        is_late = end_ns - (reception.sent_at_ns or end_ns) > assignment.timeout_ns
        if is_late or reception.end not in (WireEnd.COMPLETE, WireEnd.EOF):
            return None
        raw = (spill.read(reception.pieces) if reception.pieces else b"") + bytes(reception.data)
        response = read_response([(end_ns, raw)])
        answer = read_answer(response, ended=response.ended(reception.end), keeps_text=True)
        exchange = Exchange(
            reception.index, reception.due_at_ns, reception.sent_at_ns, end_ns, reception.end, [(end_ns, raw)]
        )
        _, output_tokens = assignment.lengths(position)
        asked = Asked(None, output_tokens, assignment.exact, assignment.needs_done)
        return answer if verdict(exchange, asked, response, answer)[0] is Outcome.COMPLETED else None

    def forget(self, conversation: int) -> None:
        """It is over."""
        self._histories.pop(conversation, None)

    def prompt_tokens_asked(self, position: int) -> int | None:
        """Of a later turn it is known only where its history is of token ids, and it came to be sent."""
        if position % self._dialogue.most_turns == 0:
            return self._assignment.lengths(position)[0]
        return self._asked.get(position)
