"""The conversations of a trial: how many turns each has, and how long its user thinks; drawn from the seed alone.

The k-th turn of conversation c is the request of index c × (most turns) + k, whoever sends it."""

import math
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a worker needs what was drawn up, not what draws it up
    from experiments.schema.conversation import Conversation

NS = 1_000_000_000

_TURNS, _THINKING = 0x5455524E, 0x5448494E
"""Keep these draws apart from each other, and from other uses of the same seed."""


@dataclass(frozen=True, slots=True)
class Dialogue:
    """`count` conversations hold the requests asked for, and the last of them only `last_turns`; None: there are as
    many as there is time for. Thinking lasts `think_s` on average; `sigma` is that of a lognormal one. `told` are the
    turns that a dataset has for each conversation; they come round again.
    """

    seed: int
    fewest_turns: int
    most_turns: int
    thinking: str = "constant"  # or "exponential", "lognormal"
    think_s: float = 0.0
    sigma: float = 0.0
    count: int | None = None
    last_turns: int = 0
    told: tuple[int, ...] = ()

    def turns(self, conversation: int) -> int:
        """How many requests this one makes, unless one fails."""
        if self.count is not None and conversation == self.count - 1:
            return self.last_turns
        return self.drawn_turns(conversation)

    def drawn_turns(self, conversation: int) -> int:
        """Before the last one is cut short."""
        most = self.told[conversation % len(self.told)] if self.told else self.most_turns
        if self.fewest_turns == self.most_turns:
            return min(most, self.most_turns)
        return min(most, self._random(_TURNS, conversation).randint(self.fewest_turns, self.most_turns))

    @property
    def mean_turns(self) -> float:
        """Of the conversations together."""
        if not self.told:
            return (self.fewest_turns + self.most_turns) / 2
        return sum(self.drawn_turns(conversation) for conversation in range(len(self.told))) / len(self.told)

    def think_ns(self, conversation: int, turn: int) -> int:
        """Between the end of the answer before and the time when this turn is due; turn ≥ 1."""
        if self.thinking == "constant":
            return round(self.think_s * NS)
        drawn = self._random(_THINKING, conversation * self.most_turns + turn)
        if self.thinking == "exponential":
            return round(drawn.expovariate(1 / self.think_s) * NS)
        return round(drawn.lognormvariate(math.log(self.think_s) - self.sigma**2 / 2, self.sigma) * NS)

    def _random(self, purpose: int, number: int) -> random.Random:
        return random.Random(purpose << 128 | (self.seed % 2**64) << 64 | number)


def dialogue_of(
    conversation: "Conversation", *, seed: int, requests: int | None, told: tuple[int, ...] = ()
) -> Dialogue:
    """As many conversations, in their order, as it takes to hold the requests."""
    endless = Dialogue(seed, conversation.fewest_turns, conversation.most_turns, *_thinking(conversation), told=told)
    if requests is None:
        return endless
    count, left = 0, requests
    while left > 0:
        last_turns = min(left, endless.drawn_turns(count))
        count, left = count + 1, left - last_turns
    return replace(endless, count=count, last_turns=last_turns)


def _thinking(conversation: "Conversation") -> tuple[str, float, float]:
    think = conversation.think_time_s
    if isinstance(think, int | float):
        return "constant", think, 0.0
    return think.kind, think.mean_s, think.sigma if think.kind == "lognormal" else 0.0
