"""Every script of the fake engine, over real sockets, ends in the right outcome, counts and times."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.loadgen.answer import parse_exchange
from tasks.loadgen.exchange import Asked, Exchange, WireEnd
from tasks.loadgen.http1 import ResponseReader
from tasks.loadgen.record import Outcome, RequestRecord
from tests import fake_engine
from tests.fake_engine import SCRIPTS, FakeEngine

TOKENS = 6


@pytest.fixture(scope="module")
def engine() -> Iterator[FakeEngine]:
    with FakeEngine() as running:
        yield running


def request(
    engine: FakeEngine, script: str, *, chat: bool = False, timeout_s: float = 5.0, **more: Any
) -> RequestRecord:
    """One exchange over a socket of its own, stamped in user space."""
    prompt: dict[str, Any] = {"messages": [{"role": "user", "content": "a b"}]} if chat else {"prompt": "a b"}
    asked: dict[str, Any] = {"stream": True, "max_tokens": TOKENS, "stream_options": {"include_usage": True}}
    body = json.dumps({"model": f"fake:{script}", **prompt, **asked, **more}).encode()
    path = "/v1/chat/completions" if chat else "/v1/completions"
    head = f"POST {path} HTTP/1.1\r\nHost: fake\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    host, port = engine.url.removeprefix("http://").split(":")
    end_at = time.monotonic() + timeout_s
    with socket.create_connection((host, int(port))) as sock:
        sent_at_ns = time.monotonic_ns()
        sock.sendall(head + body)
        segments, end = received(sock, end_at)
    exchange = Exchange(0, sent_at_ns, sent_at_ns, time.monotonic_ns(), end, segments)
    return parse_exchange(exchange, Asked(2, TOKENS, exact=True, needs_done=True))


def received(sock: socket.socket, end_at: float) -> tuple[list[tuple[int, bytes]], WireEnd]:
    reader = ResponseReader()
    segments: list[tuple[int, bytes]] = []
    while not reader.response.complete and reader.response.malformed is None:
        try:
            sock.settimeout(max(1e-3, end_at - time.monotonic()))
            data = sock.recv(65536)
        except TimeoutError:
            return segments, WireEnd.TIMED_OUT
        except ConnectionResetError:
            return segments, WireEnd.RESET
        if not data:
            return segments, WireEnd.EOF
        segments.append((time.monotonic_ns(), data))
        reader.feed(*segments[-1])
    return segments, WireEnd.COMPLETE


GOOD = (
    *("pings", "crlf", "cr", "nospace", "two-data-lines", "bytewise", "coalesced", "bom", "fields", "null", "cached"),
    *("flaky", "miscounts", "late", "drifts"),  # of which the first request is answered as by any other
    *("usage-in-finish", "usage-in-every", "token-ids", "empty-deltas", "length-framed", "close-framed", "trailers"),
    *("interim", "slow-headers", "closes-idle", "bos", "template", "tokenizes", "counts-characters", "counts-oddly"),
    *("refuses-ids", "refuses-unknown", "one-prompt-an-id", "steady", "slower", "says-which", "context-30"),
)
CHAT_ONLY = ("reasoning", "reasoning-content", "tool-calls")
MERGED = ("merged",)
ENDING_EARLY = ("short", "ignores-ignore-eos", "only-logit-bias", "ends-early")
BAD = {
    "no-done": "truncated: no [DONE]",
    "error-first": "error object: out of memory (500)",
    "error-middle": "error object: out of memory (500)",
    "error-event": "error object: out of memory",
    "error-object": "error object: out of memory (500)",
    "cut": "truncated: no finish reason",
    "eof": "truncated: closed before the end of the body, after 2 chunks",
    "reset": "reset: the connection broke after 2 chunks",
    "no-finish": "truncated: no finish reason",
    "aborted": "aborted: finish reason abort",
    "busy": "http 503: busy (503)",
    "quotes-the-key": "http 401: no such key:",
    "detail": 'http 422: [{"msg":"bad field"}]',
    "html-error": "http 502: Bad Gateway",
    "html": "not an event stream: text/html: Welcome",
    "redirect": "http 307: redirect to http://elsewhere.example/v1",
    "plain-json": "not an event stream: application/json",
    "not-http": "malformed http",
    "context-1": "http 400: the context holds 1 tokens (400)",
    "closes-first": "closed before any byte of the answer, on a fresh connection",
}
HANGING = {
    "silent": "timed out before the headers of an answer",
    "hangs": "timed out after http 200 and 2 chunks",
}
DRIPPING = ("drips",)
UNCOUNTED = ("no-usage",)


def test_every_script_is_tried() -> None:
    assert {*GOOD, *CHAT_ONLY, *MERGED, *ENDING_EARLY, *BAD, *HANGING, *DRIPPING, *UNCOUNTED} == set(SCRIPTS)


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("script", GOOD)
def test_each_dialect_completes(engine: FakeEngine, script: str, chat: bool) -> None:
    record = request(engine, script, chat=chat)
    assert (record.outcome, record.error, record.output_tokens) == (Outcome.COMPLETED, None, TOKENS)
    assert record.chunk_tokens == [1] * TOKENS
    assert all(record.chunk_is_answer)


@pytest.mark.parametrize("script", CHAT_ONLY)
def test_reasoning_and_tool_calls_complete(engine: FakeEngine, script: str) -> None:
    record = request(engine, script, chat=True)
    assert (record.outcome, record.output_tokens) == (Outcome.COMPLETED, TOKENS)
    reasoning = 0 if script == "tool-calls" else 2
    assert record.chunk_is_answer == [False] * reasoning + [True] * (TOKENS - reasoning)


def test_merged_chunks_are_counted_by_token_ids(engine: FakeEngine) -> None:
    assert request(engine, "merged").chunk_tokens == [None] * 3
    assert request(engine, "merged+token-ids", return_token_ids=True).chunk_tokens == [2] * 3


@pytest.mark.parametrize(("script", "reason"), BAD.items())
def test_each_failure_has_its_reason(engine: FakeEngine, script: str, reason: str) -> None:
    record = request(engine, script)
    assert record.outcome is Outcome.FAILED
    assert (record.error or "").startswith(reason)


@pytest.mark.parametrize(("script", "reason"), HANGING.items())
def test_silence_is_a_timeout(engine: FakeEngine, script: str, reason: str) -> None:
    record = request(engine, script, timeout_s=0.2)
    assert (record.outcome, record.error) == (Outcome.TIMED_OUT, reason)


@pytest.mark.parametrize("script", ENDING_EARLY)
def test_an_answer_that_ends_early_is_too_short(engine: FakeEngine, script: str) -> None:
    assert request(engine, script).error == f"length: 5 of {TOKENS} tokens"


def test_a_length_that_nobody_tells_is_unknown(engine: FakeEngine) -> None:
    record = request(engine, "no-usage")
    assert (record.outcome, record.output_tokens, record.chunk_tokens) == (Outcome.COMPLETED, None, [None] * TOKENS)


def test_tokens_are_received_after_they_were_sent(engine: FakeEngine) -> None:
    """The reader's stamp is taken after the write that it saw: in order, and never before the truth."""
    record = request(engine, "steady")
    sent = engine.generations[-1].tokens_at_ns
    assert len(sent) == TOKENS
    assert all(seen >= written for seen, written in zip(record.chunk_at_ns, sent, strict=True))
    assert record.sent_at_ns is not None
    assert sent[0] - record.sent_at_ns >= 20_000_000
    assert sent[-1] - sent[0] >= (TOKENS - 1) * 5_000_000 * 0.9


def test_the_fake_serves_as_a_process_and_tells_what_it_saw() -> None:
    command = [sys.executable, str(Path(fake_engine.__file__)), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            body = json.dumps({"model": "fake", "prompt": "a", "stream": True, "max_tokens": 2}).encode()
            answer = urllib.request.urlopen(f"{url}/v1/completions", data=body, timeout=10)
            with answer:
                assert answer.read().endswith(b"data: [DONE]\n\n")
            with urllib.request.urlopen(f"{url}/fake/requests", timeout=10) as requests:
                (seen,) = json.load(requests)
        finally:
            process.terminate()
    assert seen["body"]["prompt"] == "a"
    assert len(seen["tokens_at_ns"]) == 2
