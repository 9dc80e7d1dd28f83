"""Bodies: the fields that the server is to get, prompts of exact length, none like another."""

import itertools
import json
import pickle
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine_adapters.base import RequestDialect
from tasks.loadgen.body import BodySource, TokenPrompts, WordPrompts
from tasks.loadgen.payload import body_source
from tasks.loadgen.preflight import Preflight
from tests.tasks.loadgen.plans import plan

IDS = Preflight(token_ids=True)
FEW_IDS = Preflight(token_ids=True, prompts=TokenPrompts((b"7", b"8", b"9")))
FEW_WORDS = Preflight(prompts=WordPrompts(("ab", "cd", "ef")))


def read(body: bytes) -> dict[str, Any]:
    value = json.loads(body)
    assert isinstance(value, dict)
    return value


def test_a_body_has_the_fields_of_the_dialect_and_the_asked_length_in_their_places() -> None:
    dialect = RequestDialect(
        body={"temperature": 0.5, "nested": {"least": ["{output_tokens}"]}, "about": "{output_tokens} tokens"},
        exact_output={"ignore_eos": True, "min_tokens": "{output_tokens}"},
    )
    body = read(body_source(plan(dialect=dialect), IDS).body(0, 4, 77))
    assert body.pop("prompt")
    assert body == {
        "model": "fake:",
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 77,
        "temperature": 0.5,
        "nested": {"least": [77]},
        "about": "{output_tokens} tokens",
        "ignore_eos": True,
        "min_tokens": 77,
    }


def test_sampling_is_sent_where_the_dialect_says_nothing() -> None:
    assert read(body_source(plan(), IDS).body(0, 4, 1))["temperature"] == 0


@pytest.mark.parametrize("usage", ["always", "never"])
def test_usage_is_asked_for_only_where_it_has_to_be(usage: Any) -> None:
    assert "stream_options" not in read(
        body_source(plan(dialect=RequestDialect(usage_in_stream=usage)), IDS).body(0, 4, 1)
    )


def test_what_the_preflight_found_is_sent_and_what_was_refused_is_not() -> None:
    found = Preflight(token_ids=True, body={"min_tokens": "{output_tokens}"}, refused=("ignore_eos", "temperature"))
    body = read(body_source(plan(), found).body(0, 4, 9))
    assert body["min_tokens"] == 9
    assert not {"ignore_eos", "temperature"} & body.keys()


def test_chat_puts_the_prompt_into_a_users_message() -> None:
    source = body_source(plan("http://h:1/openai/", endpoint="chat"), Preflight())
    (message,) = read(source.body(0, 5, 1))["messages"]
    assert source.path == "/openai/v1/chat/completions"
    assert message["role"] == "user"
    assert len(message["content"].split()) == 5


def test_no_header_carries_a_key() -> None:
    names = [name for name, _ in body_source(plan(), IDS).headers]
    assert "authorization" not in names
    assert "content-type" in names


@settings(deadline=None)
@given(index=st.integers(0, 10**6), tokens=st.integers(1, 300), few=st.booleans())
def test_token_id_prompts_have_exactly_the_asked_length(index: int, tokens: int, few: bool) -> None:
    prompt = read(body_source(plan(), FEW_IDS if few else IDS).body(index, tokens, 1))["prompt"]
    assert len(prompt) == tokens
    assert all(type(token) is int for token in prompt)


def test_what_the_server_adds_is_taken_off_the_prompt() -> None:
    prompts = TokenPrompts((b"7", b"8"), overhead_tokens=2)
    source = body_source(plan(), Preflight(prompts=prompts))
    assert [len(read(source.body(0, tokens, 1))["prompt"]) for tokens in (10, 3, 2, 1)] == [8, 1, 1, 1]


def test_words_follow_the_fitted_line_and_where_known_the_server_itself() -> None:
    prompts = WordPrompts(("ab", "cd"), overhead_tokens=11, tokens_per_word=1.5, words_for={100: 61})
    source = body_source(plan(), Preflight(prompts=prompts))
    assert [len(read(source.body(0, tokens, 1))["prompt"].split()) for tokens in (100, 41, 5)] == [61, 20, 1]


@pytest.mark.parametrize("found", [IDS, FEW_IDS, Preflight(), FEW_WORDS])
def test_no_two_prompts_of_a_trial_are_alike_and_most_differ_in_their_first_token(found: Preflight) -> None:
    source = body_source(plan(), found)
    prompts = [read(source.body(index, 64, 1))["prompt"] for index in range(500)]
    starts = [tuple(prompt[:48] if isinstance(prompt, list) else prompt.split()[:48]) for prompt in prompts]
    assert len(set(starts)) == 500
    neighbours = itertools.pairwise(starts)
    assert all(one[0] != other[0] for one, other in neighbours)


def test_another_seed_makes_other_prompts() -> None:
    bodies = {body_source(plan(seed=seed), IDS).body(5, 32, 1) for seed in range(20)}
    assert len(bodies) == 20


def test_a_body_is_the_same_in_every_process_and_whatever_was_made_before() -> None:
    source = body_source(plan(), IDS)
    forward = [source.body(index, 20, 4) for index in range(20)]
    copy: BodySource = pickle.loads(pickle.dumps(source))
    assert [copy.body(index, 20, 4) for index in reversed(range(20))] == forward[::-1]


def test_a_worker_that_unpickles_a_source_imports_nothing_heavy() -> None:
    code = (
        "import pickle, sys; source = pickle.loads(sys.stdin.buffer.read()); source.body(1, 8, 8); "
        "print(sorted({'pydantic', 'pandas', 'numpy', 'pyarrow', 'tokenizers', 'prefect'} & set(sys.modules)))"
    )
    pickled = pickle.dumps(body_source(plan(), IDS))
    done = subprocess.run([sys.executable, "-c", code], input=pickled, capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"
