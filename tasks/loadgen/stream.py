"""What an OpenAI-compatible answer says, event by event: chunks with their times, counts, how it ended.

A chunk bears tokens when it has answer, reasoning or tool-call text; role-only, empty, usage and finish chunks do not.
Tokens that gave no text of their own (a part of a UTF-8 character) count with the next chunk that has text, and those
at the very end with the last one: where the counts of chunks are known, they sum to the output tokens.
"""

import json
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any

import orjson

from tasks.loadgen.http1 import Response
from tasks.loadgen.record import TokenSource
from tasks.loadgen.shape import PLAIN_TEXT, Shape, shape_of
from tasks.loadgen.sse import BOM, events

MOST_VAIN_SHAPES = 8
"""So many events in a row of which none had the shape of the one before: this server changes something in each."""

LARGEST_COUNT = 2**31 - 1
EVENT_STREAM_STARTS = (b"data:", b"event:", b"id:", b"retry:", b":")


@dataclass(slots=True)
class Tally:
    """Tokens told chunk by chunk: the total so far, and what it was at each chunk with text that told it."""

    total: int | None = None
    at_text: list[int] = field(default_factory=list)

    def tell(self, total: int, bears: bool) -> None:
        self.total = total
        if bears:
            self.at_text.append(total)


@dataclass(slots=True)
class Answer:
    """The lists have one entry for each token-bearing chunk; times are CLOCK_MONOTONIC ns. Only the first choice is
    read; `other_choices` says that there were more, which nobody asked for.

    `is_stream` is False where the body is something else than events; `malformed` quotes an event that is no JSON.
    `said` is None unless the answer is to be answered: then it holds the answer's texts, without reasoning and tool
    calls, as they stand in JSON (bytes) or decoded (str), and `said_ids` the token ids.
    """

    chunk_at_ns: list[int] = field(default_factory=list)
    chunk_is_answer: list[bool] = field(default_factory=list)
    token_ids: Tally = field(default_factory=Tally)
    usage: Tally = field(default_factory=Tally)
    logprobs: Tally = field(default_factory=Tally)
    running: Tally = field(default_factory=Tally)
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    finish_reason: str | None = None
    other_choices: bool = False
    done: bool = False
    is_stream: bool = True
    error: object = None
    malformed: str | None = None
    said: list[str | bytes] | None = None
    said_ids: list[int] = field(default_factory=list)

    @property
    def output_tokens(self) -> int | None:
        """By usage, else by the token ids or log probabilities that the chunks carried."""
        for tally in (self.usage, self.token_ids, self.logprobs):
            if tally.total is not None:
                return tally.total
        return None

    @property
    def source(self) -> TokenSource:
        """Log probabilities list the tokens one by one, as ids do: they count as token ids."""
        if self.usage.total is not None:
            return TokenSource.USAGE
        return TokenSource.UNKNOWN if self.output_tokens is None else TokenSource.TOKEN_IDS

    def chunk_tokens(self) -> list[int | None]:
        """How many tokens each chunk bore, by token ids, usage or timings in each chunk, log probabilities; else None.

        Where only the total is known and equals the number of chunks, each bore one: an engine makes text from tokens,
        so a chunk with text has at least one, and n positive whole numbers that sum to n are all 1. (It would take a
        chunk of several tokens and, in the same answer, as much text that came of no token, to be wrong; where token
        ids show that, nothing is known.)
        """
        total, chunks = self.output_tokens, len(self.chunk_at_ns)
        if total is None:
            return [None] * chunks
        for tally in (self.token_ids, self.usage, self.running, self.logprobs):
            counts = _differences(tally.at_text, chunks, total)
            if counts:
                return counts
        disproved = len(self.token_ids.at_text) == chunks
        return [1] * chunks if total == chunks and not disproved else [None] * chunks


def _differences(at_text: list[int], chunks: int, total: int) -> list[int | None]:
    """Empty unless each chunk has its count, none is below 1, and they do not exceed the total."""
    if not chunks or len(at_text) != chunks or at_text[-1] > total:
        return []
    counts = [after - before for before, after in zip([0, *at_text], at_text, strict=False)]
    counts[-1] += total - at_text[-1]
    return [*counts] if min(counts) >= 1 else []


def read_answer(response: Response, *, ended: bool, keeps_text: bool = False) -> Answer:
    """The answer in a 2xx response; `ended`: the body came to its clean end. Events after [DONE] are not read."""
    answer = Answer(said=[] if keeps_text else None)
    if response.status is None or not 200 <= response.status < 300:
        return answer
    if _is_event_stream(response):
        _read_events(answer, response, ended)
    else:
        _take_whole(answer, decoded(response.body))
    return answer


def _read_events(answer: Answer, response: Response, ended: bool) -> None:
    ends, times, segment = response.ends, response.times_ns, 0
    shape, fitted, vain = Shape(), False, 0
    said = answer.said
    for end, kind, data in events(response.body, ended=ended):
        if ends[segment] < end:
            segment = bisect_left(ends, end, segment)
        head, tail, is_answer = shape
        fits = head and data.startswith(head) and data.endswith(tail) and not kind
        if fits and PLAIN_TEXT(data, len(head), len(data) - len(tail)):
            fitted = True
            answer.chunk_at_ns.append(times[segment])
            answer.chunk_is_answer.append(is_answer)
            if said is not None and is_answer:
                said.append(data[len(head) : len(data) - len(tail)])
            continue
        if data == b"[DONE]":
            answer.done = True
            return
        chunk = _take_event(answer, kind, data, times[segment])
        vain, fitted = 0 if fitted else vain + 1, False
        if vain < MOST_VAIN_SHAPES:
            shape = shape_of(chunk, data)


def _take_event(answer: Answer, kind: bytes, data: bytes, at_ns: int) -> object:
    chunk = decoded(data)
    if type(chunk) is dict:
        _take(answer, chunk, at_ns)
    if kind or type(chunk) is not dict:
        _take_unusual(answer, kind, data, chunk)
    return chunk


def text_of(response: Response) -> str:
    """All text of an event stream in order, reasoning and tool calls included: for a tokenizer to count."""
    said: list[object] = []
    for _, _, data in events(response.body, ended=False):
        if data == b"[DONE]":
            break
        choice = _first_choice(decoded(data))
        delta = choice.get("delta")
        parts = delta if type(delta) is dict else choice
        said += [parts.get(key) for key in ("reasoning_content", "reasoning", "content", "text")]
        calls = parts.get("tool_calls")
        functions = [call.get("function") for call in calls if type(call) is dict] if type(calls) is list else []
        said += [function.get("arguments") for function in functions if type(function) is dict]
    return "".join(text for text in said if isinstance(text, str))


def _first_choice(chunk: object) -> dict[str, Any]:
    choices = chunk.get("choices") if type(chunk) is dict else None
    return choices[0] if type(choices) is list and choices and type(choices[0]) is dict else {}


def _is_event_stream(response: Response) -> bool:
    """By how it begins, else by its type: servers name the wrong one, in both directions."""
    start = response.body[:64].removeprefix(BOM).lstrip()
    named = response.headers.get("content-type", "").lower().startswith("text/event-stream")
    return start.startswith(EVENT_STREAM_STARTS) or (named and not start.startswith((b"{", b"<")))


class NotJSON:
    """What bytes that are no JSON decode to."""


def decoded(data: bytes) -> Any:
    """JSON, with what the strict decoder refuses and engines send all the same: split surrogates, NaN, broken UTF-8."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(data.decode(errors="replace"))
    except (ValueError, RecursionError):
        return NotJSON


def _take(answer: Answer, chunk: dict[str, Any], at_ns: int) -> None:
    """One event; flat, since it runs for each token of a trial."""
    choices = chunk.get("choices")
    bears = False
    if type(choices) is list and choices and type(choices[0]) is dict:
        choice = choices[0]
        delta = choice.get("delta")
        text = delta.get("content") if type(delta) is dict else choice.get("text")
        bears = is_answer = type(text) is str and text != ""
        if not bears and type(delta) is dict:
            bears, is_answer = _other_text(delta)
        if bears:
            answer.chunk_at_ns.append(at_ns)
            answer.chunk_is_answer.append(is_answer)
        if answer.said is not None:
            _take_said(answer, answer.said, choice)
        _take_counts_and_end(answer, choice, bears)
        if len(choices) > 1 or choice.get("index"):
            answer.other_choices = True
    if chunk.get("usage") is not None:
        _take_usage(answer, chunk["usage"], bears)
    if "timings" in chunk:
        _take_timings(answer, chunk["timings"], bears)
    if "prompt_token_ids" in chunk or "error" in chunk or chunk.get("object") == "error":
        _take_seldom(answer, chunk)


def _other_text(delta: dict[str, Any]) -> tuple[bool, bool]:
    """Whether a delta without plain content bears tokens, and whether they are answer rather than reasoning."""
    for key in ("reasoning_content", "reasoning"):
        if type(delta.get(key)) is str and delta[key]:
            return True, False
    refusal, parts = delta.get("refusal"), delta.get("content")
    if type(refusal) is str and refusal:
        return True, True
    if type(parts) is list and any(type(part) is dict and part.get("text") for part in parts):
        return True, True
    calls = delta.get("tool_calls")
    calls = [*calls] if type(calls) is list else []
    calls = [call.get("function") for call in calls if type(call) is dict] + [delta.get("function_call")]
    bears = any(type(call) is dict and (call.get("name") or call.get("arguments")) for call in calls)
    return bears, bears


def _take_said(answer: Answer, said: list[str | bytes], choice: dict[str, Any]) -> None:
    """What a conversation repeats to the server: its answer, in text and in token ids."""
    delta, ids = choice.get("delta"), choice.get("token_ids")
    content = delta.get("content") if type(delta) is dict else choice.get("text")
    parts = content if type(content) is list else [{"text": content}]
    texts = [part.get("text") for part in parts if type(part) is dict]
    said += [text for text in texts if type(text) is str]
    if type(ids) is list:
        answer.said_ids += [token for token in ids if type(token) is int]


def _take_counts_and_end(answer: Answer, choice: dict[str, Any], bears: bool) -> None:
    ids = choice.get("token_ids")
    if type(ids) is list:
        answer.token_ids.tell((answer.token_ids.total or 0) + len(ids), bears)
    logprobs = choice.get("logprobs")
    if type(logprobs) is dict:
        tokens = logprobs.get("content") or logprobs.get("tokens")
        if type(tokens) is list:
            answer.logprobs.tell((answer.logprobs.total or 0) + len(tokens), bears)
    reason = choice.get("finish_reason")
    if reason is not None:
        if type(reason) is str and reason:
            answer.finish_reason = reason[:80].encode(errors="replace").decode()
        _take_usage(answer, choice.get("usage"), bears)  # one more place where servers put it


def _take_usage(answer: Answer, usage: object, bears: bool) -> None:
    """The last one told stands: usage in each chunk is a running total."""
    if type(usage) is not dict:
        return
    prompt, output = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if type(details) is dict else usage.get("prompt_cache_hit_tokens")
    if prompt is not None:
        answer.prompt_tokens = prompt
    if output is not None:
        answer.usage.tell(output, bears)
    if _count(cached) is not None:
        answer.cached_tokens = _count(cached)


def _take_timings(answer: Answer, timings: object, bears: bool) -> None:
    """llama.cpp's server tells the tokens so far with each chunk where `timings_per_token` asks it to."""
    tokens = _count(timings.get("predicted_n")) if type(timings) is dict else None
    if tokens is not None:
        answer.running.tell(tokens, bears)


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= LARGEST_COUNT else None


def _take_seldom(answer: Answer, chunk: dict[str, Any]) -> None:
    ids = chunk.get("prompt_token_ids")
    if type(ids) is list and answer.prompt_tokens is None:
        answer.prompt_tokens = len(ids)
    error = chunk.get("error")
    if error is None and chunk.get("object") == "error":
        error = chunk
    if error is not None and error is not False and error != "" and answer.error is None:
        answer.error = error


def _take_unusual(answer: Answer, kind: bytes, data: bytes, chunk: object) -> None:
    """Events of another type than `message`, and data that is no object. `null` and blanks say nothing."""
    if kind == b"error":
        answer.error = answer.error or (data.decode(errors="replace") if chunk is NotJSON else chunk) or "unnamed"
    elif type(chunk) is not dict and chunk is not None and kind in (b"", b"message") and data.strip():
        answer.malformed = answer.malformed or data[:200].decode(errors="replace")


def _take_whole(answer: Answer, body: object) -> None:
    """A plain answer to a streaming request: what it says is kept, though it has no chunk and is no success."""
    answer.is_stream = False
    if type(body) is dict:
        _take(answer, body, 0)
        _take_seldom(answer, body)
        answer.chunk_at_ns.clear()
        answer.chunk_is_answer.clear()
