"""Exact output lengths: does this server go on where the model would end, and if not, what makes it?

A probe proves something only where the same request ends early without it. So a control comes first: a prompt that
invites a short answer, or, where the ids that end an answer are known, a logit bias that forces the end.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tasks.loadgen.call import Reply
from tasks.loadgen.probe import Probe

SHORT_ANSWER = b'"Say OK."'
SHORTEST_CONTROL, LONGEST_CONTROL = 32, 128
"""Output tokens within which a control has to end; between them it has the length that the trial asks."""

ACCEPTANCE_TOKENS = 8
"""Where nothing ends early, a probe can only show that its fields are taken."""

BIAS = 100
"""The largest that the API knows: for an id to come at once, or never."""

MIN_TOKENS: Mapping[str, object] = {"min_tokens": "{output_tokens}"}


@dataclass(frozen=True, slots=True)
class Control:
    """`extra` is what made an answer of `tokens` end early; None where nothing did."""

    tokens: int
    extra: Mapping[str, object] | None


def examine_endings(probe: Probe, end_ids: tuple[int, ...]) -> None:
    """Tells ignore_eos (the dialect's own words for it) and min_tokens, and works around the former where it fails."""
    own = [*probe.plan.dialect.exact_output]
    others = [key for key in own if key not in MIN_TOKENS]
    control = _control(probe, {*own, *MIN_TOKENS}, end_ids)
    spoken = any(key not in probe.refused for key in own)
    probe.honoured["ignore_eos"] = _goes_on(probe, control, {}) if spoken else False
    probe.honoured["min_tokens"] = _goes_on(probe, control, MIN_TOKENS, without=others)
    if probe.honoured["ignore_eos"] is False:
        _work_around(probe, control, end_ids)


def _control(probe: Probe, without: Collection[str], end_ids: tuple[int, ...]) -> Control:
    tokens = min(max(probe.plan.workload.longest_output_tokens, SHORTEST_CONTROL), LONGEST_CONTROL)
    forced = {"logit_bias": {str(end): BIAS for end in end_ids[:1]}}
    for extra in ({}, forced) if end_ids else ({},):
        if _ended_early(probe.ask(tokens, prompt=SHORT_ANSWER, extra=extra, without=without), tokens):
            return Control(tokens, extra)
    return Control(ACCEPTANCE_TOKENS, None)


def _goes_on(probe: Probe, control: Control, extra: Mapping[str, object], without: Collection[str] = ()) -> bool | None:
    """Whether an answer that would end early does not; None where no answer would, so that nothing can be told."""
    if any(key in probe.refused for key in extra):
        return False
    asked = {**(control.extra or {}), **extra}
    reply = probe.ask(control.tokens, prompt=SHORT_ANSWER, extra=asked, without=without)
    if reply.reason is not None or _ended_early(reply, control.tokens):
        return False
    return True if control.extra is not None and reply.answer.output_tokens == control.tokens else None


def _ended_early(reply: Reply, asked: int) -> bool:
    tokens, reason = reply.answer.output_tokens, reply.answer.finish_reason
    if tokens is not None:
        return 0 < tokens < asked
    return reason is not None and reason != "length"


def _work_around(probe: Probe, control: Control, end_ids: tuple[int, ...]) -> None:
    """Takes the first that holds, else the first that cannot be told; a finding where all fail."""
    ways: dict[str, Mapping[str, object]] = {"min_tokens": MIN_TOKENS}
    if end_ids:
        ways["logit_bias"] = {"logit_bias": {str(end): -BIAS for end in end_ids}}
    holds = {name: _goes_on(probe, control, way) for name, way in ways.items()}
    untold = next((name for name, held in holds.items() if held is None), None)
    taken = next((name for name, held in holds.items() if held), untold)
    if taken is not None:
        probe.extra |= ways[taken]
        probe.honoured["exact_output_by"] = taken
    else:
        hint = "" if end_ids else "; with a tokenizer, the ids that end an answer can be biased away"
        probe.findings.append(f"output lengths cannot be fixed: ignore_eos and min_tokens are not honoured{hint}")
