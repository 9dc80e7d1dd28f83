"""Events that are recognised by their shape are read as if they had been decoded."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.loadgen.http1 import read_response
from tasks.loadgen.shape import PLAIN_TEXT, Shape, shape_of
from tasks.loadgen.stream import Answer, read_answer
from tests.tasks.loadgen.exchanges import delta, event, sized, text


def compact(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def answer(*events_: bytes) -> Answer:
    return read_answer(read_response([(1, sized(b"".join(events_)))]), ended=True)


@pytest.mark.parametrize("encode", [compact, lambda value: json.dumps(value).encode()])
@pytest.mark.parametrize(
    ("chunk", "said", "is_answer"),
    [
        (text("abc"), b"abc", True),
        (delta(content="abc"), b"abc", True),
        (delta(reasoning="abc"), b"abc", False),
        (delta(reasoning_content="abc", content=""), b"abc", False),
        (delta(reasoning="so", content="abc"), b"abc", True),
        ({"id": "abc", **text("abc"), "usage": None, "error": None}, b"abc", True),
    ],
)
def test_a_plain_chunk_has_the_shape_of_all_that_surrounds_its_text(
    encode: Any, chunk: dict[str, Any], said: bytes, is_answer: bool
) -> None:
    data = encode(chunk)
    shape = shape_of(chunk, data)
    assert shape.head + said + shape.tail == data
    assert shape.head.endswith(b'"')
    assert shape.is_answer is is_answer


@pytest.mark.parametrize(
    "chunk",
    [
        None,
        [],
        {},
        {"choices": []},
        {"choices": [7]},
        {"choices": text("a")["choices"] * 2},
        text(""),
        text("a", finish_reason="stop"),
        text("a", token_ids=[]),
        text("a", logprobs={}),
        text("a", index=1),
        text("a") | {"usage": {}},
        text("a") | {"timings": {"predicted_n": 1}},
        text("a") | {"error": "x"},
        text("a") | {"object": "error"},
        text("a") | {"more": {"text": "a"}},
        text("a\nb"),
        text('"'),
        delta(content=[{"text": "a"}]),
        delta(tool_calls=[{"function": {"arguments": "{"}}], reasoning="a"),
    ],
)
def test_a_chunk_that_says_more_or_says_it_otherwise_has_no_shape(chunk: object) -> None:
    assert shape_of(chunk, compact(chunk)) == Shape()


@pytest.mark.parametrize("said", [b"", b'"', b"a\\", b"\x00", b"a\tb", b'a","x":"b'])
def test_only_plain_text_fits_a_shape(said: bytes) -> None:
    assert PLAIN_TEXT(said) is None


TEXTS = st.one_of(
    st.text(max_size=6), st.sampled_from(["", " a", '"', "\\", '","finish_reason":"stop', "\ud83d", "ü", "\n"])
)
CHUNKS = st.one_of(
    TEXTS.map(text),
    st.builds(lambda said: delta(content=said), TEXTS),
    st.builds(lambda said: delta(reasoning=said), TEXTS),
    st.builds(lambda said: delta(content="", reasoning_content=said), TEXTS),
    st.builds(lambda said, ids: text(said, token_ids=ids), TEXTS, st.lists(st.integers(0, 9), max_size=2)),
    st.builds(lambda said, reason: text(said, finish_reason=reason), TEXTS, st.sampled_from(["stop", None])),
    st.builds(lambda said, output: text(said) | {"usage": {"completion_tokens": output}}, TEXTS, st.integers(0, 9)),
)


@settings(deadline=None, max_examples=200)
@given(chunks=st.lists(st.tuples(CHUNKS, st.integers(1, 4)), max_size=8), tight=st.booleans())
def test_a_stream_is_read_alike_with_shapes_and_without(chunks: list[tuple[dict[str, Any], int]], tight: bool) -> None:
    """A number that counts on in front of each event keeps any from having the shape of another."""
    separators = (",", ":") if tight else (", ", ": ")
    run = [chunk for chunk, repeats in chunks for _ in range(repeats)]
    plain = [event(json.dumps(chunk, separators=separators)) for chunk in run]
    numbered = [event(json.dumps({"n": k, **chunk}, separators=separators)) for k, chunk in enumerate(run)]
    assert answer(*plain) == answer(*numbered)
