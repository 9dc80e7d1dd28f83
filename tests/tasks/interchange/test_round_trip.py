"""What is exported and imported again is the trial that it was, as far as the format has a place for it."""

import json
import statistics
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from experiments.schema.load import ClosedLoop, Constant, Gamma, Load, OpenLoop, Poisson, Trace
from tasks.import_trial import import_file, summarize_import
from tasks.interchange.measured import read_measured
from tasks.interchange.reading import read_trials
from tasks.interchange.write_guidellm import guidellm_report, guidellm_text
from tasks.interchange.write_vllm import vllm_result, vllm_text
from tasks.loadgen.record import RequestRecord

MakeTrial = Callable[..., Path]
FORMATS = {"guidellm": guidellm_text, "vllm": vllm_text}
PRECISION_NS = {"guidellm": 300, "vllm": 2}
"""A Unix time in seconds is a float of 0.24 µs steps; seconds from the window's start are finer than a nanosecond."""

LOADS: list[Load] = [
    ClosedLoop(concurrency=1),
    ClosedLoop(concurrency=8, think_time_s=0.5),
    OpenLoop(arrivals=Constant(), rate_rps=9.5),
    OpenLoop(arrivals=Poisson(), rate_rps=9.5),
    OpenLoop(arrivals=Gamma(shape=0.3), rate_rps=9.5),
    OpenLoop(arrivals=Trace(path="day.jsonl"), rate_rps=None),
]
OPEN = LOADS[3]


def again(folder: Path, form: str) -> Any:
    path = folder / f"{form}.json"
    path.write_text(FORMATS[form]([read_measured(folder)]))
    (trial,) = read_trials(path)
    return trial


def ended(row: dict[str, Any], name: str, origin: int) -> int | None:
    return None if row[name] is None else row[name] - origin


@pytest.mark.parametrize("form", FORMATS)
def test_times_outcomes_and_counts_survive(trial: MakeTrial, form: str) -> None:
    folder = trial(OPEN)
    before, found = read_measured(folder), again(folder, form)
    old_origin, new_origin = before.point.window_ns[0], found.window[0]
    assert found.window[1] - new_origin == pytest.approx(2_000_000_000, abs=PRECISION_NS[form])
    for old, new in zip(before.rows(), found.table.to_pylist(), strict=True):
        assert new["outcome"] == old["outcome"]
        assert new["error"] == old["error"]
        for name in ("due_at_ns", "sent_at_ns", "last_token_at_ns"):
            assert ended(new, name, new_origin) == pytest.approx(ended(old, name, old_origin), abs=PRECISION_NS[form])
        first = [row["chunk_at_ns"][0] - at for row, at in ((old, old_origin), (new, new_origin)) if row["chunk_at_ns"]]
        assert not first or first[0] == pytest.approx(first[1], abs=PRECISION_NS[form])
        assert new["prompt_tokens"] == old["prompt_tokens"]
        assert new["output_tokens"] == old["output_tokens"]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("load", LOADS, ids=lambda load: load.kind)
def test_the_load_survives(trial: MakeTrial, form: str, load: Load) -> None:
    assert again(trial(load), form).load == load


def test_every_chunk_survives_vllm_s_format(trial: MakeTrial) -> None:
    folder = trial(OPEN)
    found = again(folder, "vllm")
    for old, new in zip(read_measured(folder).rows(), found.table.to_pylist(), strict=True):
        gaps = [[b - a for a, b in pairwise(row["chunk_at_ns"])] for row in (old, new)]
        assert gaps[1] == pytest.approx(gaps[0], abs=2)


@pytest.mark.parametrize("form", FORMATS)
def test_the_figures_of_both_trials_are_equal(trial: MakeTrial, form: str) -> None:
    folder = trial(OPEN)
    before, after = read_measured(folder).point.summary, summarize_import(again(folder, form), ())
    same = ["ttft_ms", "ttft_response_ms", "tpot_compat_ms", "e2e_ms", "e2e_response_ms"]
    same += {"vllm": ["icl_ms", "longest_stall_ms"], "guidellm": ["ttft_answer_ms"]}[form]
    for name in same:
        old, new = before.latencies[name], after.latencies[name]
        assert new.n == old.n > 0
        assert [new.mean, new.p50, new.p95] == pytest.approx([old.mean, old.p50, old.p95], abs=1e-3)
    assert after.outcomes == before.outcomes
    assert after.offered_rps == pytest.approx(before.offered_rps, rel=1e-6)
    assert after.valid is False


def test_vllm_s_summaries_are_its_own_definitions(trial: MakeTrial, outcomes: list[RequestRecord]) -> None:
    found = vllm_result(read_measured(trial(OPEN)))
    done = [r for r in outcomes if r.outcome == "completed"]
    ttft = [(r.chunk_at_ns[0] - (r.sent_at_ns or 0)) / 1e6 for r in done]
    long = [(r, r.output_tokens) for r in done if r.output_tokens and r.output_tokens > 1]
    tpot = [(r.chunk_at_ns[-1] - r.chunk_at_ns[0]) / 1e6 / (n - 1) for r, n in long]
    gaps = [(b - a) / 1e6 for r in done for a, b in pairwise(r.chunk_at_ns)]
    for name, values in {"ttft": ttft, "tpot": tpot, "itl": gaps}.items():
        assert found[f"mean_{name}_ms"] == pytest.approx(statistics.mean(values))
        assert found[f"median_{name}_ms"] == pytest.approx(statistics.median(values))
        assert found[f"std_{name}_ms"] == pytest.approx(statistics.pstdev(values))
        p90 = statistics.quantiles(values, n=10, method="inclusive")[-1]
        assert found[f"p90_{name}_ms"] == pytest.approx(p90)
    assert (found["completed"], found["failed"]) == (15, 4)
    assert found["output_throughput"] == sum(r.output_tokens or 0 for r in done) / 2.0
    assert found["ttfts"][0] == pytest.approx(0.050184)
    assert found["queue_times"][0] == pytest.approx(0.000137)


def test_vllm_s_format_leaves_out_what_is_outside_of_the_window(
    trial: MakeTrial, outcomes: list[RequestRecord]
) -> None:
    for record in outcomes[:3]:
        record.in_window = False
    found = vllm_result(read_measured(trial(OPEN, outcomes)))
    assert len(found["ttfts"]) == found["num_prompts"] == len(outcomes) - 3
    assert found["dyno_requests_outside_the_window_left_out"] == "3"


def test_guidellm_keeps_what_is_outside_of_the_window(trial: MakeTrial, outcomes: list[RequestRecord]) -> None:
    for record in outcomes[:3]:
        record.in_window = False
    found = again(trial(OPEN, outcomes), "guidellm")
    assert found.table["in_window"].to_pylist() == [False] * 3 + [True] * (len(outcomes) - 3)


@pytest.mark.parametrize("name", ["concurrent", "poisson", "errored"])
def test_a_report_of_guidellm_s_own_comes_out_as_it_went_in(
    captured: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    path = captured(name)
    results = import_file(path, (), tmp_path / "out")
    folders = [tmp_path / "out" / str(i) if len(results) > 1 else tmp_path / "out" for i in range(len(results))]
    report = guidellm_report([read_measured(folder) for folder in folders])
    for old, new in zip(json.loads(path.read_text())["benchmarks"], report["benchmarks"], strict=True):
        shift = new["scheduler_metrics"]["measure_start_time"] - old["scheduler_metrics"]["measure_start_time"]
        for status in ("successful", "errored"):
            olds = sorted(old["requests"][status], key=lambda r: r["info"]["timings"]["targeted_start"])
            for a, b in zip(olds, new["requests"][status], strict=True):
                for time in ("targeted_start", "request_start", "first_token_iteration", "last_token_iteration"):
                    was, now = a["info"]["timings"][time], b["info"]["timings"][time]
                    assert now == (None if was is None else pytest.approx(was + shift, abs=1e-6)), time
                for figure in ("time_to_first_token_ms", "inter_token_latency_ms", "request_dispatch_delay"):
                    assert b[figure] == (None if a[figure] is None else pytest.approx(a[figure], abs=2e-3)), figure
                assert (b["output_tokens"], b["prompt_tokens"]) == (a["output_tokens"], a["prompt_tokens"])
        for figure in ("time_to_first_token_ms", "request_latency", "request_concurrency", "output_token_count"):
            was, now = old["metrics"][figure]["successful"], new["metrics"][figure]["successful"]
            assert now["percentiles"] == pytest.approx(was["percentiles"], rel=1e-3, abs=1e-3), figure
            assert now["mean"] == pytest.approx(was["mean"], rel=1e-3, abs=1e-3), figure


def test_a_result_of_vllm_s_own_comes_out_as_it_went_in(vllm_file: Callable[..., Path], tmp_path: Path) -> None:
    path = vllm_file()
    import_file(path, (), tmp_path / "out")
    old, new = json.loads(path.read_text()), vllm_result(read_measured(tmp_path / "out"))
    for name in ("input_lens", "output_lens", "ttfts", "latencies"):
        assert new[name] == pytest.approx(old[name], abs=1e-8), name
    for was, now in zip(old["itls"], new["itls"], strict=True):
        assert now == pytest.approx(was, abs=1e-8)
    for name in ("duration", "completed", "failed", "total_input_tokens", "total_output_tokens", "request_throughput"):
        assert new[name] == pytest.approx(old[name]), name
    for metric in ("ttft", "tpot", "itl"):
        for figure in ("mean", "median", "std", "p99"):
            key = f"{figure}_{metric}_ms"
            assert new[key] == pytest.approx(old[key], rel=1e-5), key
    assert new["model_id"] == "example/model"
    assert new["request_rate"] == 4.0
    assert new["queue_times"] == [None] * 5


def test_gaps_that_guidellm_does_not_save_are_not_made_up_for_vllm(
    captured: Callable[[str], Path], tmp_path: Path
) -> None:
    import_file(captured("poisson"), (), tmp_path / "out")
    found = vllm_result(read_measured(tmp_path / "out"))
    assert "itls" not in found
    assert found["mean_itl_ms"] is None
    assert found["mean_tpot_ms"] is not None
