"""What each request of a trial carries, made once in the parent: the dialect's fields, the pre-flight's corrections."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from tasks.loadgen.body import OUTPUT_TOKENS, PROMPT, PROMPT_IN_JSON, BodySource, TokenPrompts, WordPrompts, salt_start
from tasks.loadgen.plan import TrialPlan
from tasks.loadgen.vocabulary import ORDINARY_IDS, WORDS

if TYPE_CHECKING:  # the pre-flight sends what this module makes
    from tasks.loadgen.preflight import Preflight

ENDPOINTS = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}
HEADERS = (
    ("content-type", "application/json"),
    ("accept", "text/event-stream"),
    ("accept-encoding", "identity"),
    ("user-agent", "llm-dyno"),
)
_ASKED = "{output_tokens}"


def body_source(plan: TrialPlan, preflight: "Preflight") -> BodySource:
    """The bodies of a trial."""
    chat = plan.workload.endpoint == "chat"
    prompts = preflight.prompts or default_prompts(token_ids=preflight.token_ids and not chat)
    return source_of(plan, prompts, request_fields(plan, preflight.body, preflight.refused))


def source_of(plan: TrialPlan, prompts: TokenPrompts | WordPrompts, fields: Mapping[str, object]) -> BodySource:
    """The bodies that have these fields and these prompts; the prompt comes last."""
    chat = plan.workload.endpoint == "chat"
    where = {"messages": [{"role": "user", "content": PROMPT}]} if chat else {"prompt": PROMPT}
    head, tail = orjson.dumps({**fields, **where}).split(PROMPT_IN_JSON)
    return BodySource(
        path=urlsplit(plan.endpoint.url).path.rstrip("/") + ENDPOINTS[plan.workload.endpoint],
        headers=HEADERS,
        head=head,
        tail=tail,
        prompts=prompts,
        seed=plan.seed,
        salt=salt_start(plan.seed),
    )


def default_prompts(*, token_ids: bool) -> TokenPrompts | WordPrompts:
    """Where nothing is known of the server: ids that are ordinary tokens in nearly every vocabulary, short words."""
    return TokenPrompts(rendered(ORDINARY_IDS)) if token_ids else WordPrompts(WORDS)


def rendered(ids: range | tuple[int, ...]) -> tuple[bytes, ...]:
    """Token ids as they stand in JSON."""
    return tuple(b"%d" % token for token in ids)


def request_fields(plan: TrialPlan, extra: Mapping[str, object], refused: Collection[str]) -> dict[str, Any]:
    """All fields but the prompt, in the order in which the later ones win; what the server refused is left out."""
    fields: dict[str, Any] = {
        "model": plan.endpoint.model,
        "stream": True,
        "max_tokens": OUTPUT_TOKENS,
        "temperature": 0.0,
    }
    if plan.dialect.usage_in_stream == "asked":
        fields["stream_options"] = {"include_usage": True}
    fields |= {**plan.dialect.body, **plan.dialect.exact_output, **extra}
    return {key: _filled(value) for key, value in fields.items() if key not in refused}


def _filled(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _filled(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(inner) for inner in value]
    return OUTPUT_TOKENS if value == _ASKED else value
