"""Each rule of invalidity: provoked by records built by hand, beside a valid neighbour that passes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from experiments.schema.load import ClosedLoop, Constant, Load, OpenLoop
from experiments.schema.workload import Workload
from tasks.analysis.trial import summarize_trial
from tasks.loadgen.record import Outcome, RequestRecord, records_table

Records = list[RequestRecord]
Steady = Callable[..., Records]
OPEN: Load = OpenLoop(arrivals=Constant(), rate_rps=10)
SOUND = {"cpu_share": 0.3, "loop_delay_p99_ms": 0.2, "stamp": "kernel", "events_sharing_a_stamp": 0.0}


def reasons(records: Records, load: Load = OPEN, window_ms: float | None = None, **changes: Any) -> tuple[str, ...]:
    start = min(r.due_at_ns for r in records)
    stop = max(r.end_at_ns or 0 for r in records) if window_ms is None else start + round(window_ms * 1e6)
    arguments: dict[str, Any] = {"client": SOUND, "workload": Workload(name="w", prompt_tokens=100, output_tokens=8)}
    summary = summarize_trial(
        records_table(records), window=(start, stop), load=load, slos=(), method_version="1", **(arguments | changes)
    )
    assert summary.valid is not bool(summary.invalid_reasons)
    return summary.invalid_reasons


def later(records: Records, indices: range, ms: float) -> Records:
    """The same requests, some of them sent later than they were due."""
    return [replace(r, sent_at_ns=r.due_at_ns + round(ms * 1e6)) if r.index in indices else r for r in records]


def test_a_sound_trial_is_valid(steady_records: Steady) -> None:
    assert reasons(steady_records()) == ()


def test_a_late_client_is_invalid_from_2_ms(steady_records: Steady) -> None:
    (reason,) = reasons(later(steady_records(), range(5), 2.1))
    assert "2.1 ms" in reason
    assert "above 2 ms" in reason
    assert reasons(later(steady_records(), range(5), 1.9)) == ()
    assert reasons(later(steady_records(), range(1), 500)) != ()
    assert reasons(later(steady_records(200), range(1), 2.5)) == ()  # one in two hundred is beyond the p99


def test_a_slow_server_allows_one_percent_of_its_ttft(steady_records: Steady) -> None:
    slow = steady_records(100, gap_ms=1000, ttft_ms=900)
    assert reasons(later(slow, range(5), 8.5)) == ()
    assert "9" in reasons(later(slow, range(5), 9.5))[0]


def test_closed_loop_says_turnaround(steady_records: Steady) -> None:
    (reason,) = reasons(later(steady_records(), range(5), 4), load=ClosedLoop(concurrency=1))
    assert "turnaround" in reason


def test_a_client_without_headroom_is_invalid(steady_records: Steady) -> None:
    (reason,) = reasons(steady_records(), client=SOUND | {"cpu_share": 0.91})
    assert "91%" in reason
    assert reasons(steady_records(), client=SOUND | {"cpu_share": 0.84}) == ()


def test_user_stamps_need_a_loop_in_time(steady_records: Steady) -> None:
    late = {"stamp": "user", "loop_delay_p99_ms": 3.0}
    assert "user-space" in reasons(steady_records(), client=SOUND | late)[0]
    assert reasons(steady_records(), client=SOUND | late | {"stamp": "kernel"}) == ()
    assert reasons(steady_records(), client=SOUND | late | {"loop_delay_p99_ms": 1.0}) == ()


@pytest.mark.parametrize("realised", [98, 102])
def test_prompts_of_another_length_are_invalid(steady_records: Steady, realised: int) -> None:
    (reason,) = reasons([replace(r, prompt_tokens=realised) for r in steady_records()])
    assert "prompt tokens are 2.0% off" in reason
    assert reasons([replace(r, prompt_tokens=realised if r.index < 50 else 100) for r in steady_records()]) == ()


def test_a_prompt_too_long_does_not_make_up_for_one_too_short(steady_records: Steady) -> None:
    mixed = [replace(r, prompt_tokens=90 if r.index % 2 else 110) for r in steady_records()]
    assert "10.0% off" in reasons(mixed)[0]


def test_answers_that_end_early_are_invalid_by_their_length(steady_records: Steady) -> None:
    short = [
        replace(r, output_tokens=4, outcome=Outcome.FAILED, finish_reason="stop") if r.index < 5 else r
        for r in steady_records()
    ]
    found = reasons(short)
    assert any("output tokens are 2.5% off" in reason for reason in found)


def test_more_than_one_error_in_a_hundred_is_invalid(steady_records: Steady) -> None:
    def failing(count: int) -> Records:
        return [replace(r, outcome=Outcome.TIMED_OUT) if r.index < count else r for r in steady_records()]

    assert reasons(failing(1)) == ()
    (reason,) = reasons(failing(2))
    assert "2.0% of 100" in reason
    assert "2 timed_out" in reason


def test_a_cold_workload_that_hits_the_cache_is_invalid(steady_records: Steady) -> None:
    (reason,) = reasons([replace(r, cached_tokens=2) for r in steady_records()])
    assert "2.0%" in reason
    assert reasons([replace(r, cached_tokens=1) for r in steady_records()]) == ()
    assert reasons([replace(r, cached_tokens=None) for r in steady_records()]) == ()


def test_a_window_that_no_request_fits_into_is_invalid(steady_records: Steady) -> None:
    """Requests live 85 ms."""
    assert "shorter than the median request" in reasons(steady_records(), window_ms=80)[0]
    assert reasons(steady_records(), window_ms=90) == ()


def slowing(count: int, slow_from: int, record: Callable[..., RequestRecord]) -> Records:
    records, now = [], 0.0
    for i in range(count):
        step = 10.0 if i < slow_from else 13.0
        records.append(record(i, now, [now + 50 + step * k for k in range(8)]))
        now += 50 + step * 7
    return records


def test_throughput_that_drifts_is_invalid_unless_overloaded(record: Callable[..., RequestRecord]) -> None:
    load = ClosedLoop(concurrency=1)
    (reason,) = reasons(slowing(100, 50, record), load=load)
    assert "drifted by -1" in reason
    assert reasons(slowing(100, 100, record), load=load) == ()
    assert reasons(slowing(100, 50, record), load=load, overloaded=True) == ()


def test_what_the_instrument_found_is_a_reason(steady_records: Steady) -> None:
    assert reasons(steady_records(), findings=("the clock stepped by 80 µs",)) == ("the clock stepped by 80 µs",)


def test_merged_reads_count_only_where_the_client_came_late(steady_records: Steady) -> None:
    """A server that writes four tokens at once shares every stamp, and each of them is true."""
    pairs = [replace(r, chunk_at_ns=[r.chunk_at_ns[k - k % 4] for k in range(8)]) for r in steady_records()]
    assert reasons(pairs) == ()
    (reason,) = reasons(pairs, client=SOUND | {"loop_delay_p99_ms": 6.0})
    assert "100% of the token chunks" in reason
    assert "6 ms late" in reason
    assert reasons(steady_records(), client=SOUND | {"loop_delay_p99_ms": 6.0}) == ()


def test_an_unknown_delay_is_held_against_a_busy_client_only(steady_records: Steady) -> None:
    pairs = [replace(r, chunk_at_ns=[r.chunk_at_ns[k - k % 2] for k in range(8)]) for r in steady_records()]
    assert reasons(pairs, client=SOUND | {"loop_delay_p99_ms": None}) == ()
    found = reasons(pairs, client=SOUND | {"loop_delay_p99_ms": None, "cpu_share": 0.95})
    assert any("unknown time" in reason for reason in found)


def test_a_window_without_requests_is_invalid(steady_records: Steady) -> None:
    assert "no request was due" in reasons([replace(r, in_window=False) for r in steady_records()])[0]


def cached(records: Records, tokens: int) -> Records:
    return [replace(r, cached_tokens=tokens, prompt_tokens=1000, prompt_tokens_asked=1000) for r in records]


def asked(**fields: Any) -> dict[str, Any]:
    return {"workload": Workload.model_validate({"name": "w", "prompt_tokens": 1000, "output_tokens": 8} | fields)}


HOT = asked(cache="hot")
SHARED = asked(cache="shared", shared_prefix={"tokens": 500, "share": 0.8})
SYSTEM = asked(cache="shared", shared_prefix={"tokens": 500, "share": 0.8}, system_prompt="Be brief.")


@pytest.mark.parametrize(
    ("workload", "tokens", "complaint"),
    [
        (HOT, 999, ""),
        (HOT, 870, ""),
        (HOT, 860, "a hot workload took 86.0% of its prompt tokens from the server's cache where 100.0% were asked"),
        (SHARED, 400, ""),
        (SHARED, 270, ""),
        (SHARED, 260, "a shared workload took 26.0% of its prompt tokens from the server's cache where 40.0%"),
        (SHARED, 540, "see what else the server knew"),
        (SYSTEM, 540, ""),
        (SYSTEM, 260, "turn prefix caching on"),
        (asked(cache="shared", system_prompt="Be brief."), 0, ""),
    ],
)
def test_a_hit_ratio_far_from_what_is_shared_is_a_finding(
    steady_records: Steady, workload: dict[str, Any], tokens: int, complaint: str
) -> None:
    found = reasons(cached(steady_records(), tokens), **workload)
    assert (complaint in found[0]) if complaint else found == ()


def test_a_server_that_tells_no_cached_tokens_contradicts_nothing(steady_records: Steady) -> None:
    assert reasons([replace(r, cached_tokens=None) for r in cached(steady_records(), 0)], **HOT) == ()


def test_lengths_that_were_not_asked_cannot_be_off(steady_records: Steady) -> None:
    unasked = [replace(r, prompt_tokens_asked=None, output_tokens_asked=None) for r in steady_records()]
    assert reasons(unasked) == ()
