"""Workloads on llama.cpp's own server, with its prompt cache on: what its usage and its counters say of each policy."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine_adapters import ADAPTERS
from experiments.schema.load import ClosedLoop, LoadPoint, StopRule
from experiments.schema.result import TrialSummary
from experiments.schema.variant import Variant
from experiments.schema.workload import Workload
from tasks.artifacts.sources import fetch_model
from tasks.artifacts.store import ArtifactStore, silent
from tasks.load_point import measure_point
from tasks.loadgen.plan import Endpoint, TrialPlan
from tasks.loadgen.preflight import run_preflight
from tasks.loadgen.record import read_records
from tasks.quantize import quantize
from tasks.serving.environment import Environment
from tasks.serving.server import running_server
from tests.conftest import TINY

pytestmark = pytest.mark.engine

SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["cat", "dog"]}, "alive": {"type": "boolean"}},
    "required": ["kind", "alive"],
    "additionalProperties": False,
}
SLOTS = 4
POINT = LoadPoint(step=0, role="saturation", load=ClosedLoop(concurrency=1), stop=StopRule(requests=24))


class Bench:
    """A running server, and trials on it."""

    def __init__(self, url: str, variant: Variant, tokenizer: Path, folder: Path) -> None:
        self._url, self._variant, self._tokenizer, self._folder = url, variant, tokenizer, folder
        self._seed = 0

    def measure(self, **workload: Any) -> tuple[TrialSummary, list[dict[str, Any]], Any]:
        self._seed += 1
        prefix_cache = workload.pop("prefix_cache", True)
        adapter = ADAPTERS[self._variant.engine]
        plan = TrialPlan(
            endpoint=Endpoint(self._url, "model"),
            dialect=adapter.request_dialect(self._variant.model_copy(update={"prefix_cache": prefix_cache})),
            workload=Workload.model_validate({"name": "w", "prompt_tokens": 96, "output_tokens": 4} | workload),
            load=POINT.load,
            stop=POINT.stop,
            seed=self._seed,
            tokenizer=self._tokenizer,
            metric_names=adapter.metric_names,
            processes=1,
        )
        folder = self._folder / str(self._seed)
        preflight = run_preflight(plan)
        summary = measure_point(POINT, plan, preflight, folder, ()).summary
        return summary, read_records(folder / "requests.parquet").to_pylist(), preflight


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, xllamacpp: Environment) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("bench")
    variant = Variant.model_validate(
        {
            "engine": "llama_cpp",
            "engine_version": "2026.10.11549",
            "model": {"name": "tiny", "source": TINY.model_dump()},
            "quantization": "q8_0",
            "max_model_len": 512,
            "max_num_seqs": SLOTS,
            "cpu_threads": 1,
            "prefix_cache": True,
        }
    )
    adapter = ADAPTERS[variant.engine]
    model = fetch_model(TINY, ArtifactStore(folder / "store"), progress=silent)
    checkpoint = quantize.fn(variant, model, folder / "store", xllamacpp, folder / "environments")
    with running_server(
        adapter.launch_spec(variant),
        adapter.request_dialect(variant),
        python=xllamacpp.python,
        model=checkpoint.entry,
        log=folder / "server.log",
        leases=folder / "leases",
        what="a test",
        say=print,
    ) as server:
        yield Bench(server.url, variant, model.path, folder)


def test_cold_prompts_of_ids_and_of_english_share_nothing(bench: Bench) -> None:
    for asked in ({}, {"prompts": {"kind": "english"}, "prompt_tokens": 400}):
        summary, rows, preflight = bench.measure(**asked)
        assert summary.cache_hit_ratio is not None
        assert summary.cache_hit_ratio < 0.01
        assert summary.engine_cache_hit_ratio == pytest.approx(summary.cache_hit_ratio)
        assert preflight.honoured["prompt_length"] is True
        assert all(abs(row["prompt_tokens"] - row["prompt_tokens_asked"]) <= 2 for row in rows)


def test_hot_prompts_come_from_the_cache_but_for_the_last_token(bench: Bench) -> None:
    summary, rows, _ = bench.measure(cache="hot", hot_prompts=SLOTS)
    assert {row["cached_tokens"] for row in rows} == {96 - 1}
    assert summary.cache_hit_ratio == summary.engine_cache_hit_ratio == 95 / 96
    assert not [reason for reason in summary.invalid_reasons if "cache" in reason]


def test_hot_prompts_on_a_server_that_keeps_none_are_a_finding(bench: Bench) -> None:
    summary, rows, _ = bench.measure(prefix_cache=False, cache="hot", hot_prompts=SLOTS, prompt_tokens=400)
    assert {row["cached_tokens"] for row in rows} == {0}
    assert summary.engine_cache_hit_ratio == 0
    assert any("a hot workload took 0.0% of its prompt tokens" in reason for reason in summary.invalid_reasons)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_shared_prefix_is_taken_from_the_cache_to_the_token(bench: Bench, share: float) -> None:
    prefix = {"tokens": 64, "share": share}
    summary, rows, _ = bench.measure(cache="shared", shared_prefix=prefix)
    sharing = [row for row in rows if row["cached_tokens"]]
    assert len(sharing) == round(share * len(rows))
    assert {row["cached_tokens"] for row in sharing} == {64}
    assert summary.cache_hit_ratio == pytest.approx(share * 64 / 96)
    assert summary.engine_cache_hit_ratio == pytest.approx(share * 64 / 96)


def test_a_system_prompt_is_in_the_cache_from_the_first_request_on(bench: Bench) -> None:
    _, rows, _ = bench.measure(cache="shared", endpoint="chat", system_prompt="You are a helpful assistant.")
    cached = {row["cached_tokens"] for row in rows}
    assert len(cached) == 1
    assert min(cached) > 10
    assert {row["prompt_tokens"] for row in rows} == {96}


def test_drawn_lengths_are_what_the_engine_counts(bench: Bench) -> None:
    lengths = {"prompt_tokens": {"kind": "uniform", "min": 40, "max": 120}}
    for endpoint in ("completions", "chat"):
        answers = {"output_tokens": {"kind": "normal", "mean": 8, "std": 3}}
        _, rows, _ = bench.measure(**lengths, **answers, endpoint=endpoint)
        told = [(row["prompt_tokens"], row["output_tokens"], row["outcome"]) for row in rows]
        assert told == [(row["prompt_tokens_asked"], row["output_tokens_asked"], "completed") for row in rows]


def test_a_datasets_texts_have_the_tokens_that_the_tokenizer_tells(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "dolly.jsonl"
    texts = [f"Tell me of the {word}, please, and of {n} more." for n, word in enumerate(("sea", "moon", "wind"))]
    lines = [json.dumps({"instruction": text, "context": "", "response": "Well then."}) for text in texts]
    path.write_text("\n".join(lines))
    data = {"prompts": {"kind": "dataset", "path": str(path)}, "prompt_tokens": {"kind": "data"}}
    for endpoint in ("completions", "chat"):
        _, rows, _ = bench.measure(**data, endpoint=endpoint, output_tokens={"kind": "data"})
        assert len({row["prompt_tokens"] for row in rows}) > 1
        assert all(abs(row["prompt_tokens"] - row["prompt_tokens_asked"]) <= 1 for row in rows)
        assert {row["output_tokens"] for row in rows} == {row["output_tokens_asked"] for row in rows}
        assert {row["outcome"] for row in rows} == {"completed"}


def test_answers_follow_the_schema_until_they_end_by_themselves(bench: Bench) -> None:
    _, rows, preflight = bench.measure(json_schema=SCHEMA, endpoint="chat", output_tokens=120)
    assert {row["outcome"] for row in rows} == {"completed"}
    assert "stop" in {row["finish_reason"] for row in rows}
    assert preflight.refused == ()
