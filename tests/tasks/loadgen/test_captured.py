"""Bytes that a real engine sent: llama.cpp's server of xllamacpp 2026.10.11549, a small model with random weights.

captured/ holds whole responses as they came over the socket (`connection: close`), one file a request."""

from pathlib import Path

import pytest

from tasks.loadgen.answer import parse_exchange
from tasks.loadgen.exchange import Asked, WireEnd
from tasks.loadgen.record import Outcome, RequestRecord, TokenSource
from tests.tasks.loadgen.exchanges import exchange

CAPTURED = Path(__file__).with_name("captured")


def captured(name: str, *, output_tokens: int) -> RequestRecord:
    data = (CAPTURED / f"xllamacpp-2026.10.11549-{name}.http").read_bytes()
    asked = Asked(prompt_tokens=8, output_tokens=output_tokens, exact=True, needs_done=True)
    return parse_exchange(exchange(data, end=WireEnd.EOF), asked)


@pytest.mark.parametrize(("name", "prompt", "output"), [("completions", 8, 6), ("chat", 20, 6), ("logprobs", 3, 4)])
def test_usage_is_read_in_the_finish_chunk_and_in_a_chunk_of_its_own(name: str, prompt: int, output: int) -> None:
    record = captured(name, output_tokens=output)
    assert (record.outcome, record.error) == (Outcome.COMPLETED, None)
    assert (record.prompt_tokens, record.output_tokens, record.cached_tokens) == (prompt, output, 0)
    assert (record.finish_reason, record.output_tokens_source) == ("length", TokenSource.USAGE)
    assert record.chunk_tokens == [1] * output


def test_a_token_that_is_half_a_character_counts_with_the_text_that_completes_it() -> None:
    """Twelve tokens gave eleven texts; the sixth, `� ditujel`, came of two."""
    record = captured("partial-utf8", output_tokens=12)
    assert record.outcome is Outcome.COMPLETED
    assert record.chunk_tokens == [1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1]


def test_data_null_says_nothing() -> None:
    """Two prompts in one request: a stray `data: null` comes first. Nobody asks so; the parser stands it."""
    record = captured("two-prompts", output_tokens=2)
    assert (record.error, record.finish_reason, record.output_tokens) == (None, "length", 2)


def test_a_refusal_is_told_in_the_engines_words() -> None:
    record = captured("too-long", output_tokens=6)
    assert (record.outcome, record.status) == (Outcome.FAILED, 400)
    assert record.error == (
        "http 400: request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it (400)"
    )


def test_a_plain_answer_is_no_stream_though_its_counts_are_kept() -> None:
    record = captured("plain-json", output_tokens=6)
    assert record.outcome is Outcome.FAILED
    assert (record.error or "").startswith("not an event stream: application/json")
    assert (record.output_tokens, record.chunk_at_ns) == (6, [])
