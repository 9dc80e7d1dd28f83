"""What each request of a trial carries, made once in the parent: the dialect's fields, the pre-flight's corrections."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from experiments.errors import InputError
from experiments.schema.base import content_id
from experiments.schema.workload import Workload
from tasks.loadgen.body import (
    OUTPUT_TOKENS,
    PROMPT,
    PROMPT_IN_JSON,
    BodySource,
    Prompts,
    Sharing,
    TextPrompts,
    TokenPrompts,
    TurnTexts,
    WordPrompts,
    salt_start,
)
from tasks.loadgen.material import ends_by_itself, material_of
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
_SCHEMA = "{json_schema}"
_PROMPT_IN_TEXT = PROMPT_IN_JSON.removeprefix(b'"')


def body_source(plan: TrialPlan, preflight: "Preflight") -> BodySource:
    """The bodies of a trial."""
    workload = plan.workload
    material = material_of(plan)
    if material is not None and material.texts:
        prompts: Prompts = TextPrompts(material.texts, material.salt_words)
        if workload.conversation is not None:
            prompts = TurnTexts(material.turns, workload.conversation.most_turns, material.salt_words)
    else:
        ids = preflight.token_ids and workload.endpoint != "chat" and workload.system_prompt is None
        prompts = preflight.prompts or default_prompts(token_ids=ids)
    source = source_of(plan, prompts, request_fields(plan, preflight.body, preflight.refused))
    return replace(source, sharing=sharing_of(workload), hot=workload.hot_prompts if workload.cache == "hot" else None)


def sharing_of(workload: Workload) -> Sharing | None:
    """Prefixes are the same in every trial of a workload: as in production, they are not new with each rise in load."""
    if workload.shared_prefix is None:
        return None
    seed = int(content_id("prefix", workload.identity()), 16)
    prefix = workload.shared_prefix
    return Sharing(seed, prefix.tokens, round(prefix.share * 1_000_000), prefix.groups)


def source_of(plan: TrialPlan, prompts: Prompts, fields: Mapping[str, object]) -> BodySource:
    """The bodies that have these fields and these prompts; the prompt comes last."""
    system, in_text = plan.workload.system_prompt, False
    if plan.workload.endpoint == "chat":
        said = [] if system is None else [{"role": "system", "content": system}]
        where: dict[str, object] = {"messages": [*said, {"role": "user", "content": PROMPT}]}
    else:
        in_text = system is not None
        where = {"prompt": f"{system}\n\n{PROMPT}" if in_text else PROMPT}
    head, tail = orjson.dumps({**fields, **where}).split(_PROMPT_IN_TEXT if in_text else PROMPT_IN_JSON)
    return BodySource(
        path=urlsplit(plan.endpoint.url).path.rstrip("/") + ENDPOINTS[plan.workload.endpoint],
        headers=HEADERS,
        head=head,
        tail=b'"' + tail if in_text else tail,
        prompts=prompts,
        seed=plan.seed,
        salt=salt_start(plan.seed),
        in_text=in_text,
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
    exact = {} if ends_by_itself(plan) else plan.dialect.exact_output
    fields |= {**plan.dialect.body, **exact, **structured_fields(plan), **extra}
    return {key: _filled(value, plan.workload.json_schema) for key, value in fields.items() if key not in refused}


def structured_fields(plan: TrialPlan) -> Mapping[str, object]:
    """The dialect's words for answers that follow a schema. Raises InputError where it has none for this endpoint."""
    workload = plan.workload
    if workload.json_schema is None:
        return {}
    words = plan.dialect.structured_output.get(workload.endpoint)
    if words is None:
        can = ", ".join(plan.dialect.structured_output) or "no endpoint"
        raise InputError(f"json_schema: this server takes a schema on {can}, not on {workload.endpoint}")
    return words


def _filled(value: object, schema: object) -> object:
    if isinstance(value, Mapping):
        return {key: _filled(inner, schema) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(inner, schema) for inner in value]
    if value == _SCHEMA:
        return schema
    return OUTPUT_TOKENS if value == _ASKED else value
