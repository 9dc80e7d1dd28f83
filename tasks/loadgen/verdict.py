"""Whether an exchange was a success (the last paragraph of measurement.md's definitions), and if not, why not."""

import re
from collections.abc import Iterator

import orjson

from tasks.loadgen.exchange import Asked, Exchange, WireEnd
from tasks.loadgen.http1 import Response
from tasks.loadgen.record import Outcome
from tasks.loadgen.stream import Answer, decoded

ABORTED = frozenset({"error", "abort", "aborted", "cancelled", "canceled"})
"""Finish reasons with which an engine says that it gave a request up."""

LONGEST_REASON = 300
HIDDEN = "***"
_CREDENTIAL = re.compile(r"(?i)(bearer\s+)[^\s\"'<>,;]+|\bsk-[\w*-]{6,}")
_TAGS = re.compile(r"(?is)<(script|style)\b.*?</\1\s*>|<[^<>]*>")


def verdict(exchange: Exchange, asked: Asked, response: Response, answer: Answer) -> tuple[Outcome, str | None]:
    """The outcome, and the reason of any other than completed."""
    chunks = len(answer.chunk_at_ns)
    match exchange.end:
        case WireEnd.NEVER_SENT:
            return Outcome.NEVER_SENT, exchange.error or "never sent"
        case WireEnd.CANCELLED:
            return Outcome.CANCELLED, exchange.error or f"cancelled after {chunks} chunks"
        case WireEnd.TIMED_OUT:
            return Outcome.TIMED_OUT, f"timed out {_how_far(response, chunks)}"
        case _:
            reason = next(_failures(exchange, asked, response, answer), None)
            return (Outcome.COMPLETED, None) if reason is None else (Outcome.FAILED, reason)


def _how_far(response: Response, chunks: int) -> str:
    if response.status is None:
        return "before the headers of an answer"
    return f"after http {response.status} and {chunks} chunks"


def _failures(exchange: Exchange, asked: Asked, response: Response, answer: Answer) -> Iterator[str]:
    """All reasons, the one that explains the others first."""
    yield from _no_answer(exchange, response)
    yield from _refusal(response)
    if answer.error is not None:
        yield f"error object: {said_by(answer.error)}"
    if not answer.is_stream and response.body:
        kind = response.headers.get("content-type", "no content type").partition(";")[0]
        yield f"not an event stream: {kind}: {_text_of(response.body)}"
    if answer.malformed is not None:
        yield f"malformed event: {answer.malformed}"
    yield from _cut_off(exchange, asked, response, answer)
    if answer.finish_reason in ABORTED:
        yield f"aborted: finish reason {answer.finish_reason}"
    if asked.exact and answer.output_tokens not in (None, asked.output_tokens):
        yield f"length: {answer.output_tokens} of {asked.output_tokens} tokens"


def _no_answer(exchange: Exchange, response: Response) -> Iterator[str]:
    connection = "a reused connection" if exchange.connection_reused else "a fresh connection"
    if exchange.end is WireEnd.CONNECT_FAILED:
        yield f"connect: {exchange.error or 'failed'}"
    elif response.malformed is not None:
        yield f"malformed http: {response.malformed}"
    elif response.status is None:
        how = "reset" if exchange.end is WireEnd.RESET else "closed"
        part = "inside the headers" if exchange.segments else "before any byte"
        yield f"{how} {part} of the answer, on {connection}"


def _refusal(response: Response) -> Iterator[str]:
    """Also answers that we did not ask for: an encoding, an upgrade, no content."""
    status, headers = response.status, response.headers
    if status is not None and 300 <= status < 400 and "location" in headers:
        yield f"http {status}: redirect to {_without_query(headers['location'])}"
    elif status is not None and not 200 <= status < 300:
        yield f"http {status}: {_text_of(response.body)}"
    elif headers.get("content-encoding", "identity").lower() != "identity":
        yield f"content-encoding {headers['content-encoding']}, which was not asked for"


def _cut_off(exchange: Exchange, asked: Asked, response: Response, answer: Answer) -> Iterator[str]:
    chunks = len(answer.chunk_at_ns)
    if not response.ended(exchange.end):
        if exchange.end is WireEnd.RESET:
            yield f"reset: the connection broke after {chunks} chunks"
        yield f"truncated: closed before the end of the body, after {chunks} chunks"
    if not chunks:
        yield "no tokens"
    if answer.finish_reason is None:
        yield "truncated: no finish reason"
    if asked.needs_done and not answer.done:
        yield "truncated: no [DONE]"


def said_by(error: object) -> str:
    """The message in an error object of any dialect, with its code or type."""
    for _ in range(4):  # {"error": {"error": …}} nests, but not for ever
        if not isinstance(error, dict):
            break
        inner = next((error[key] for key in ("message", "error", "detail", "msg") if error.get(key)), None)
        code = error.get("code") or error.get("type")
        if isinstance(inner, str):
            return f"{inner} ({code})" if isinstance(code, str | int) else inner
        if inner is None:
            break
        error = inner
    return error if isinstance(error, str) else _json_text(error)


def _json_text(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # nested too deep
        return "unreadable"


def _text_of(body: bytes) -> str:
    """What a person would read in a JSON, HTML or plain body; enough of it for a reason."""
    value = decoded(body)
    if isinstance(value, dict):
        return said_by(value)
    return _TAGS.sub(" ", body[:4_000].decode(errors="replace"))


def _without_query(location: str) -> str:
    """Without what may be a credential."""
    return location.partition("?")[0].partition("#")[0]


def one_line(text: str, *, secret: str = "") -> str:
    """At most 300 characters, on one line, without credentials."""
    if secret:
        text = text.replace(secret, HIDDEN)
    text = " ".join(_CREDENTIAL.sub(lambda found: (found[1] or "") + HIDDEN, text).split())
    text = text.encode(errors="replace").decode()
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"
