"""Before the clock starts: what this server honours, and what is done where it does not."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Preflight:
    """`honoured` names each probe and its answer (None: could not be told). `body` is what each request carries beyond
    the dialect (a work-around such as a logit bias). `findings` are reasons of invalidity."""

    honoured: dict[str, bool | str | None] = field(default_factory=dict)
    body: dict[str, object] = field(default_factory=dict)
    token_ids: bool = False
    needs_done: bool = False
    findings: tuple[str, ...] = ()
