"""Reports that GuideLLM 0.8.1 wrote, as trials. Expected values are the figures that GuideLLM put beside them."""

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.errors import InputError
from experiments.schema.load import ClosedLoop, OpenLoop, Poisson
from tasks.import_trial import summarize_import
from tasks.interchange.read_guidellm import read_guidellm
from tasks.interchange.reading import detect

Captured = Callable[[str], Path]


def changed(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    report = json.loads(path.read_text())
    change(report)
    path.write_text(json.dumps(report))
    return path


def test_a_report_is_known_by_its_keys(captured: Captured) -> None:
    assert detect(captured("poisson")) == "guidellm"


def test_each_benchmark_is_a_trial_with_its_load(captured: Captured) -> None:
    loads = [trial.load for trial in read_guidellm(captured("concurrent"))]
    assert loads == [ClosedLoop(concurrency=1), ClosedLoop(concurrency=2)]
    assert [trial.load for trial in read_guidellm(captured("poisson"))] == [OpenLoop(arrivals=Poisson(), rate_rps=20.0)]


def test_the_source_is_named(captured: Captured) -> None:
    source = read_guidellm(captured("poisson"))[0].source
    assert (source.tool, source.version, source.file, source.model) == (
        "guidellm", "0.8.1", "poisson.json", "fake:steady",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["concurrent", "poisson"])
def test_our_figures_are_those_that_guidellm_computed(captured: Captured, name: str) -> None:
    path = captured(name)
    for trial, benchmark in zip(read_guidellm(path), json.loads(path.read_text())["benchmarks"], strict=True):
        summary, requests = summarize_import(trial, ()), benchmark["requests"]["successful"]
        for ours, theirs in (("ttft_ms", "time_to_first_token_ms"), ("tpot_ms", "inter_token_latency_ms")):
            values = [request[theirs] for request in requests]
            assert summary.latencies[ours].mean == pytest.approx(statistics.mean(values), abs=1e-3)
            assert summary.latencies[ours].p50 == pytest.approx(statistics.median(values), abs=1e-3)
        late = [1000 * request["request_dispatch_delay"] for request in requests]
        assert summary.lateness_ms.mean == pytest.approx(statistics.mean(late), abs=1e-3)
        assert summary.window_s == pytest.approx(benchmark["duration"], abs=1e-6)
        assert summary.output_tokens == sum(request["output_tokens"] for request in requests)


def test_gaps_between_chunks_are_absent_with_their_reason(captured: Captured) -> None:
    latencies = summarize_import(read_guidellm(captured("poisson"))[0], ()).latencies
    for name in ("icl_ms", "itl_ms", "longest_stall_ms"):
        assert latencies[name].n == 0
        assert "between" in latencies[name].reasons["p50"]


def test_cached_tokens_do_not_accuse_a_file_without_a_cache_policy(captured: Captured) -> None:
    summary = summarize_import(read_guidellm(captured("concurrent"))[0], ())
    assert summary.cache_hit_ratio is not None
    assert summary.cache_hit_ratio > 0.5
    assert not any("cold" in reason for reason in summary.invalid_reasons)


def test_errors_are_failures_with_their_text(captured: Captured) -> None:
    (trial,) = read_guidellm(captured("errored"))
    found = trial.table.to_pylist()
    assert [row["outcome"] for row in found] == ["failed"] * 3
    assert all("Server disconnected" in row["error"] for row in found)
    assert all(row["due_at_ns"] < row["sent_at_ns"] < row["end_at_ns"] for row in found)


def test_a_cancelled_request_is_no_failure(captured: Captured) -> None:
    def cancel(report: dict[str, Any]) -> None:
        requests = report["benchmarks"][0]["requests"]
        requests["incomplete"] = [requests["successful"].pop()]

    (trial,) = read_guidellm(changed(captured("poisson"), cancel))
    assert sorted(trial.table["outcome"].to_pylist()) == ["cancelled", "completed", "completed"]


def test_reasoning_is_told_from_the_answer(captured: Captured) -> None:
    def think(report: dict[str, Any]) -> None:
        timings = report["benchmarks"][0]["requests"]["successful"][0]["info"]["timings"]
        timings["first_output_token_iteration"] = timings["first_token_iteration"] + 0.01

    (trial,) = read_guidellm(changed(captured("poisson"), think))
    first = trial.table.to_pylist()[0]
    assert first["chunk_is_answer"] == [False, True, True]
    assert first["chunk_at_ns"][1] - first["chunk_at_ns"][0] == pytest.approx(10_000_000, abs=1000)


def test_rates_of_a_thinned_out_report_are_absent(captured: Captured) -> None:
    (trial,) = read_guidellm(
        changed(captured("poisson"), lambda report: report["benchmarks"][0]["requests"]["successful"].pop())
    )
    summary = summarize_import(trial, ())
    assert summary.output_tokens_per_s is None
    assert summary.reasons["output_tokens_per_s"] == "the file has 2 of 3 requests"
    assert summary.latencies["ttft_ms"].n == 2


def test_tokens_over_the_window_s_edge_are_not_attributed(captured: Captured) -> None:
    def cut(report: dict[str, Any]) -> None:
        metrics = report["benchmarks"][0]["scheduler_metrics"]
        metrics["measure_end_time"] = metrics["measure_start_time"] + 0.04

    (trial,) = read_guidellm(changed(captured("poisson"), cut))
    assert "edges" in trial.absent["output_tokens_per_s"]
    assert trial.table["in_window"].to_pylist() == [True, False, False]


@pytest.mark.parametrize(("version", "said"), [(1, "schema version 1"), (3, "schema version 3"), (None, "no schema")])
def test_another_schema_version_is_refused_by_name(captured: Captured, version: int | None, said: str) -> None:
    path = changed(captured("poisson"), lambda report: report["metadata"].update(version=version))
    with pytest.raises(InputError, match=f"metadata.version: .*{said}"):
        read_guidellm(path)


def test_an_unknown_strategy_is_named(captured: Captured) -> None:
    def rename(report: dict[str, Any]) -> None:
        report["benchmarks"][0]["config"]["strategy"]["type_"] = "telepathy"

    with pytest.raises(InputError, match=r"benchmarks\[0\].config.strategy.type_: 'telepathy'"):
        read_guidellm(changed(captured("poisson"), rename))


def test_fields_of_a_later_guidellm_are_let_be(captured: Captured) -> None:
    before = read_guidellm(captured("poisson"))[0].table

    def add(report: dict[str, Any]) -> None:
        report["new"] = report["benchmarks"][0]["new"] = float("nan")
        report["benchmarks"][0]["requests"]["successful"][0]["info"]["timings"]["new"] = 1

    assert read_guidellm(changed(captured("poisson"), add))[0].table.equals(before)
