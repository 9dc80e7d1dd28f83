"""Whatever a server sends ends in the right outcome, counts and times."""

import itertools
import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.loadgen.answer import parse_exchange
from tasks.loadgen.exchange import Asked, WireEnd
from tasks.loadgen.record import Outcome, RequestRecord, TokenSource, records_table
from tests.tasks.loadgen.exchanges import ASKED, chunked, delta, event, exchange, sized, text, usage

FINISH = text("", finish_reason=None) | {"choices": [{"index": 0, "text": "", "finish_reason": "length"}]}
DONE = event("[DONE]")
END = event(FINISH) + event(usage(8, 3)) + DONE
ABC = [event(text(letter)) for letter in ("a", "ü", "c")]
ROLE = event(delta(role="assistant", content=""))
CHAT = [event(delta(content=letter)) for letter in ("a", "b", "c")]
CHAT_END = event(delta("length")) + event(usage(8, 3)) + DONE
OUT_OF_MEMORY = {"message": "out of memory", "code": 500}

GOOD: dict[str, tuple[bytes, ...]] = {
    "plain": (*ABC, END),
    "coalesced": (b"".join(ABC) + END,),
    "role-only chunk": (ROLE, *CHAT, CHAT_END),
    "content null in the first chunk": (event(delta(role="assistant", content=None)), *CHAT, CHAT_END),
    "pings and comments": (b": ping\n\n", ABC[0], b":\n\n", *ABC[1:], b": ping\n\n", END),
    "pings as events": (event({"type": "ping"}, kind="ping"), event("keep", kind="ping"), *ABC, END),
    "CRLF": tuple(part.replace(b"\n", b"\r\n") for part in (*ABC, END)),
    "lone CR": tuple(part.replace(b"\n", b"\r") for part in (*ABC, END)),
    "no space": tuple(part.replace(b"data: ", b"data:") for part in (*ABC, END)),
    "several data lines": tuple(part.replace(b'"choices": ', b'"choices":\ndata: ') for part in (*ABC, END)),
    "BOM": (b"\xef\xbb\xbf" + ABC[0], *ABC[1:], END),
    "event, id and retry lines": (b"retry: 9\n", *(b"event: message\nid: 1\n" + part for part in ABC), END),
    "usage in the finish chunk": (*ABC, event({**FINISH, "usage": usage(8, 3)["usage"]}), DONE),
    "usage in each chunk": (*(event(text("x") | {"usage": usage(8, k)["usage"]}) for k in (1, 2, 3)), END),
    "usage null before the last": (*(event(text("x") | {"usage": None}) for _ in range(3)), END),
    "usage inside the choice": (
        *ABC,
        event({"choices": [{"index": 0, "text": "", "finish_reason": "length", "usage": usage(8, 3)["usage"]}]}),
        DONE,
    ),
    "empty deltas": (ROLE, event(delta()), CHAT[0], event(delta(content="")), *CHAT[1:], event(delta()), CHAT_END),
    "empty texts": (event(text("")), *ABC, event(text("")), END),
    "data: null": (event("null"), *ABC, END),
    "empty data": (b"data:\n\ndata\n\n", *ABC, END),
    "error: null in each chunk": (*(event(text("x") | {"error": None}) for _ in range(3)), END),
    "no blank line at the end": (*ABC, END.removesuffix(b"\n")),
    "no line end at the end": (*ABC, END.removesuffix(b"\n\n")),
    "events after [DONE]": (*ABC, END, event({"error": OUT_OF_MEMORY})),
    "a split surrogate pair": (event('{"choices":[{"index":0,"text":"\\ud83d"}]}'), *ABC[1:], END),
    "broken UTF-8": (ABC[0].replace(b'"a"', b'"\xff"'), *ABC[1:], END),
    "NaN": (event(text("a", logprobs={"content": [float("nan")]})), *ABC[1:], END),
}


def seen(record: RequestRecord) -> tuple[object, ...]:
    return (record.outcome, record.output_tokens, record.finish_reason, record.error)


@pytest.mark.parametrize("parts", GOOD.values(), ids=GOOD.keys())
@pytest.mark.parametrize("framing", ["chunked", "content-length", "close"])
def test_every_dialect_of_a_good_answer_completes_with_its_three_tokens(parts: tuple[bytes, ...], framing: str) -> None:
    body = b"".join(parts)
    whole, end = {
        "chunked": (chunked(*parts), WireEnd.COMPLETE),
        "content-length": (sized(body), WireEnd.COMPLETE),
        "close": (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + body, WireEnd.EOF),
    }[framing]
    record = parse_exchange(exchange(whole, end=end), ASKED)
    assert seen(record) == (Outcome.COMPLETED, 3, "length", None)
    assert record.chunk_tokens == [1, 1, 1]
    assert record.chunk_at_ns == [1000] * 3
    assert record.chunk_is_answer == [True] * 3
    assert (record.prompt_tokens, record.output_tokens_source, record.status) == (8, TokenSource.USAGE, 200)


def test_a_record_keeps_the_times_and_facts_of_its_exchange() -> None:
    """Headers at 1000, then one event a segment."""
    head, rest = chunked(*ABC, END).split(b"\r\n\r\n", 1)
    pieces = [head + b"\r\n\r\n", *(b"%x\r\n%s\r\n" % (len(part), part) for part in ABC)]
    pieces.append((head + b"\r\n\r\n" + rest)[len(b"".join(pieces)) :])
    asked = replace(ASKED, in_window=False)
    record = parse_exchange(exchange(*pieces, process=3, connection_reused=True, stamp="kernel"), asked)
    assert record.chunk_at_ns == [1001, 1002, 1003]
    assert (record.due_at_ns, record.sent_at_ns, record.first_byte_at_ns) == (10, 20, 1000)
    assert (record.last_token_at_ns, record.end_at_ns) == (1003, 9000)
    assert (record.prompt_tokens_asked, record.output_tokens_asked) == (8, 3)
    assert (record.index, record.process, record.connection_reused, record.stamp) == (4, 3, True, "kernel")
    assert record.in_window is False


THINKING = [event(delta(reasoning_content="hm")), event(delta(reasoning="so")), CHAT[2]]


@pytest.mark.parametrize(
    ("parts", "is_answer"),
    [
        ((ROLE, *THINKING, CHAT_END), [False, False, True]),
        ((event(delta(reasoning="x", content="")), CHAT[0], CHAT[1], CHAT_END), [False, True, True]),
        (
            (event(delta(tool_calls=[{"index": 0, "function": {"name": "f", "arguments": ""}}])), *CHAT[1:], CHAT_END),
            [True] * 3,
        ),
        ((*(event(delta(tool_calls=[{"function": {"arguments": "{"}}])) for _ in range(3)), CHAT_END), [True] * 3),
        ((event(delta(refusal="no")), *CHAT[1:], CHAT_END), [True] * 3),
        ((event(delta(content=[{"type": "text", "text": "x"}])), *CHAT[1:], CHAT_END), [True] * 3),
    ],
    ids=["reasoning", "reasoning beside empty content", "tool call", "tool arguments", "refusal", "content parts"],
)
def test_reasoning_and_tool_calls_are_tokens_and_told_apart(parts: tuple[bytes, ...], is_answer: list[bool]) -> None:
    record = parse_exchange(exchange(chunked(*parts)), ASKED)
    assert seen(record) == (Outcome.COMPLETED, 3, "length", None)
    assert record.chunk_is_answer == is_answer


EMPTY_CALL = event(delta(tool_calls=[{"index": 0, "id": "c1", "function": {"name": "", "arguments": ""}}]))
JSON_ERROR = json.dumps({"error": OUT_OF_MEMORY}).encode()
PLAIN = json.dumps({"choices": [{"index": 0, "text": "abc", "finish_reason": "stop"}], **usage(8, 3)} | text("abc"))
HTML = b"<html><head><style>p {}</style><title>Bad Gateway</title></head></html>"

BAD: dict[str, tuple[bytes, str]] = {
    "error object first": (chunked(event({"error": OUT_OF_MEMORY})), "error object: out of memory (500)"),
    "error object mid-stream": (
        chunked(*ABC[:2], event({"error": OUT_OF_MEMORY}), DONE),
        "error object: out of memory (500)",
    ),
    "error object after a whole answer": (chunked(*ABC, event({"error": OUT_OF_MEMORY}), END), "error object: out of"),
    "error as text": (chunked(ABC[0], event({"error": "no memory"})), "error object: no memory"),
    "an empty error": (chunked(ABC[0], event({"error": {}})), "error object: {}"),
    "event: error": (chunked(event({"message": "gone"}, kind="error")), "error object: gone"),
    "event: error without JSON": (chunked(event("gone", kind="error")), "error object: gone"),
    "object: error": (
        chunked(ABC[0], event({"object": "error", **OUT_OF_MEMORY})),
        "error object: out of memory (500)",
    ),
    "an error field": (chunked(b'error: {"code":500,"message":"slot"}\n\n'), "error object: slot (500)"),
    "an error in the choice's place": (chunked(event({"detail": "x", "error": {"detail": "y"}})), "error object: y"),
    "an error without an event": (chunked(JSON_ERROR), "error object: out of memory (500)"),
    "clean truncation": (chunked(*ABC[:2]), "truncated: no finish reason"),
    "missing [DONE]": (chunked(*ABC, event(FINISH), event(usage(8, 3))), "truncated: no [DONE]"),
    "no token": (chunked(ROLE, event(delta("length")), event(usage(8, 0)), DONE), "no tokens"),
    "an empty tool call": (chunked(EMPTY_CALL, CHAT_END), "no tokens"),
    "too short": (chunked(*ABC[:2], event(FINISH), event(usage(8, 2)), DONE), "length: 2 of 3 tokens"),
    "too long": (chunked(*ABC, ABC[0], event(FINISH), event(usage(8, 4)), DONE), "length: 4 of 3 tokens"),
    "aborted": (chunked(*CHAT, event(delta("abort")), event(usage(8, 3)), DONE), "aborted: finish reason abort"),
    "an event that is no JSON": (chunked(ABC[0], event('{"choices": [{"te'), END), 'malformed event: {"choices"'),
    "an event that is a number": (chunked(*ABC, event("17"), END), "malformed event: 17"),
    "429 with JSON": (
        sized(JSON_ERROR, status="429 Slow Down", kind="application/json"),
        "http 429: out of memory (500)",
    ),
    "422 with details": (
        sized(b'{"detail":[{"loc":["body"],"msg":"extra"}]}', status="422 U", kind="application/json"),
        'http 422: [{"loc":["body"],"msg":"extra"}]',
    ),
    "502 with HTML": (sized(HTML, status="502 Bad Gateway", kind="text/html"), "http 502: Bad Gateway"),
    "503 as an event stream": (chunked(event({"error": "x"}), status="503 Busy"), "http 503: "),
    "500 without a body": (sized(b"", status="500 Oops"), "http 500: "),
    "HTML with 200": (sized(HTML, kind="text/html"), "not an event stream: text/html: Bad Gateway"),
    "HTML called an event stream": (sized(HTML), "not an event stream: text/event-stream: Bad Gateway"),
    "a plain JSON answer": (sized(PLAIN.encode(), kind="application/json"), "not an event stream: application/json: "),
    "a plain JSON error with 200": (sized(JSON_ERROR, kind="application/json"), "error object: out of memory (500)"),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", "no tokens"),
    "redirect": (
        sized(b"", status="307 T", more="Location: http://b.example/v1?key=s3cret#x\r\n"),
        "http 307: redirect to http://b.example/v1",
    ),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\n\r\n", "http 304: "),
    "compressed": (
        sized(b"\x1f\x8b", more="Content-Encoding: gzip\r\n"),
        "content-encoding gzip, which was not asked for",
    ),
    "another protocol": (b"SSH-2.0-OpenSSH_9.2\r\n", "malformed http: "),
}


@pytest.mark.parametrize(("data", "reason"), BAD.values(), ids=BAD.keys())
def test_every_bad_answer_fails_with_its_reason(data: bytes, reason: str) -> None:
    record = parse_exchange(exchange(data), ASKED)
    assert record.outcome is Outcome.FAILED
    assert record.error is not None
    assert record.error.startswith(reason.strip())
    assert "s3cret" not in record.error
    assert len(record.error) <= 300


OPEN_ENDED = chunked(*ABC[:2], last=False)
WHOLE = chunked(*ABC, END)
CUT_EVENT = WHOLE[: WHOLE.index("ü".encode()) + 1]
NO_LAST_CHUNK = WHOLE.removesuffix(b"0\r\n\r\n")
SIZED_SHORT = sized(b"".join(ABC))[:-3]
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
NO_TOKEN = chunked(ROLE, last=False)
UNENDED_ERROR = chunked(event({"error": "x"}), last=False)

CUT_OFF: dict[str, tuple[WireEnd, bytes, str, int]] = {
    "closed inside the body": (WireEnd.EOF, OPEN_ENDED, "failed: truncated: closed before the end", 2),
    "closed inside a character": (WireEnd.EOF, CUT_EVENT, "failed: truncated: closed before the end", 1),
    "closed without the last chunk": (WireEnd.EOF, NO_LAST_CHUNK, "failed: truncated: closed before the end", 3),
    "closed inside a sized body": (WireEnd.EOF, SIZED_SHORT, "failed: truncated: closed before the end", 2),
    "reset inside the body": (WireEnd.RESET, OPEN_ENDED, "failed: reset: the connection broke after 2", 2),
    "reset before any byte": (WireEnd.RESET, b"", "failed: reset before any byte", 0),
    "closed before any byte": (WireEnd.EOF, b"", "failed: closed before any byte", 0),
    "closed inside the headers": (WireEnd.EOF, WHOLE[:20], "failed: closed inside the headers", 0),
    "closed after an interim answer": (WireEnd.EOF, CONTINUE, "failed: closed inside the headers", 0),
    "no answer at all": (WireEnd.TIMED_OUT, b"", "timed_out: timed out before the headers", 0),
    "no token in time": (WireEnd.TIMED_OUT, NO_TOKEN, "timed_out: timed out after http 200 and 0 chunks", 0),
    "too slow": (WireEnd.TIMED_OUT, OPEN_ENDED, "timed_out: timed out after http 200 and 2 chunks", 2),
    "an error, and then nothing": (WireEnd.TIMED_OUT, UNENDED_ERROR, "timed_out: timed out after http 200", 0),
    "cancelled": (WireEnd.CANCELLED, OPEN_ENDED, "cancelled: cancelled after 2 chunks", 2),
    "no connection": (WireEnd.CONNECT_FAILED, b"", "failed: connect: failed", 0),
    "never sent": (WireEnd.NEVER_SENT, b"", "never_sent: never sent", 0),
}


@pytest.mark.parametrize(("end", "data", "reason", "chunks"), CUT_OFF.values(), ids=CUT_OFF.keys())
def test_what_is_cut_off_keeps_its_chunks_and_says_how(end: WireEnd, data: bytes, reason: str, chunks: int) -> None:
    record = parse_exchange(exchange(*filter(None, [data]), end=end), ASKED)
    assert f"{record.outcome}: {record.error}".startswith(reason)
    assert len(record.chunk_at_ns) == len(record.chunk_tokens) == chunks
    assert record.output_tokens == (3 if b"completion_tokens" in data else None)


def test_a_kept_alive_connection_that_closed_under_us_is_named() -> None:
    record = parse_exchange(exchange(end=WireEnd.EOF, connection_reused=True), ASKED)
    assert record.error == "closed before any byte of the answer, on a reused connection"


def test_what_the_wire_says_of_a_failed_connection_is_kept() -> None:
    record = parse_exchange(exchange(end=WireEnd.CONNECT_FAILED, error="connection refused"), ASKED)
    assert (record.outcome, record.error) == (Outcome.FAILED, "connect: connection refused")


def test_slow_headers_and_interim_answers_do_not_move_the_tokens() -> None:
    whole = chunked(*ABC, END)
    record = parse_exchange(exchange(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 E\r\nLink: a\r\n\r\n", whole), ASKED)
    assert seen(record) == (Outcome.COMPLETED, 3, "length", None)
    assert (record.first_byte_at_ns, record.chunk_at_ns) == (1000, [1001] * 3)


def test_a_chunk_extension_and_trailers_are_no_part_of_the_answer() -> None:
    data = (
        chunked(*ABC, END).replace(b"\r\ndata: ", b";a=b\r\ndata: ", 2).replace(b"0\r\n\r\n", b"0\r\nX-T: data\r\n\r\n")
    )
    assert seen(parse_exchange(exchange(data), ASKED)) == (Outcome.COMPLETED, 3, "length", None)


def test_done_is_needed_only_where_the_server_sends_it() -> None:
    data = chunked(*ABC, event(FINISH), event(usage(8, 3)))
    assert parse_exchange(exchange(data), replace(ASKED, needs_done=False)).outcome is Outcome.COMPLETED


def test_another_length_is_a_success_where_none_was_fixed() -> None:
    data = chunked(*ABC[:2], event(FINISH), event(usage(8, 2)), DONE)
    record = parse_exchange(exchange(data), replace(ASKED, exact=False))
    assert (record.outcome, record.output_tokens, record.output_tokens_asked) == (Outcome.COMPLETED, 2, 3)


def test_without_usage_the_length_is_unknown_and_no_failure() -> None:
    record = parse_exchange(exchange(chunked(*ABC, event(FINISH), DONE)), ASKED)
    assert (record.outcome, record.output_tokens, record.chunk_tokens) == (Outcome.COMPLETED, None, [None] * 3)
    assert record.output_tokens_source is TokenSource.UNKNOWN


@pytest.mark.parametrize("chat", [False, True])
def test_a_tokenizer_counts_where_the_server_does_not_and_fails_nobody(chat: bool) -> None:
    parts = (ROLE, *THINKING, event(delta("length")), DONE) if chat else (*ABC, event(FINISH), DONE)
    record = parse_exchange(exchange(chunked(*parts)), ASKED, count_tokens={"hmsoc": 5, "aüc": 4}.__getitem__)
    assert (record.outcome, record.output_tokens) == (Outcome.COMPLETED, 5 if chat else 4)
    assert record.output_tokens_source is TokenSource.TOKENIZER


def test_the_servers_own_count_goes_before_the_tokenizers() -> None:
    record = parse_exchange(exchange(chunked(*ABC, END)), ASKED, count_tokens=lambda _: 5)
    assert (record.output_tokens, record.output_tokens_source) == (3, TokenSource.USAGE)


def chunk_tokens(*events_: dict[str, Any], output: int | None) -> tuple[list[int | None], int | None, TokenSource]:
    last = [event(usage(8, output))] if output is not None else []
    data = chunked(*(event(value) for value in events_), event(FINISH), *last, DONE)
    record = parse_exchange(exchange(data), replace(ASKED, exact=False))
    return record.chunk_tokens, record.output_tokens, record.output_tokens_source


def test_chunks_are_counted_by_token_ids() -> None:
    told = chunk_tokens(text("ab", token_ids=[1, 2]), text("c", token_ids=[3]), output=None)
    assert told == ([2, 1], 3, TokenSource.TOKEN_IDS)


def test_chunks_are_counted_by_usage_in_each() -> None:
    told = chunk_tokens(*(text("x") | usage(8, k) | text("x") for k in (2, 3, 7)), output=7)
    assert told == ([2, 1, 4], 7, TokenSource.USAGE)


def test_chunks_are_counted_by_timings_in_each() -> None:
    told = chunk_tokens(*(text("x") | {"timings": {"predicted_n": k}} for k in (1, 3)), output=3)
    assert told == ([1, 2], 3, TokenSource.USAGE)


@pytest.mark.parametrize("key", ["content", "tokens"])
def test_chunks_are_counted_by_log_probabilities(key: str) -> None:
    told = chunk_tokens(text("ab", logprobs={key: ["a", "b"]}), text("c", logprobs={key: ["c"]}), output=None)
    assert told == ([2, 1], 3, TokenSource.TOKEN_IDS)


def test_tokens_without_text_count_with_the_next_text_and_at_the_end_with_the_last() -> None:
    told = chunk_tokens(
        text("", token_ids=[1]), text("ü", token_ids=[2]), text("c", token_ids=[3]), text("", token_ids=[4]), output=4
    )
    assert told == ([2, 2], 4, TokenSource.USAGE)


def test_as_many_chunks_as_tokens_bear_one_each() -> None:
    assert chunk_tokens(text("a"), text("b"), output=2)[0] == [1, 1]


def test_chunks_are_not_counted_where_it_is_a_guess() -> None:
    unknown: list[int | None] = [None, None]
    assert chunk_tokens(text("a"), text("b"), output=3)[0] == unknown
    assert chunk_tokens(text("a", token_ids=[1, 2]), text("b"), output=3)[0] == unknown
    assert chunk_tokens(text("a", token_ids=[1, 2, 3]), text("b", token_ids=[]), output=3)[0] == unknown
    assert chunk_tokens(text("a", token_ids=[1, 2]), text("b", token_ids=[]), output=2)[0] == unknown
    assert chunk_tokens(text("a", token_ids=[1, 2]), text("b", token_ids=[3, 4]), output=3)[0] == unknown


def test_cached_tokens_are_read_in_both_dialects() -> None:
    for more in ({"prompt_tokens_details": {"cached_tokens": 5}}, {"prompt_cache_hit_tokens": 5}):
        record = parse_exchange(exchange(chunked(*ABC, event(FINISH), event(usage(8, 3, **more)), DONE)), ASKED)
        assert record.cached_tokens == 5


def test_prompt_ids_tell_the_prompts_length_where_usage_does_not() -> None:
    first = event(text("a") | {"prompt_token_ids": [1, 2, 3]})
    assert parse_exchange(exchange(chunked(first, *ABC[1:], event(FINISH), DONE)), ASKED).prompt_tokens == 3


@pytest.mark.parametrize("count", [-1, 2**31, 2**70, 1.5, "3", True, None, [3]])
def test_a_count_that_is_none_is_unknown(count: object) -> None:
    said = {"choices": [], "usage": {"prompt_tokens": count, "completion_tokens": count}}
    record = parse_exchange(exchange(chunked(*ABC, event(FINISH), event(said), DONE)), ASKED)
    assert (record.outcome, record.prompt_tokens, record.output_tokens) == (Outcome.COMPLETED, None, None)


def test_no_secret_stands_in_an_error() -> None:
    said = {"error": {"message": "bad key s3cr3t-k3y, header Bearer other-token, sk-proj-123456789"}}
    record = parse_exchange(exchange(chunked(event(said))), ASKED, secret="s3cr3t-k3y")
    assert record.error == "error object: bad key ***, header Bearer ***, ***"


def test_a_reason_is_one_line_of_at_most_300_characters() -> None:
    record = parse_exchange(exchange(chunked(event({"error": "a\n\tb" + "x" * 1000}))), ASKED)
    assert record.error is not None
    assert (len(record.error), record.error[:20], record.error[-1]) == (300, "error object: a bxxx", "…")


MIXED = chunked(b"\xef\xbb\xbf", ROLE, b": p\n\n", *(part.replace(b"\n", b"\r\n") for part in ABC), *CHAT[:1], END)
SPLITTABLE = {
    "chunked": MIXED,
    "sized": sized(b"".join(ABC).replace(b"\n", b"\r\n") + END),
    "interim": b"HTTP/1.1 100 Continue\r\n\r\n" + chunked(*THINKING, CHAT_END),
    "error": chunked(*ABC[:2], event({"error": OUT_OF_MEMORY})),
    "refused": sized(JSON_ERROR, status="503 Busy", kind="application/json"),
}
TIMES = ("chunk_at_ns", "last_token_at_ns")


def bytewise(data: bytes) -> RequestRecord:
    return parse_exchange(exchange(*(data[k : k + 1] for k in range(len(data)))), replace(ASKED, exact=False))


BYTEWISE = {name: bytewise(data) for name, data in SPLITTABLE.items()}


@pytest.mark.parametrize("name", SPLITTABLE)
@settings(max_examples=60, deadline=None)
@given(places=st.data())
def test_any_cut_gives_the_same_record_and_each_chunk_the_time_of_the_segment_that_completed_it(
    name: str, places: st.DataObject
) -> None:
    data, reference = SPLITTABLE[name], BYTEWISE[name]
    cuts = places.draw(st.sets(st.integers(1, len(data) - 1), max_size=30))
    edges = [0, *sorted(cuts), len(data)]
    segments = [data[a:b] for a, b in itertools.pairwise(edges)]
    record = parse_exchange(exchange(*segments), replace(ASKED, exact=False))
    # Byte by byte, byte k arrives at 1000 + k: the segment that holds it arrives at 1000 + its place.
    carried = [1000 + sum(edge <= at - 1000 for edge in edges[1:]) for at in reference.chunk_at_ns]
    assert record.chunk_at_ns == carried
    without_times = {key: value for key, value in asdict(record).items() if key not in TIMES}
    assert without_times == {key: value for key, value in asdict(reference).items() if key not in TIMES}


def test_a_token_is_received_with_the_last_byte_of_the_terminator_of_its_data_line() -> None:
    for newline in (b"\n", b"\r\n", b"\r"):
        data = sized(b"".join(ABC).replace(b"\n", newline) + END)
        ends = [data.index(newline, data.index(letter)) + len(newline) for letter in (b'"a"', "ü".encode(), b'"c"')]
        assert bytewise(data).chunk_at_ns == [1000 + end - 1 for end in ends]


@settings(deadline=None)
@given(
    data=st.lists(
        st.one_of(
            st.binary(max_size=30), st.sampled_from([WHOLE, OPEN_ENDED, *ABC, END, b"\r\n\r\n", b"data: {", b"["])
        ),
        max_size=6,
    ),
    end=st.sampled_from(WireEnd),
)
def test_no_bytes_raise_and_every_record_can_be_stored(data: list[bytes], end: WireEnd) -> None:
    record = parse_exchange(exchange(*data, end=end), ASKED)
    assert (record.outcome is Outcome.COMPLETED) == (record.error is None)
    assert records_table([record]).num_rows == 1


KEYS = st.sampled_from(
    """choices delta content text usage error finish_reason logprobs tokens token_ids object message code tool_calls
    function name arguments reasoning timings detail predicted_n completion_tokens prompt_tokens_details index
    prompt_token_ids""".split()  # noqa: SIM905
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(value=JSON_VALUES, choice=JSON_VALUES)
def test_no_json_raises_and_every_record_can_be_stored(value: object, choice: object) -> None:
    said = json.dumps(value)
    data = chunked(event(said), event({"choices": [choice]}), event(said, kind="error"), *ABC, END)
    for answer in (data, sized(said.encode(), kind="application/json"), sized(said.encode(), status="500 E")):
        records_table([parse_exchange(exchange(answer), ASKED)])


@pytest.mark.parametrize("said", ["[" * 100_000, '{"error":' * 5_000 + "1" + "}" * 5_000, "1" * 10_000, '"\\ud83d"'])
def test_hostile_json_is_only_a_failure(said: str) -> None:
    for data in (chunked(event(said), *ABC, END), sized(said.encode(), status="500 E", kind="application/json")):
        record = parse_exchange(exchange(data), ASKED)
        assert record.outcome is Outcome.FAILED
        records_table([record])


def test_many_data_lines_and_many_tiny_segments_cost_no_more_than_their_bytes() -> None:
    """Two megabytes of one event and 50,000 segments: quadratic work would take minutes."""
    lines = b"data: x\n" * 250_000
    assert parse_exchange(exchange(sized(lines + b"\n")), ASKED).outcome is Outcome.FAILED
    body = chunked(*ABC * 600, END)
    record = parse_exchange(exchange(*(body[k : k + 3] for k in range(0, len(body), 3))), Asked(8, 3, False, True))
    assert len(record.chunk_at_ns) == 1800
