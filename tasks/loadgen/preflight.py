"""Before the clock starts: what this server honours, and what is done where it does not."""

import re
from dataclasses import dataclass, field

import orjson

from experiments.errors import SetupError
from experiments.schema.prompts import English
from tasks.loadgen.body import Prompts, TokenPrompts
from tasks.loadgen.cache import reset_cache
from tasks.loadgen.call import Caller, Reply
from tasks.loadgen.endings import examine_endings
from tasks.loadgen.exchange import WireEnd
from tasks.loadgen.lengths import examine_lengths
from tasks.loadgen.material import ends_by_itself, material_of
from tasks.loadgen.payload import HEADERS, default_prompts, rendered, request_fields, structured_fields
from tasks.loadgen.plan import TrialPlan
from tasks.loadgen.probe import Probe, ProbeFailed
from tasks.loadgen.stream import decoded
from tasks.loadgen.vocabulary import TOO_SMALL_A_POOL, WORDS, end_tokens, pool_of_ids, read_tokenizer, words_of

NEVER_DROPPED = frozenset({"model", "stream", "max_tokens", "max_completion_tokens"})
PROBES = (
    "token_id_prompts",
    "usage_in_stream",
    "done",
    "ignore_eos",
    "min_tokens",
    "token_ids_in_chunks",
    "keep_alive",
    "cache_reset",
)
FIRST_OUTPUT_TOKENS = 8
MODELS_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Preflight:
    """`honoured` names each probe and its answer (None: could not be told). `body` is what each request carries beyond
    the dialect (a work-around such as a logit bias), `refused` the dialect's fields that this server does not take and
    that are not sent. `prompts` is how prompts of exact length are made; `text_overhead` what this server adds to a
    dataset's text, in tokens (None: not known). `findings` are reasons of invalidity."""

    honoured: dict[str, bool | str | None] = field(default_factory=dict)
    body: dict[str, object] = field(default_factory=dict)
    token_ids: bool = False
    needs_done: bool = False
    findings: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    prompts: Prompts | None = None
    text_overhead: int | None = None


def run_preflight(plan: TrialPlan) -> Preflight:
    """A few requests, one after the other, each bounded by plan.timeout_s. What fails becomes a finding.

    Raises SetupError where no connection can be made, InputError where the tokenizer cannot be read."""
    vocabulary = read_tokenizer(plan.tokenizer) if plan.tokenizer else {}
    caller = Caller(plan.endpoint, plan.timeout_s)
    models = caller.get(f"{caller.prefix}/v1/models", timeout_s=min(plan.timeout_s, MODELS_TIMEOUT_S))
    if models.end is WireEnd.CONNECT_FAILED:
        raise SetupError(f"{caller.where}: no connection ({models.reason}). Is the server up, and this its address?")
    ids_welcome = _ids_welcome(plan)
    probe = Probe(plan, caller, default_prompts(token_ids=ids_welcome), honoured=dict.fromkeys(PROBES))
    try:
        ids = _ordinary_ids(caller, plan.endpoint.model, models, vocabulary) if ids_welcome else ()
        if ids:
            probe.prompts = TokenPrompts(rendered(ids))
        _examine(probe, vocabulary)
    except ProbeFailed as failure:
        probe.findings.append(f"pre-flight: {failure}")
    return _concluded(probe)


def _ids_welcome(plan: TrialPlan) -> bool:
    """Where the prompt is no text."""
    workload = plan.workload
    material = material_of(plan)
    is_text = workload.system_prompt is not None or isinstance(workload.prompts, English)
    is_text = is_text or (material is not None and bool(material.texts))
    return plan.dialect.token_id_prompts and workload.endpoint == "completions" and not is_text


def _concluded(probe: Probe) -> Preflight:
    dropped = [key for key in structured_fields(probe.plan) if key in probe.refused]
    if dropped:
        probe.findings.append(f"answers do not follow the schema: this server does not take {', '.join(dropped)}")
    done = bool(probe.done_seen) and all(probe.done_seen)
    probe.honoured["done"] = done if probe.done_seen else None
    return Preflight(
        honoured=probe.honoured,
        body=probe.extra,
        token_ids=isinstance(probe.prompts, TokenPrompts),
        needs_done=done,
        findings=tuple(probe.findings),
        refused=tuple(probe.refused),
        prompts=probe.prompts,
        text_overhead=probe.text_overhead,
    )


def _examine(probe: Probe, vocabulary: dict[str, int]) -> None:
    first = _first_answer(probe)
    if first.reason is not None:
        probe.findings.append(f"pre-flight: {first.reason}")
        if first.broken:
            return
    _examine_usage(probe, first)
    _examine_token_ids(probe, first)
    if probe.plan.workload.conversation is not None and not probe.honoured["token_ids_in_chunks"]:
        probe.use_words()  # an answer that came as text cannot be joined to a prompt of ids
    tokenizer = probe.plan.tokenizer
    if not ends_by_itself(probe.plan):
        examine_endings(probe, end_tokens(tokenizer) if tokenizer else ())
    examine_lengths(probe, words_of(vocabulary))
    probe.honoured["keep_alive"] = probe.keeps_connection()
    _reset_cache(probe)


def _first_answer(probe: Probe) -> Reply:
    """Asks as the trial would, and leaves out what the server refuses until it answers.

    Where nothing helps, all stays as the dialect says, so that the trial shows the failure as it is."""
    prompts = probe.prompts
    reply = probe.ask(FIRST_OUTPUT_TOKENS)
    while reply.broken and not reply.answer.chunk_at_ns:
        if not _gives_way(probe, reply):
            probe.refused, probe.extra, probe.prompts = [], {}, prompts
            return reply
        reply = probe.ask(FIRST_OUTPUT_TOKENS)
    if isinstance(probe.prompts, TokenPrompts) and reply.answer.other_choices:
        probe.use_words()  # this server took each id for a prompt of its own
        reply = probe.ask(FIRST_OUTPUT_TOKENS)
    probe.honoured["token_id_prompts"] = _tells_token_id_prompts(prompts, probe)
    return reply


def _tells_token_id_prompts(first: Prompts, probe: Probe) -> bool | None:
    return isinstance(probe.prompts, TokenPrompts) if isinstance(first, TokenPrompts) else None


def _gives_way(probe: Probe, reply: Reply) -> bool:
    """One thing less in the next request: a field that the refusal names, else token ids, else the next field."""
    status, in_stream = reply.response.status or 0, reply.answer.error is not None
    if not in_stream and (not 400 <= status < 600 or status in (401, 403, 429)):
        return False
    if b"max_completion_tokens" in reply.response.body and "max_tokens" not in probe.refused:
        probe.refused.append("max_tokens")
        probe.extra["max_completion_tokens"] = "{output_tokens}"
        return True
    named, others = _suspects(probe, reply)
    if named and status < 500:
        probe.refused.append(named[0])
    elif isinstance(probe.prompts, TokenPrompts):
        probe.use_words()
    elif others and status in (400, 422):
        probe.refused.append(others[0])
    else:
        return False
    return True


def _suspects(probe: Probe, reply: Reply) -> tuple[list[str], list[str]]:
    """Fields that may be left out: those that the refusal names, and the others, the least usual first."""
    sent = request_fields(probe.plan, probe.extra, probe.refused)
    optional = [key for key in reversed(sent) if key not in NEVER_DROPPED]
    text = reply.response.body.decode(errors="replace")
    named = [key for key in optional if re.search(rf"\b{re.escape(key)}\b", text)]
    return named, [key for key in optional if key not in named]


def _ordinary_ids(caller: Caller, model: str, models: Reply, vocabulary: dict[str, int]) -> tuple[int, ...]:
    """Ids without special ones among them: of the tokenizer, else of the server's own tokenizer, else by custom."""
    if len(vocabulary) >= TOO_SMALL_A_POOL:
        return pool_of_ids(vocabulary.values())
    spoken = _tokenized(caller, model)
    if len(spoken) >= TOO_SMALL_A_POOL:
        return spoken
    size = _vocabulary_size(decoded(models.response.body), model)
    return pool_of_ids(range(size // 4, size * 3 // 4)) if size >= 4 * TOO_SMALL_A_POOL else ()


def _tokenized(caller: Caller, model: str) -> tuple[int, ...]:
    """The ids of ordinary words, where the server has /tokenize; without the first and last, which may be special."""
    text = " ".join(WORDS)
    ask = {"model": model, "prompt": text, "content": text, "inputs": text}
    body = orjson.dumps({**ask, "add_special_tokens": False, "add_special": False})
    value = decoded(caller.post(f"{caller.prefix}/tokenize", HEADERS[:1], body).response.body)
    tokens = value.get("tokens") if isinstance(value, dict) else value
    if not isinstance(tokens, list):
        return ()
    ids = [token.get("id") if isinstance(token, dict) else token for token in tokens]
    return pool_of_ids(token for token in ids[1:-1] if type(token) is int and token >= 0)


def _vocabulary_size(models: object, model: str) -> int:
    """0 where /v1/models does not tell it."""
    entries = models.get("data") if isinstance(models, dict) else None
    for entry in entries if isinstance(entries, list) else ():
        about = entry.get("meta") if isinstance(entry, dict) and entry.get("id") == model else None
        size = about.get("n_vocab") if isinstance(about, dict) else None
        if type(size) is int:
            return size
    return 0


def _examine_usage(probe: Probe, first: Reply) -> None:
    seen = first.answer.usage.total is not None
    wanted = {"stream_options": {"include_usage": True}}
    if not seen and probe.plan.dialect.usage_in_stream != "asked":
        seen = probe.ask(FIRST_OUTPUT_TOKENS, extra=wanted).answer.usage.total is not None
        if seen:
            probe.extra |= wanted
    probe.honoured["usage_in_stream"] = seen


def _examine_token_ids(probe: Probe, first: Reply) -> None:
    """Token ids tell how many tokens each chunk bore, even where the server merges chunks under load."""
    seen = first.answer.token_ids.total is not None
    wanted: dict[str, object] = {"return_token_ids": True}
    if not seen:
        reply = probe.ask(FIRST_OUTPUT_TOKENS, extra=wanted)
        seen = reply.reason is None and reply.answer.token_ids.total is not None
        if seen:
            probe.extra |= wanted
    probe.honoured["token_ids_in_chunks"] = seen
    if not seen and not probe.honoured["usage_in_stream"]:
        probe.findings.append("output lengths cannot be verified: neither usage nor token ids in the stream")


def _reset_cache(probe: Probe) -> None:
    """The last request before the trial, which is to find a cold cache."""
    path = probe.plan.dialect.cache_reset_path
    if not path:
        return
    refused = reset_cache(probe.caller, path)
    probe.honoured["cache_reset"] = not refused
    if refused and probe.plan.workload.cache == "cold":
        probe.findings.append(refused)
