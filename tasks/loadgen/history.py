"""What a conversation has said so far, as JSON that stands where a request's prompt stands."""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import orjson

from tasks.loadgen.body import BodySource, Prompts, TokenPrompts, WordPrompts
from tasks.loadgen.stream import Answer

Form = Literal["chat", "text", "ids"]


class Joints(NamedTuple):
    """The bytes around and between what is said. `bare`: brackets or quotes stand once, around the whole."""

    opening: bytes
    before_answer: bytes
    before_turn: bytes
    closing: bytes
    bare: bool


JOINTS: dict[Form, Joints] = {
    "chat": Joints(b"", b'},{"role":"assistant","content":', b'},{"role":"user","content":', b"", bare=False),
    "text": Joints(b'"', b"", b" ", b'"', bare=True),
    "ids": Joints(b"[", b",", b",", b"]", bare=True),
}


@dataclass(frozen=True, slots=True)
class TurnBodies:
    """The bodies of conversations: `source` makes the first turn's as it makes any request's, `later` what the user
    adds in each further one. In chat each message costs the template anew; elsewhere nothing is added to what is asked.
    """

    source: BodySource
    form: Form
    later: Prompts

    def prompt(self, index: int, turn: int, tokens: int) -> bytes:
        """What the user says in one turn, as JSON."""
        if turn == 0:
            return self.source.prompt(index, tokens)
        return self.later.render(self.source.seed, self.source.salt, index, tokens)


def turn_bodies(source: BodySource, *, chat: bool) -> TurnBodies:
    """Token ids can be joined to no text: where the server tells no ids, the prompts must be words (see preflight)."""
    if chat:
        return TurnBodies(source, "chat", source.prompts)
    if isinstance(source.prompts, TokenPrompts):
        return TurnBodies(source, "ids", replace(source.prompts, overhead_tokens=0))
    if not isinstance(source.prompts, WordPrompts):
        return TurnBodies(source, "text", source.prompts)
    return TurnBodies(source, "text", replace(source.prompts, overhead_tokens=0.0, words_for={}))


class History:
    """Grows by a turn and by an answer in alternation."""

    __slots__ = ("_joints", "_said")

    def __init__(self, form: Form) -> None:
        self._joints = JOINTS[form]
        self._said = b""

    def __len__(self) -> int:
        return len(self._said)

    def ask(self, prompt: bytes) -> bytes:
        """The prompt of the whole conversation, this turn's included; `prompt` is JSON."""
        joints = self._joints
        before = joints.before_turn if self._said else b""
        self._said += before + self._stripped(prompt)
        return joints.opening + self._said + joints.closing

    def hear(self, answer: bytes) -> None:
        """The answer as JSON, in the form of the prompts."""
        self._said += self._joints.before_answer + self._stripped(answer)

    def _stripped(self, value: bytes) -> bytes:
        return value[1:-1] if self._joints.bare else value


def repeated(answer: Answer, form: Form) -> bytes | None:
    """The answer as the next turn repeats it. None: it cannot, the server told the ids of some of its tokens only."""
    if form == "ids":
        whole = answer.said_ids and len(answer.said_ids) == answer.output_tokens
        return orjson.dumps(answer.said_ids) if whole else None
    pieces = (piece if isinstance(piece, str) else piece.decode(errors="replace") for piece in answer.said or ())
    return json_string("".join(pieces))


def json_string(text: str) -> bytes:
    """Characters whose halves came in two events are made whole; what is half for good is replaced."""
    return orjson.dumps(text.encode("utf-16", "surrogatepass").decode("utf-16", errors="replace"))
