"""What a conversation repeats to the server, held against JSON decoded by the standard library."""

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.loadgen.history import Form, History, repeated
from tasks.loadgen.http1 import read_response
from tasks.loadgen.stream import Answer, read_answer
from tests.tasks.loadgen.exchanges import chunked, delta, event, text, usage


def answer_to(*events: object, raw: tuple[bytes, ...] = ()) -> Answer:
    wire = chunked(*(event(one) for one in events), *raw, event("[DONE]"))
    return read_answer(read_response([(1, wire)]), ended=True, keeps_text=True)


def said(answer: Answer) -> Any:
    spoken = repeated(answer, "chat")
    assert spoken is not None
    return json.loads(spoken)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))), st.booleans())
def test_all_texts_are_repeated_in_their_order(texts: list[str], chat: bool) -> None:
    events = [delta(content=one) if chat else text(one) for one in texts]
    assert said(answer_to(*events)) == "".join(texts)


def test_an_ordinary_stream_is_repeated_though_most_of_it_is_never_decoded() -> None:
    texts = [f" word{number}" for number in range(50)] + [' "quoted"\n', " and on", " and on"]
    answer = answer_to(delta(role="assistant", content=""), *(delta(content=one) for one in texts))
    assert said(answer) == "".join(texts)
    assert any(isinstance(piece, bytes) for piece in answer.said or ())


def test_reasoning_and_tool_calls_are_no_part_of_what_is_repeated() -> None:
    call: dict[str, Any] = {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}
    thoughts = [delta(reasoning_content=f"hm{number}") for number in range(4)]
    answer = answer_to(*thoughts, delta(content="yes"), delta(**call), delta(content=[{"type": "text", "text": "!"}]))
    assert said(answer) == "yes!"


def test_a_character_cut_in_two_is_made_whole() -> None:
    halves = tuple(b'data: {"choices":[{"index":0,"text":"\\ud83d%b"}]}\n\n'.replace(b"\\ud83d%b", half) for half in
                   (b"\\ud83d", b"\\ude00"))  # fmt: skip
    assert said(answer_to(raw=halves)) == "😀"
    assert said(answer_to(raw=halves[:1])) == "\ufffd"


def test_nothing_is_kept_where_nobody_answers() -> None:
    wire = chunked(event(text("a")), event("[DONE]"))
    assert read_answer(read_response([(1, wire)]), ended=True).said is None


def test_ids_are_repeated_only_where_the_server_told_them_all() -> None:
    told = answer_to(text("a", token_ids=[5, 6]), text("b", token_ids=[7]), usage(9, 3))
    assert repeated(told, "ids") == b"[5,6,7]"
    partly = answer_to(text("a", token_ids=[5, 6]), text("b"), usage(9, 3))
    assert repeated(partly, "ids") is None
    assert repeated(answer_to(text("a"), usage(9, 1)), "ids") is None


TURNS = st.lists(st.tuples(st.text(min_size=1), st.text()), min_size=1, max_size=5)


@given(TURNS)
def test_a_history_of_messages_alternates(turns: list[tuple[str, str]]) -> None:
    history, expected = History("chat"), list[dict[str, str]]()
    for asked, answered in turns:
        prompt = history.ask(json.dumps(asked).encode())
        expected.append({"role": "user", "content": asked})
        assert json.loads(b'[{"role":"user","content":' + prompt + b"}]") == expected
        history.hear(json.dumps(answered).encode())
        expected.append({"role": "assistant", "content": answered})


@given(TURNS)
def test_a_history_of_text_is_one_text(turns: list[tuple[str, str]]) -> None:
    history, expected = History("text"), ""
    for asked, answered in turns:
        expected += (" " if expected else "") + asked
        assert json.loads(history.ask(json.dumps(asked).encode())) == expected
        history.hear(json.dumps(answered).encode())
        expected += answered


@given(st.lists(st.tuples(*[st.lists(st.integers(0, 99), min_size=1)] * 2), min_size=1, max_size=5))
def test_a_history_of_ids_is_one_list(turns: list[tuple[list[int], list[int]]]) -> None:
    history, expected = History("ids"), list[int]()
    for asked, answered in turns:
        expected += asked
        assert json.loads(history.ask(json.dumps(asked).encode())) == expected
        history.hear(json.dumps(answered).encode())
        expected += answered


@pytest.mark.parametrize("form", get_args(Form))
def test_a_first_turn_alone_is_what_it_would_be_without_a_conversation(form: Form) -> None:
    prompt = b"[1,2]" if form == "ids" else b'"hello"'
    assert History(form).ask(prompt) == prompt
