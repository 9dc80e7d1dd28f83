"""Lengths, sharing, caches, datasets and structured output, measured at a server that writes down what it is asked."""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine_adapters.base import RESPONSE_FORMAT, RequestDialect
from experiments.errors import InputError
from experiments.schema.load import ClosedLoop, OpenLoop, Poisson, StopRule
from tasks.loadgen.body import Sharing, TokenPrompts, WordPrompts, salt_start
from tasks.loadgen.pool import Pool
from tasks.loadgen.schedule import make_schedule
from tests.fake_engine import FakeEngine
from tests.tasks.loadgen import workloads
from tests.tasks.loadgen.plans import plan
from tests.tasks.loadgen.workloads import Done, common, prompt_of, workload

CarryOut = Callable[..., Done]

DATASET = {"prompts": {"kind": "dataset", "path": "overridden"}, "prompt_tokens": {"kind": "data"}}
SPREAD = {
    "prompt_tokens": {"kind": "uniform", "min": 20, "max": 60},
    "output_tokens": {"kind": "uniform", "min": 2, "max": 9},
}


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """Client processes are the same in all trials: to start them takes longer than a trial."""
    with Pool() as started:
        yield started


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    with FakeEngine() as running:
        yield running


@pytest.fixture
def carry_out(engine: FakeEngine, pool: Pool) -> CarryOut:
    return partial(workloads.carry_out, engine, pool=pool)


# lengths


@pytest.mark.parametrize("endpoint", ["completions", "chat"])
def test_drawn_lengths_are_asked_realised_and_recorded_request_by_request(
    carry_out: CarryOut, tmp_path: Path, endpoint: str
) -> None:
    done = carry_out(tmp_path, workload(endpoint=endpoint, **SPREAD), script="template", requests=30)
    assert done.complaints == []
    lengths = [(row["prompt_tokens_asked"], row["output_tokens_asked"]) for row in done.rows]
    assert [(row["prompt_tokens"], row["output_tokens"]) for row in done.rows] == lengths
    assert len({prompt for prompt, _ in lengths}) > 10
    assert len({output for _, output in lengths}) > 4
    template = 11 if endpoint == "chat" else 0
    assert Counter(len(prompt_of(body)) + template for body in done.sent) == Counter(prompt for prompt, _ in lengths)


@pytest.mark.parametrize("load", [ClosedLoop(concurrency=3), OpenLoop(arrivals=Poisson(), rate_rps=100)])
def test_lengths_do_not_depend_on_the_number_of_processes(
    carry_out: CarryOut, tmp_path: Path, load: OpenLoop | ClosedLoop
) -> None:
    by_index = [
        {
            row["index"]: (row["prompt_tokens"], row["output_tokens_asked"])
            for row in carry_out(tmp_path / str(n), workload(**SPREAD), load=load, processes=n).rows
        }
        for n in (1, 3)
    ]
    assert by_index[0] == by_index[1]


def test_a_timed_closed_loop_has_the_lengths_of_the_indices_that_it_reaches(
    carry_out: CarryOut, tmp_path: Path
) -> None:
    done = carry_out(tmp_path, workload(**SPREAD), stop=StopRule(seconds=0.4), processes=2)
    counted = make_schedule(replace(done.plan, stop=StopRule(requests=5000)))
    assert len(done.rows) > 10
    for row in done.rows:
        assert row["prompt_tokens_asked"] == counted.prompt_tokens[row["index"]]
        assert row["output_tokens_asked"] == counted.output_tokens[row["index"]]


def test_an_answer_that_ends_by_itself_is_held_to_no_length(carry_out: CarryOut, tmp_path: Path) -> None:
    asked = workload(output_tokens={"kind": "natural", "max": 50})
    done = carry_out(tmp_path, asked, script="short")
    assert {row["outcome"] for row in done.rows} == {"completed"}
    assert {(row["output_tokens"], row["output_tokens_asked"], row["finish_reason"]) for row in done.rows} == {
        (5, None, "stop")
    }
    assert done.complaints == []
    assert all(body["max_tokens"] == 50 and "ignore_eos" not in body for body in done.sent)


# shared prefixes


@given(
    st.integers(0, 2**63),
    st.integers(1, 100),
    st.integers(1, 1_000_000),
    st.integers(1, 7),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_sharing_is_exact_in_tokens_share_and_groups(
    seed: int, tokens: int, share: int, groups: int, as_words: bool
) -> None:
    sharing = Sharing(seed=9, tokens=tokens, share_millionths=share, groups=groups)
    pool = [f"{letter}{number}" for letter in "abcdef" for number in range(50)]
    source = WordPrompts(tuple(pool)) if as_words else TokenPrompts(tuple(b"%d" % n for n in range(1000, 4000)))
    length = tokens + 20
    prompts = {}
    for index in range(60):
        prefix = sharing.prefix(index)
        text = json.loads(source.render(seed, salt_start(seed), index, length, prefix))
        prompts[index] = (prefix.group if prefix else None, text.split() if as_words else text)
    assert {len(prompt) for _, prompt in prompts.values()} == {length}
    sharers = [index for index, (group, _) in prompts.items() if group is not None]
    assert len(sharers) == 60 * share // 1_000_000
    counts = Counter(prompts[index][0] for index in sharers)
    assert max(counts.values(), default=0) - min(counts.values(), default=0) <= (len(counts) == groups or 1)
    for one, other in itertools.combinations(sharers, 2):
        (group, prompt), (its_group, its_prompt) = prompts[one], prompts[other]
        assert common(prompt, its_prompt) == (tokens if group == its_group else 0)


@pytest.mark.parametrize("endpoint", ["completions", "chat"])
def test_a_shared_prefix_is_in_the_cache_before_the_window_and_the_rest_is_never_seen_twice(
    carry_out: CarryOut, tmp_path: Path, endpoint: str
) -> None:
    prefix = {"tokens": 24, "share": 0.5, "groups": 2}
    asked = workload(endpoint=endpoint, cache="shared", shared_prefix=prefix)
    done = carry_out(tmp_path / "1", asked, requests=16)
    prompts = [prompt_of(body) for body in done.sent]
    assert {len(prompt) for prompt in prompts} == {40}
    alike = [common(one, other) for one, other in itertools.combinations(prompts, 2)]
    assert Counter(alike) == {24: 2 * 6, 0: 120 - 12}  # two groups of four sharers, eight others
    filled = [prompt_of(seen.body)[:24] for seen in done.before[-2:]]
    assert {tuple(prompt[:24]) for prompt in prompts} >= {tuple(prompt) for prompt in filled}
    assert filled[0] != filled[1]
    later = carry_out(tmp_path / "2", asked, requests=16, seed=6)
    known = {tuple(prompt) for prompt in prompts}
    assert not any(tuple(prompt_of(body)) in known for body in later.sent)
    assert {tuple(prompt_of(body)[:24]) for body in later.sent} >= {tuple(prompt) for prompt in filled}


@pytest.mark.parametrize("endpoint", ["completions", "chat"])
def test_a_system_prompt_stands_before_every_prompt_and_counts_as_part_of_it(
    carry_out: CarryOut, tmp_path: Path, endpoint: str
) -> None:
    asked = workload(endpoint=endpoint, cache="shared", system_prompt='Answer "briefly".\nAlways.')
    done = carry_out(tmp_path, asked)
    for body in done.sent:
        if endpoint == "chat":
            assert body["messages"][0] == {"role": "system", "content": asked.system_prompt}
            assert body["messages"][1]["role"] == "user"
        else:
            assert body["prompt"].startswith(f"{asked.system_prompt}\n\n")
    assert {row["prompt_tokens"] for row in done.rows} == {40}
    assert done.complaints == []


# cache


def test_hot_prompts_are_sent_once_before_the_window_and_then_over_and_over(
    carry_out: CarryOut, tmp_path: Path
) -> None:
    done = carry_out(tmp_path, workload(cache="hot", hot_prompts=3, **SPREAD), requests=12, script="cached")
    prompts = [tuple(prompt_of(body)) for body in done.sent]
    assert sorted(Counter(prompts).values()) == [4, 4, 4]
    assert {tuple(prompt_of(seen.body)) for seen in done.before[-3:]} == set(prompts)
    assert all(seen.body["max_tokens"] == 1 for seen in done.before[-3:])
    assert {row["prompt_tokens"] for row in done.rows} == {len(prompt) for prompt in prompts}


def test_a_cold_trial_resets_the_cache_right_before_its_first_request(
    carry_out: CarryOut, engine: FakeEngine, tmp_path: Path
) -> None:
    dialect = RequestDialect(cache_reset_path="/fake/reset_cache")
    carry_out(tmp_path, workload(), dialect=dialect, requests=3)
    paths = [seen.path for seen in engine.seen]
    assert paths[-4:] == ["/fake/reset_cache"] + ["/v1/completions"] * 3
    engine.seen.clear()
    carry_out(tmp_path, workload(cache="hot"), dialect=dialect, requests=3)
    assert engine.seen[-4].path == "/v1/completions"


def test_a_cache_that_cannot_be_reset_makes_only_cold_workloads_invalid(carry_out: CarryOut, tmp_path: Path) -> None:
    dialect = RequestDialect(cache_reset_path="/no/such")
    cold = carry_out(tmp_path / "c", workload(), dialect=dialect)
    hot = carry_out(tmp_path / "h", workload(cache="hot"), dialect=dialect)
    assert any("the cache cannot be reset: /no/such answered 404" in reason for reason in cold.summary.invalid_reasons)
    assert hot.complaints == []


def test_the_engines_own_counters_are_a_second_witness_of_the_hit_ratio(carry_out: CarryOut, tmp_path: Path) -> None:
    names = {"prompt_tokens": "fake:prompt_tokens_total", "cached_prompt_tokens": "fake:cached_total", "other": "x"}
    done = carry_out(tmp_path, workload(cache="hot"), script="cached", metric_names=names)
    assert done.summary.engine_cache_hit_ratio == done.summary.cache_hit_ratio == 5 / 40


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ({}, "not known how this server names its counters"),
        ({"cached_prompt_tokens": "fake:none"}, "/metrics has no fake:none"),
        ({"prompt_tokens": "fake:prompt_tokens_total"}, "no counter of prompt tokens from its cache"),
    ],
)
def test_without_counters_there_is_a_reason(
    carry_out: CarryOut, tmp_path: Path, names: dict[str, str], reason: str
) -> None:
    summary = carry_out(tmp_path, workload(), metric_names=names).summary
    assert summary.engine_cache_hit_ratio is None
    assert reason in summary.reasons["engine_cache_hit_ratio"]


# datasets


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "d.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


TEXTS = [{"instruction": f'Tell me\nof thing {n}: "é" 🐢', "context": "", "response": "x " * n} for n in range(1, 7)]


def test_a_datasets_texts_are_sent_as_they_are_in_the_order_of_the_seed(carry_out: CarryOut, tmp_path: Path) -> None:
    path = write(tmp_path, TEXTS)
    asked = workload(**DATASET, endpoint="chat", cache="shared", output_tokens=3)
    sent = [
        [body["messages"][-1]["content"] for body in carry_out(tmp_path, asked, seed=s, dataset=path).sent]
        for s in (1, 2)
    ]
    assert Counter(sent[0]) == {row["instruction"]: 2 for row in TEXTS}
    assert Counter(sent[0]) == Counter(sent[1])
    assert sent[0] != sent[1]


def test_cold_texts_begin_with_words_of_their_own(carry_out: CarryOut, tmp_path: Path) -> None:
    done = carry_out(tmp_path, workload(**DATASET, output_tokens=3), dataset=write(tmp_path, TEXTS[:2]))
    prompts = [body["prompt"] for body in done.sent]
    assert all(prompt.partition("\n\n")[2] in {row["instruction"] for row in TEXTS} for prompt in prompts)
    assert len({prompt.split()[0] for prompt in prompts}) == 12


def test_without_a_tokenizer_the_length_of_a_text_is_what_the_server_counts(
    carry_out: CarryOut, engine: FakeEngine, tmp_path: Path
) -> None:
    done = carry_out(
        tmp_path,
        workload(**DATASET, output_tokens={"kind": "data"}),
        dataset=write(tmp_path, TEXTS),
        script="short",
    )
    assert {row["prompt_tokens_asked"] for row in done.rows} == {None}
    assert all(row["prompt_tokens"] > 3 for row in done.rows)
    assert {(row["output_tokens_asked"], row["output_tokens"]) for row in done.rows} == {(None, 5)}
    assert done.complaints == []
    assert done.preflight.honoured["prompt_length"] is None


def test_answers_have_the_lengths_that_the_dataset_tells_and_rows_that_do_not_fit_are_left_out(
    carry_out: CarryOut, tmp_path: Path
) -> None:
    rows = [{"prompt": f"p{n}", "output_tokens": n} for n in (2, 3, 500)] + [{"prompt": "none"}]
    asked = workload(**DATASET, cache="shared", output_tokens={"kind": "data", "max": 100})
    done = carry_out(tmp_path, asked, dataset=write(tmp_path, rows), requests=8)
    pairs = {(body["prompt"], body["max_tokens"], body["ignore_eos"]) for body in done.sent}
    assert pairs == {("p2", 2, True), ("p3", 3, True)}
    assert all(row["output_tokens"] == row["output_tokens_asked"] for row in done.rows)


def test_a_dataset_of_lengths_alone_is_filled_with_tokens(carry_out: CarryOut, tmp_path: Path) -> None:
    rows = [{"input_length": 30 + n, "output_length": 2 + n} for n in range(4)]
    asked = workload(**DATASET, output_tokens={"kind": "data"})
    done = carry_out(tmp_path, asked, dataset=write(tmp_path, rows))
    pairs = Counter((len(body["prompt"]), body["max_tokens"]) for body in done.sent)
    assert pairs == {(30 + n, 2 + n): 3 for n in range(4)}
    assert done.complaints == []


def test_a_dataset_of_which_nothing_fits_is_told(tmp_path: Path) -> None:
    asked = workload(**DATASET | {"prompt_tokens": {"kind": "data", "max": 3}}, output_tokens=4)
    path = write(tmp_path, [{"prompt_tokens": 9}])
    with pytest.raises(InputError, match="none of its 1 prompts has 1 to 3 tokens"):
        make_schedule(replace(plan(), workload=asked, dataset=path))


# dialects


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def test_a_schema_is_sent_in_the_dialects_words_and_answers_end_by_themselves(
    carry_out: CarryOut, tmp_path: Path
) -> None:
    done = carry_out(tmp_path, workload(endpoint="chat", json_schema=SCHEMA), script="short")
    told = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    assert all(body["response_format"] == told and "ignore_eos" not in body for body in done.sent)
    assert {row["outcome"] for row in done.rows} == {"completed"}
    own = RequestDialect(structured_output={"completions": {"guided": ["{json_schema}"]}})
    done = carry_out(tmp_path, workload(json_schema=SCHEMA), dialect=own)
    assert all(body["guided"] == [SCHEMA] for body in done.sent)


def test_a_schema_on_an_endpoint_that_takes_none_is_refused_before_anything_is_sent(
    carry_out: CarryOut, engine: FakeEngine, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="takes a schema on chat, not on completions"):
        carry_out(tmp_path, workload(json_schema=SCHEMA))
    assert engine.generations == []


def test_a_server_that_refuses_the_schema_makes_the_trial_invalid(carry_out: CarryOut, tmp_path: Path) -> None:
    done = carry_out(tmp_path, workload(endpoint="chat", json_schema=SCHEMA), script="refuses-unknown")
    assert any("answers do not follow the schema" in reason for reason in done.summary.invalid_reasons)
    assert RESPONSE_FORMAT.keys() <= set(done.preflight.refused)


@pytest.mark.parametrize("script", ["reasoning", "reasoning-content"])
def test_a_reasoning_stream_has_a_first_token_and_a_later_first_answer(
    carry_out: CarryOut, tmp_path: Path, script: str
) -> None:
    done = carry_out(tmp_path, workload(endpoint="chat"), script=f"{script}+steady")
    assert done.complaints == []
    for row in done.rows:
        assert row["chunk_is_answer"] == [False, False, True, True]
    first, answer = done.summary.latencies["ttft_ms"], done.summary.latencies["ttft_answer_ms"]
    assert first.p50 is not None
    assert answer.p50 is not None
    assert answer.p50 > first.p50
    assert answer.n == first.n == 12


def test_tool_call_deltas_are_counted_as_tokens(carry_out: CarryOut, tmp_path: Path) -> None:
    done = carry_out(tmp_path, workload(endpoint="chat"), script="tool-calls")
    assert {(len(row["chunk_at_ns"]), row["output_tokens"], row["finish_reason"]) for row in done.rows} == {
        (4, 4, "tool_calls")
    }
    assert done.complaints == []
