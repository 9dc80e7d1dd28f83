"""The definitions of a trial's figures, against plain loops over the records."""

import itertools
import math
import random
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.schema.load import ClosedLoop, OpenLoop, Poisson
from experiments.schema.result import TrialSummary
from experiments.schema.slo import parse_slo
from experiments.schema.workload import Workload
from tasks.analysis.trial import summarize_trial
from tasks.loadgen.record import Outcome, RequestRecord, read_records, records_table, write_records

OPEN = OpenLoop(arrivals=Poisson(), rate_rps=10)
CLOSED = ClosedLoop(concurrency=4)
WORKLOAD = Workload(name="w", prompt_tokens=100, output_tokens=8)
MakeRecord = Callable[..., RequestRecord]


def summarize(records: list[RequestRecord], window: tuple[int, int], **changes: Any) -> TrialSummary:
    arguments: dict[str, Any] = {"load": OPEN, "workload": WORKLOAD, "slos": (), "client": {}, "method_version": "1"}
    return summarize_trial(records_table(records), window=window, **(arguments | changes))


def whole(records: list[RequestRecord]) -> tuple[int, int]:
    return min(r.due_at_ns for r in records), max(r.end_at_ns or r.due_at_ns for r in records)


@pytest.fixture
def ragged(record: MakeRecord) -> list[RequestRecord]:
    """600 requests of every kind: coalesced chunks, unknown counts, one token, failures, some out of the window."""
    rng = random.Random(7)
    records = []
    for i in range(600):
        due = i * 20.0
        late, ttft = rng.uniform(0, 1), rng.expovariate(1 / 40)
        steps = [rng.expovariate(1 / 8) for _ in range(rng.randint(0, 12))]
        chunks = list(itertools.accumulate([due + late + ttft, *steps]))
        tokens = [rng.randint(1, 3) for _ in chunks]
        outcome = rng.choices([Outcome.COMPLETED, Outcome.FAILED, Outcome.TIMED_OUT], [0.9, 0.05, 0.05])[0]
        if outcome is Outcome.TIMED_OUT:
            chunks, tokens = chunks[:1], tokens[:1]
        records.append(
            record(
                i, due, chunks, late_ms=late, tokens=tokens, output_tokens=sum(tokens), outcome=outcome,
                end_ms=chunks[-1] + 0.5, in_window=50 <= i < 550,
                chunk_is_answer=[k >= len(chunks) // 3 for k in range(len(chunks))],
                cached_tokens=rng.randint(0, 50),
            )
        )  # fmt: skip
    return records


def ms(later: int, earlier: int | None) -> float:
    assert earlier is not None
    return (later - earlier) / 1e6


def interpolated(values: list[float], quantile: float) -> float:
    """Linear interpolation as the standard library has it: `inclusive` on a hundred parts."""
    return statistics.quantiles(values, n=100, method="inclusive")[round(quantile * 100) - 1]


def loops(records: list[RequestRecord]) -> dict[str, list[float]]:
    """Every latency by the letter of its definition."""
    found: dict[str, list[float]] = {}
    for r in records:
        if not r.in_window or r.outcome is not Outcome.COMPLETED:
            continue
        c, n = r.chunk_at_ns, [t or 0 for t in r.chunk_tokens]
        total = r.output_tokens or 0
        answers = [at for at, answer in zip(c, r.chunk_is_answer, strict=True) if answer]
        gaps = [ms(c[k], c[k - 1]) for k in range(1, len(c))]
        figures = {
            "ttft_ms": [ms(c[0], r.sent_at_ns)],
            "ttft_response_ms": [ms(c[0], r.due_at_ns)],
            "ttft_answer_ms": [ms(answers[0], r.sent_at_ns)],
            "e2e_ms": [ms(c[-1], r.sent_at_ns)],
            "e2e_response_ms": [ms(c[-1], r.due_at_ns)],
            "tpot_ms": [ms(c[-1], c[0]) / (total - n[0])] if len(c) > 1 else [],
            "tpot_compat_ms": [ms(c[-1], c[0]) / (total - 1)] if len(c) > 1 else [],
            "longest_stall_ms": [max(gaps)] if gaps else [],
            "icl_ms": gaps,
            "itl_ms": [gap / n[k + 1] for k, gap in enumerate(gaps) for _ in range(n[k + 1])],
        }
        for name, values in figures.items():
            found.setdefault(name, []).extend(values)
    return found


def test_every_latency_is_that_of_its_definition(ragged: list[RequestRecord]) -> None:
    summary = summarize(ragged, whole(ragged))
    expected = loops(ragged)
    assert set(summary.latencies) == set(expected)
    for name, values in expected.items():
        found = summary.latencies[name]
        assert found.n == len(values)
        assert found.mean == pytest.approx(statistics.fmean(values), rel=1e-9)
        for figure, quantile in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95)):
            assert getattr(found, figure) == pytest.approx(interpolated(values, quantile), rel=1e-9), (name, figure)
        if len(values) >= 459:
            assert found.p99 == pytest.approx(interpolated(values, 0.99), rel=1e-9)


def test_rates_count_what_happened_in_the_window(ragged: list[RequestRecord]) -> None:
    start, stop = ragged[50].due_at_ns, ragged[550].due_at_ns - 1
    summary = summarize(ragged, (start, stop))
    seconds = (stop - start) / 1e9
    inside = [r for r in ragged if r.in_window]
    tokens = sum(
        n or 0
        for r in ragged
        for at, n in zip(r.chunk_at_ns, r.chunk_tokens, strict=True)
        if start <= at <= stop
    )  # fmt: skip
    prompts = sum(r.prompt_tokens or 0 for r in ragged if r.chunk_at_ns and start <= r.chunk_at_ns[0] <= stop)
    assert summary.window_s == pytest.approx(seconds)
    assert summary.offered_rps == pytest.approx(len(inside) / seconds)
    assert summary.achieved_rps == pytest.approx(sum(start <= (r.sent_at_ns or 0) <= stop for r in ragged) / seconds)
    assert summary.completed_rps == pytest.approx(
        sum(r.outcome is Outcome.COMPLETED and start <= (r.end_at_ns or 0) <= stop for r in ragged) / seconds
    )
    assert summary.output_tokens_per_s == pytest.approx(tokens / seconds)
    assert summary.input_tokens_per_s == pytest.approx(prompts / seconds)
    assert summary.total_tokens_per_s == pytest.approx((tokens + prompts) / seconds)
    done = [r for r in inside if r.outcome is Outcome.COMPLETED]
    cached, asked = sum(r.cached_tokens or 0 for r in done), sum(r.prompt_tokens or 0 for r in done)
    assert summary.cache_hit_ratio == pytest.approx(cached / asked)


def test_concurrency_is_the_time_average_of_what_is_in_flight(ragged: list[RequestRecord]) -> None:
    start, stop = ragged[50].due_at_ns, ragged[550].due_at_ns - 1
    summary = summarize(ragged, (start, stop))
    sampled = statistics.fmean(
        sum((r.sent_at_ns or 0) <= t < (r.end_at_ns or 0) for r in ragged) for t in range(start, stop, 17_300_003)
    )
    assert summary.mean_concurrency == pytest.approx(sampled, rel=0.05)
    assert summary.littles_law_concurrency == pytest.approx(summary.mean_concurrency, rel=0.05)


def test_requests_outside_the_window_add_tokens_but_no_latency(record: MakeRecord, origin_ns: int) -> None:
    ramp = record(0, 0, [990.0, 1010.0, 1020.0], in_window=False)
    due = record(1, 1000, [1050.0, 1060.0])
    summary = summarize([ramp, due], (origin_ns + 10**9, origin_ns + 2 * 10**9))
    assert summary.requests == 2
    assert summary.latencies["ttft_ms"].n == 1
    assert summary.offered_rps == 1
    assert summary.output_tokens_per_s == 4


def test_the_drain_of_a_trial_bounded_by_requests_is_not_offered_load(record: MakeRecord, origin_ns: int) -> None:
    """Twenty requests at 10 rps, each answered in three seconds: the last answer comes 4.9 s after the first due."""
    records = [record(i, i * 100.0, [i * 100.0 + 50, i * 100.0 + 3000]) for i in range(20)]
    by_requests = summarize(records, whole(records))
    assert by_requests.window_s == pytest.approx(4.9)
    assert by_requests.offered_rps == pytest.approx(10.0)
    assert by_requests.achieved_rps == pytest.approx(10.0)
    assert by_requests.completed_rps == pytest.approx(20 / 4.9)
    by_seconds = summarize(records, (origin_ns, origin_ns + 2 * 10**9))
    assert by_seconds.offered_rps == pytest.approx(10.0)
    assert by_seconds.completed_rps == 0


def test_one_request_has_no_rate(record: MakeRecord) -> None:
    records = [record(0, 0, [50.0, 100.0])]
    summary = summarize(records, whole(records))
    assert summary.offered_rps is None
    assert "fewer than two times" in summary.reasons["offered_rps"]
    assert summary.reasons["achieved_rps"]


def test_a_client_that_falls_behind_achieves_less_than_is_offered(record: MakeRecord) -> None:
    records = [record(i, i * 100.0, [i * 200.0 + 50], late_ms=i * 100.0) for i in range(20)]
    summary = summarize(records, whole(records))
    assert summary.offered_rps == pytest.approx(10.0)
    assert summary.achieved_rps == pytest.approx(5.0)


def test_closed_loop_offers_no_rate_and_says_why(steady_records: Callable[..., list[RequestRecord]]) -> None:
    records = steady_records(20)
    summary = summarize(records, whole(records), load=CLOSED)
    assert summary.offered_rps is None
    assert "closed loop" in summary.reasons["offered_rps"]
    assert summary.achieved_rps is not None


def test_tpot_takes_one_token_in_the_first_chunk_where_it_is_not_known(record: MakeRecord) -> None:
    unknown = record(0, 0, [10.0, 110.0], tokens=[None, None], output_tokens=11)
    known = record(1, 0, [10.0, 110.0], tokens=[6, 5], output_tokens=11)
    assert summarize([unknown], whole([unknown])).latencies["tpot_ms"].p50 == pytest.approx(10.0)
    assert summarize([known], whole([known])).latencies["tpot_ms"].p50 == pytest.approx(20.0)
    assert summarize([known], whole([known])).latencies["tpot_compat_ms"].p50 == pytest.approx(10.0)


def test_one_token_has_no_tpot_and_says_why(record: MakeRecord) -> None:
    summary = summarize([record(0, 0, [10.0])], (record(0, 0).due_at_ns, record(0, 20).due_at_ns))
    tpot = summary.latencies["tpot_ms"]
    assert tpot.n == 0
    assert tpot.p50 is None
    assert "two chunks" in tpot.reasons["p50"]
    assert summary.per_user_tokens_per_s is None


def test_itl_is_absent_where_one_count_is_unknown_and_icl_is_there(record: MakeRecord) -> None:
    records = [record(0, 0, [10.0, 30.0], tokens=[1, 2], output_tokens=3)]
    assert summarize(records, whole(records)).latencies["itl_ms"].p50 == pytest.approx(10.0)
    records.append(record(1, 100, [110.0, 130.0], tokens=[1, None], output_tokens=3))
    summary = summarize(records, whole(records))
    assert summary.latencies["itl_ms"].p50 is None
    assert "1 of 2 requests" in summary.latencies["itl_ms"].reasons["p50"]
    assert summary.latencies["icl_ms"].n == 2


def test_unknown_counts_spread_the_output_evenly_for_throughput(record: MakeRecord, origin_ns: int) -> None:
    """Ten tokens over four chunks, of which two arrive in the window of one second: five tokens/s."""
    records = [record(0, 0, [500.0, 900.0, 1100.0, 1200.0], tokens=[1, None, 1, 1], output_tokens=10)]
    summary = summarize(records, (origin_ns, origin_ns + 10**9))
    assert summary.output_tokens_per_s == pytest.approx(5.0)


def test_an_answer_in_one_chunk_of_unknown_count_has_all_its_tokens_there(record: MakeRecord, origin_ns: int) -> None:
    records = [record(0, 0, [500.0], tokens=[None], output_tokens=6)]
    assert summarize(records, (origin_ns, origin_ns + 10**9)).output_tokens_per_s == 6


def test_the_gaps_of_a_request_count_once_in_an_interval(record: MakeRecord) -> None:
    """Twenty requests of a hundred gaps each: 2,000 samples, and too few requests for a two-sided p90."""
    rng = random.Random(2)
    records = [
        record(i, i * 3000.0, list(itertools.accumulate([i * 3000.0 + 50, *(rng.uniform(5, 15) for _ in range(100))])))
        for i in range(20)
    ]
    icl = summarize(records, whole(records)).latencies["icl_ms"]
    assert (icl.n, icl.n_is, icl.effective_n["p90"]) == (2000, "gaps", 20)
    assert icl.intervals["p90"][1] is None
    low, high = icl.intervals["p50"]
    assert low is not None
    assert high is not None
    assert low < 9 < 11 < high  # as wide as twenty samples make it


def test_throughput_is_absent_where_nobody_counted(record: MakeRecord) -> None:
    records = [record(0, 0, [10.0, 20.0], tokens=[None, None], output_tokens=None)]
    summary = summarize(records, whole(records))
    assert summary.output_tokens_per_s is None
    assert "tokenizer" in summary.reasons["output_tokens_per_s"]
    assert summary.total_tokens_per_s is None


def test_p99_is_absent_below_459_requests(steady_records: Callable[..., list[RequestRecord]]) -> None:
    few, enough = steady_records(458, gap_ms=10), steady_records(459, gap_ms=10)
    absent = summarize(few, whole(few)).latencies["ttft_ms"]
    assert absent.p99 is None
    assert absent.reasons["p99"] == "p99 needs 459 requests; there are 458"
    assert summarize(enough, whole(enough)).latencies["ttft_ms"].p99 == pytest.approx(50.0)


def test_a_percentile_has_an_interval_or_one_side_of_it(record: MakeRecord) -> None:
    rng = random.Random(1)

    def trial(count: int) -> TrialSummary:
        records = [record(i, i * 100.0, [i * 100.0 + rng.uniform(10, 90)]) for i in range(count)]
        return summarize(records, (records[0].due_at_ns, records[-1].due_at_ns + 10**8))

    few, many = trial(30).latencies["ttft_ms"], trial(300).latencies["ttft_ms"]
    low, high = few.intervals["p90"]
    assert low is not None
    assert high is None
    low, high = many.intervals["p95"]
    assert low is not None
    assert high is not None
    assert many.p95 is not None
    assert low < many.p95 < high


def test_a_trial_in_which_nothing_completed_has_reasons_instead_of_figures(record: MakeRecord, origin_ns: int) -> None:
    records = [
        record(0, 0, outcome=Outcome.NEVER_SENT, sent_at_ns=None, end_at_ns=None, output_tokens=None),
        record(1, 10, outcome=Outcome.FAILED, output_tokens=None),
    ]
    summary = summarize(records, (origin_ns, origin_ns + 10**9), slos=[parse_slo("ttft:p95<1s")])
    assert summary.outcomes == {"completed": 0, "failed": 1, "timed_out": 0, "cancelled": 0, "never_sent": 1}
    assert summary.latencies["ttft_ms"].reasons["p50"] == "no request due in the window completed"
    assert summary.output_tokens_per_s is None
    assert summary.slos[0].attainment == 0.0
    assert summary.slos[0].percentile_ms is None
    assert not summary.valid


def test_every_figure_is_recomputed_from_the_file_alone(ragged: list[RequestRecord], tmp_path: Path) -> None:
    path = tmp_path / "requests.parquet"
    write_records(path, records_table(ragged))
    again = summarize_trial(
        read_records(path), window=whole(ragged), load=OPEN, workload=WORKLOAD, slos=(), client={}, method_version="1"
    )
    assert again == summarize(ragged, whole(ragged))
    assert TrialSummary.model_validate_json(again.model_dump_json()) == again
    assert all(math.isfinite(d.mean) for d in again.latencies.values() if d.mean is not None)


def test_an_empty_window_is_refused(record: MakeRecord, origin_ns: int) -> None:
    with pytest.raises(ValueError, match="window ends"):
        summarize([record(0, 0, [1.0])], (origin_ns, origin_ns))


@pytest.mark.parametrize(
    ("counters", "ratio", "reason"),
    [
        ({"prompt_tokens": 200.0, "cached_prompt_tokens": 50.0}, 0.25, ""),
        ({"uncached_prompt_tokens": 150.0, "cached_prompt_tokens": 50.0}, 0.25, ""),
        ({"prompt_tokens": 0.0, "cached_prompt_tokens": 0.0}, None, "saw no prompt"),
        ({"cached_prompt_tokens": 5.0}, None, "does not count its prompts"),
        ({"prompt_tokens": 5.0}, None, "no counter of prompt tokens from its cache"),
        ({}, None, "as given"),
    ],
)
def test_the_engines_hit_ratio_is_the_share_of_all_prompt_tokens(
    record: MakeRecord, counters: dict[str, float], ratio: float | None, reason: str
) -> None:
    records = [record(0, 0, [10, 20])]
    why = "" if counters else "as given"
    summary = summarize(records, whole(records), counters=counters, counters_reason=why)
    assert summary.engine_cache_hit_ratio == ratio
    assert reason in summary.reasons.get("engine_cache_hit_ratio", "")
    assert (ratio is None) == ("engine_cache_hit_ratio" in summary.reasons)
