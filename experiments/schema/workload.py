"""A workload: what is asked of a server. No rate: that is the load's."""

from typing import Annotated, Literal

from pydantic import Field

from experiments.schema.base import Name, Spec

Tokens = Annotated[int, Field(ge=1, le=1_000_000)]


class Workload(Spec):
    """Fixed lengths in tokens. `cache` says what the prompts let the server reuse: cold prompts share nothing."""

    name: Name
    prompt_tokens: Tokens
    output_tokens: Tokens
    endpoint: Literal["completions", "chat"] = "completions"
    cache: Literal["cold"] = "cold"

    def identity(self) -> dict[str, object]:
        """All but the name that people gave it."""
        return self.model_dump(mode="json", exclude={"name"})
