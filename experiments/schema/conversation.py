"""A conversation: several requests one after the other, each with all that was said before it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from experiments.schema.base import Spec

MOST_TURNS = 1000
Turns = Annotated[int, Field(ge=2, le=MOST_TURNS)]
TurnTokens = Annotated[int, Field(ge=1, le=1_000_000)]
ThinkSeconds = Annotated[float, Field(ge=0, le=86_400)]


class TurnRange(Spec):
    """As many turns as a die with these faces shows, for each conversation anew; both ends included."""

    min: Annotated[int, Field(ge=1, le=MOST_TURNS)]
    max: Turns

    @model_validator(mode="after")
    def _min_below_max(self) -> Self:
        if self.min > self.max:
            raise ValueError("min is above max")
        return self


class ExponentialThinkTime(Spec):
    """Memoryless, of this mean."""

    kind: Literal["exponential"]
    mean_s: Annotated[float, Field(gt=0, le=86_400)]


class LognormalThinkTime(Spec):
    """`sigma` is the standard deviation of the logarithm; `mean_s` the mean of the time itself."""

    kind: Literal["lognormal"]
    mean_s: Annotated[float, Field(gt=0, le=86_400)]
    sigma: Annotated[float, Field(gt=0, le=4)] = 1.0


ThinkTime = ThinkSeconds | Annotated[ExponentialThinkTime | LognormalThinkTime, Field(discriminator="kind")]


class Conversation(Spec):
    """`turns` requests, each due a think time after the answer to the one before, which it carries in its prompt.

    The first prompt and what the user adds in each further turn are as long as the workload's prompts, unless said
    otherwise here. Each answer is as long as the workload's.
    """

    turns: Turns | TurnRange
    think_time_s: ThinkTime = 0.0
    first_prompt_tokens: TurnTokens | None = None
    turn_prompt_tokens: TurnTokens | None = None

    @property
    def fewest_turns(self) -> int:
        """Of any conversation."""
        return self.turns if isinstance(self.turns, int) else self.turns.min

    @property
    def most_turns(self) -> int:
        """Of any conversation."""
        return self.turns if isinstance(self.turns, int) else self.turns.max

    @property
    def mean_think_s(self) -> float:
        """Of a turn, the first of a conversation included: before that nobody thinks."""
        think = self.think_time_s
        mean_s = think if isinstance(think, int | float) else think.mean_s
        return mean_s * (1 - 1 / self.mean_turns)

    def context_tokens(self, prompt_tokens: int, output_tokens: int) -> int:
        """What the last turn of the longest conversation takes, given the workload's own lengths."""
        first, later = self.first_prompt_tokens or prompt_tokens, self.turn_prompt_tokens or prompt_tokens
        return first + (self.most_turns - 1) * later + self.most_turns * output_tokens

    @property
    def mean_turns(self) -> float:
        """Of the conversations together."""
        return (self.fewest_turns + self.most_turns) / 2
