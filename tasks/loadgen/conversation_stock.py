"""The requests of conversations: first turns encoded ahead, later ones while their user thinks."""

import time

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
    """`at` gives the request of a position, once. An answer is heard when it ends, in one pass over its bytes (2 µs an
    event); the next turn is encoded between sends, at the latest when it is sent, and then shows as lateness."""

    def __init__(self, assignment: Assignment, dialogue: Dialogue, bodies: TurnBodies) -> None:
        self._assignment = assignment
        self._dialogue = dialogue
        self._bodies = bodies
        self._head = request_head(assignment)
        self._histories: dict[int, History] = {}
        self._ready: dict[int, bytes] = {}
        self._ready_bytes = 0
        self._to_encode: dict[int, None] = {}  # later turns, in the order in which their predecessors ended
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
        """Encodes until nothing is wanting, or the time has come; what is due sooner first."""
        while (position := self._wanting()) is not None:
            if until_ns is not None and time.monotonic_ns() >= until_ns:
                return
            self._encode(position)

    def _wanting(self) -> int | None:
        if self._to_encode:
            return next(iter(self._to_encode))
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

    def hear(self, reception: Reception, position: int, end_ns: int, spill: SpillFile) -> str | None:
        """Takes the answer into the history, for the next turn. Else the reason why there is none."""
        conversation, turn = divmod(position, self._dialogue.most_turns)
        answer = self._completed(reception, position, end_ns, spill)
        if answer is None:
            return f"turn {turn} of its conversation did not complete"
        said = repeated(answer, self._bodies.form)
        if said is None:
            return f"the server did not tell the token ids of its answer to turn {turn}"
        self._histories[conversation].hear(said)
        if self._bodies.form == "ids" and answer.prompt_tokens is not None:
            # Ids are joined without loss: all that the server counted, its answer, and the new turn.
            new, _ = self._assignment.lengths(position + 1)
            self._asked[position + 1] = answer.prompt_tokens + len(answer.said_ids) + new
        return None

    def expect(self, position: int) -> None:
        """This later turn will be sent: encode it while its user thinks."""
        self._to_encode[position] = None

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
