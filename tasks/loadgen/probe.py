"""The requests of the pre-flight, and what it has learnt so far of one server."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from tasks.loadgen.body import Prompts
from tasks.loadgen.call import Caller, Reply
from tasks.loadgen.payload import default_prompts, request_fields, source_of
from tasks.loadgen.plan import TrialPlan

FIRST_INDEX = 2**40
"""No request of a trial has an index so high: no probe shares its prompt with one."""

PROBE_PROMPT_TOKENS = 16


class ProbeFailed(Exception):
    """The server no longer answers: there is nothing more to learn. The message has no secret in it."""


@dataclass(slots=True)
class Probe:
    """`extra`, `refused` and `prompts` are what the trial's requests will have, as far as it is known;
    `text_overhead` is what the server adds to a dataset's text, in tokens."""

    plan: TrialPlan
    caller: Caller
    prompts: Prompts
    honoured: dict[str, bool | str | None] = field(default_factory=dict)
    extra: dict[str, object] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    done_seen: list[bool] = field(default_factory=list)
    text_overhead: int | None = None
    asked: int = 0

    def ask(
        self,
        output_tokens: int,
        *,
        prompt_tokens: int = PROBE_PROMPT_TOKENS,
        prompt: bytes | None = None,
        extra: Mapping[str, object] | None = None,
        without: Collection[str] = (),
    ) -> Reply:
        """One request as the trial would send it, with `extra` fields more, `without` others. `prompt` is JSON.

        Raises ProbeFailed where there is no answer."""
        fields = request_fields(self.plan, {**self.extra, **(extra or {})}, {*self.refused, *without})
        source = source_of(self.plan, self.prompts, fields)
        self.asked += 1
        if prompt is None:
            prompt = self.prompts.render(source.seed, source.salt, FIRST_INDEX + self.asked, prompt_tokens)
        reply = self.caller.post(source.path, source.headers, source.around(prompt, output_tokens))
        if reply.lost:
            raise ProbeFailed(reply.reason or "no answer")
        if reply.reason is None:
            self.done_seen.append(reply.answer.done)
        return reply

    def keeps_connection(self) -> bool | None:
        """Whether this server lets a connection live on after a stream."""
        source = source_of(self.plan, self.prompts, request_fields(self.plan, self.extra, self.refused))
        self.asked += 1
        prompt = self.prompts.render(source.seed, source.salt, FIRST_INDEX + self.asked, PROBE_PROMPT_TOKENS)
        return self.caller.keeps_connection(source.path, source.headers, source.around(prompt, 1))

    def use_words(self) -> None:
        self.prompts = default_prompts(token_ids=False)
