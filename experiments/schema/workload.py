"""A workload: what is asked of a server. No rate: that is the load's."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from experiments.schema.base import Name, Spec
from experiments.schema.conversation import Conversation
from experiments.schema.length import Natural, OutputLength, PromptLength, longest, shortest
from experiments.schema.prompts import Dataset, Prompts, Synthetic

IN_EVERY_IDENTITY = frozenset({"prompt_tokens", "output_tokens", "endpoint", "cache"})
"""Every other field takes part in identity where it says something: cells measured before it existed keep their ids."""


class SharedPrefix(Spec):
    """A `share` of the requests begins with one of `groups` prefixes of `tokens` tokens; the rest of each is its own.

    Sharing requests are spread evenly, and the groups take turns."""

    tokens: Annotated[int, Field(ge=1, le=1_000_000)]
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    groups: Annotated[int, Field(ge=1, le=10_000)] = 1


class Workload(Spec):
    """Lengths are as the server counts them: `prompt_tokens` holds template, system prompt and shared prefix too.

    `cache` says what the prompts let the server reuse. Cold: they share nothing. Shared: what `shared_prefix`, the
    system prompt or the dataset itself makes them share. Hot: `hot_prompts` prompts, sent once before the window and
    then over and over. With `json_schema` answers follow it, and end by themselves after output_tokens at the latest.
    With a conversation each request but the first of one carries what was said before it, and only first turns are
    held to the cache policy.
    """

    name: Name
    prompt_tokens: PromptLength
    output_tokens: OutputLength
    endpoint: Literal["completions", "chat"] = "completions"
    cache: Literal["cold", "shared", "hot"] = "cold"
    prompts: Prompts = Synthetic()
    shared_prefix: SharedPrefix | None = None
    system_prompt: Annotated[str, Field(min_length=1)] | None = None
    hot_prompts: Annotated[int, Field(ge=1, le=100_000)] = 8
    json_schema: dict[str, Any] | None = None
    conversation: Conversation | None = None

    @model_validator(mode="after")
    def _lengths_from_where_there_are_some(self) -> Self:
        is_data = not isinstance(self.prompt_tokens, int) and self.prompt_tokens.kind == "data"
        if is_data != isinstance(self.prompts, Dataset):
            raise ValueError(
                "prompts of a dataset have the lengths that they have: prompts: {kind: dataset, …} and "
                "prompt_tokens: {kind: data} go together"
            )
        if not is_data and not isinstance(self.output_tokens, int) and self.output_tokens.kind == "data":
            raise ValueError("output_tokens: {kind: data} needs prompts: {kind: dataset, …}; without one say natural")
        return self

    @model_validator(mode="after")
    def _cache_says_what_is_shared(self) -> Self:
        sharing = self.shared_prefix is not None or self.system_prompt is not None
        if sharing and self.cache == "cold":
            raise ValueError("a shared prefix or system prompt is in the cache after one request: say cache: shared")
        if self.cache == "shared" and not sharing and not isinstance(self.prompts, Dataset):
            raise ValueError("cache: shared needs something that is shared: shared_prefix or system_prompt")
        if self.cache == "hot" and self.shared_prefix is not None:
            raise ValueError("hot prompts repeat as a whole, a shared prefix says nothing then: leave it out")
        if self.cache != "hot" and self.hot_prompts != 8:
            raise ValueError("hot_prompts goes with cache: hot")
        return self

    @model_validator(mode="after")
    def _prefix_fits(self) -> Self:
        if self.shared_prefix is None:
            return self
        if isinstance(self.prompts, Dataset):
            raise ValueError("a dataset's prompts are as they are; shared_prefix goes with synthetic or english ones")
        if self.shared_prefix.tokens >= shortest(self.prompt_tokens):
            raise ValueError(
                f"a prefix of {self.shared_prefix.tokens} tokens leaves nothing of the shortest prompt "
                f"({shortest(self.prompt_tokens)}): prompt_tokens counts the prefix too"
            )
        return self

    @model_validator(mode="after")
    def _conversation_of_what_can_be_told(self) -> Self:
        if self.conversation is None:
            return self
        if not isinstance(self.output_tokens, int | Natural) and self.output_tokens.kind == "data":
            raise ValueError("answers in a conversation have no length of a dataset: give output_tokens, or natural")
        others = {
            "cache: hot": self.cache == "hot",
            "shared_prefix": self.shared_prefix,
            "json_schema": self.json_schema,
        }
        given = [name for name, value in others.items() if value]
        if given:
            raise ValueError(f"a conversation goes without {' and '.join(given)}")
        own = self.conversation.first_prompt_tokens or self.conversation.turn_prompt_tokens
        if isinstance(self.prompts, Dataset) and own is not None:
            raise ValueError("a dataset's turns are as long as they are: leave the conversation's prompt lengths out")
        return self

    @property
    def context_tokens(self) -> int:
        """What the longest request and its answer take."""
        if self.conversation is not None:
            return self.conversation.context_tokens(self.longest_prompt_tokens, self.longest_output_tokens)
        return self.longest_prompt_tokens + self.longest_output_tokens

    @property
    def longest_prompt_tokens(self) -> int:
        """What planning has to make room for."""
        return longest(self.prompt_tokens)

    @property
    def longest_output_tokens(self) -> int:
        """What planning has to make room for."""
        return longest(self.output_tokens)

    @property
    def ends_by_itself(self) -> bool:
        """Whether no answer is held to a length. A dataset without output lengths decides it too, once it is read."""
        return self.json_schema is not None or isinstance(self.output_tokens, Natural)

    def identity(self) -> dict[str, object]:
        """All but the name that people gave it."""
        asked = self.model_dump(mode="json", exclude={"name"})
        defaults = {name: info.get_default() for name, info in type(self).model_fields.items()}
        return {
            name: value
            for name, value in asked.items()
            if name in IN_EVERY_IDENTITY or getattr(self, name) != defaults[name]
        }
