"""The server's prefix cache before a trial: emptied for cold prompts, filled with what shared and hot ones repeat."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tasks.loadgen.body import BodySource
from tasks.loadgen.call import Caller
from tasks.loadgen.payload import body_source
from tasks.loadgen.plan import TrialPlan
from tasks.loadgen.schedule import make_schedule
from tasks.loadgen.stream import decoded

if TYPE_CHECKING:  # the pre-flight resets the cache too
    from tasks.loadgen.preflight import Preflight

FIRST_OUTPUT_TOKENS = 1
FIRST_INDEX = 2**41
"""No request of a trial or pre-flight has an index so high."""


def prepare_cache(plan: TrialPlan, preflight: "Preflight") -> tuple[str, ...]:
    """Findings: what could not be done. Requests that fill the cache come one after the other, and none is counted."""
    cache = plan.workload.cache
    if cache == "cold" and not plan.dialect.cache_reset_path:
        return ()
    caller = Caller(plan.endpoint, plan.timeout_s)
    if cache == "cold":
        refused = reset_cache(caller, plan.dialect.cache_reset_path)
        return (refused,) if refused else ()
    source = body_source(plan, preflight)
    for body in _fillers(plan, source):
        reply = caller.post(source.path, source.headers, body)
        if reply.response.status != 200:  # one token may be half a character, and no text: that is no failure here
            return (f"the cache could not be filled before the trial: {reply.reason or 'no answer'}",)
    return ()


def reset_cache(caller: Caller, path: str) -> str:
    """Why the cache could not be emptied; empty where it was."""
    response = caller.post(caller.prefix + path, (), b"").response
    told = decoded(response.body)
    refused = isinstance(told, dict) and told.get("success") is False
    if response.status is not None and 200 <= response.status < 300 and not refused:
        return ""
    return f"the cache cannot be reset: {path} answered {response.status or 'nothing'}"


def _fillers(plan: TrialPlan, source: BodySource) -> Iterator[bytes]:
    """Bodies of what comes again: every hot prompt; a prompt of each group; one where only the system prompt is."""
    if source.hot is not None:
        schedule = make_schedule(plan)
        for index in range(source.hot if schedule.count is None else min(source.hot, schedule.count)):
            tokens = int(schedule.prompt_tokens[index % len(schedule.prompt_tokens)])
            yield source.body(index, tokens, FIRST_OUTPUT_TOKENS)
    elif source.sharing is not None:
        tokens = plan.workload.longest_prompt_tokens
        for group in range(source.sharing.groups):
            prefix = source.sharing.of_group(group)
            prompt = source.prompts.render(plan.seed, source.salt, FIRST_INDEX + group, tokens, prefix)
            yield source.around(prompt, FIRST_OUTPUT_TOKENS)
    elif plan.workload.system_prompt is not None:
        yield source.body(FIRST_INDEX, min(plan.workload.longest_prompt_tokens, 4096), FIRST_OUTPUT_TOKENS)
