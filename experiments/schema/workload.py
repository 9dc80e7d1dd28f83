"""A workload: what is asked of a server. No rate: that is the load's."""

from typing import Annotated, Literal

from pydantic import Field

from experiments.schema.base import Name, Spec
from experiments.schema.conversation import Conversation

Tokens = Annotated[int, Field(ge=1, le=1_000_000)]


class Workload(Spec):
    """Fixed lengths in tokens. `cache` says what the prompts let the server reuse: cold prompts share nothing.

    With a conversation each request but the first of one carries what was said before it, and only first turns are
    held to the cache policy."""

    name: Name
    prompt_tokens: Tokens
    output_tokens: Tokens
    endpoint: Literal["completions", "chat"] = "completions"
    cache: Literal["cold"] = "cold"
    conversation: Conversation | None = None

    def identity(self) -> dict[str, object]:
        """All but the name that people gave it, and but what it does without: a new field renames no old cell."""
        without = {"name"} if self.conversation else {"name", "conversation"}
        return self.model_dump(mode="json", exclude=without)
