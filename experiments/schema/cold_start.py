"""The cold-start ledger: how long a server took to be there, phase by phase, and whether it started cold."""

from pydantic import Field, model_validator

from experiments.schema.base import Spec

PHASES = ("environment_s", "pull_s", "weights_s", "compile_s", "capture_s", "healthy_s", "first_token_s")
"""In the order in which they happen."""


class ColdStartPlan(Spec):
    """Before each launch that is measured, one is made cold on purpose, timed to its first token, and ended: with the
    checkpoint's files dropped from the page cache, and with the engine's own caches in a fresh folder."""

    drop_page_cache: bool = True
    fresh_engine_caches: bool = True

    @model_validator(mode="after")
    def _asks_for_something(self) -> "ColdStartPlan":
        if not (self.drop_page_cache or self.fresh_engine_caches):
            raise ValueError("asks for nothing: drop_page_cache or fresh_engine_caches, or leave cold_start out")
        return self


class ColdStart(Spec):
    """One start of a server. `healthy_s` and `first_token_s` count from the start of its process; `environment_s` and
    `pull_s` come before it, near 0 where all was there already. `weights_s`, `compile_s` and `capture_s` are within
    healthy_s, as the server's log says. What is absent is None, and `reasons` says why.

    `cold`: its weights were read from the disk, and what the engine compiles was not there from before; `how_known`
    says by what. `page_cache_share` is the share of the checkpoint's bytes that memory held before the start;
    `launched_before` whether the same variant was launched before on this boot; `on_purpose` where it was made cold,
    and nothing was measured on it.
    """

    launch: int = 0
    cold: bool
    how_known: str
    on_purpose: bool = False
    page_cache_share: float | None = None
    launched_before: bool = False
    environment_s: float | None = None
    pull_s: float | None = None
    weights_s: float | None = None
    compile_s: float | None = None
    capture_s: float | None = None
    healthy_s: float | None = None
    first_token_s: float | None = None
    reasons: dict[str, str] = Field(default_factory=dict)

    def phases(self) -> dict[str, float | None]:
        """PHASES by name."""
        return {name: getattr(self, name) for name in PHASES}
