"""Trials over time: what is drawn is what the records say, and no extreme is lost in thinning."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from experiments.schema.timeline import Timeline, Track
from tasks.analysis.timeline import MOST_DOTS, SLICES, in_flight, thinned, trial_timeline
from tasks.loadgen.record import RequestRecord, records_table
from tasks.telemetry.record import Telemetry, engine_table, gpu_table

Steady = Callable[..., list[RequestRecord]]


def timeline_of(records: list[RequestRecord], telemetry: Telemetry | None = None, *, from_ms: float = 0) -> Timeline:
    start = min(r.due_at_ns for r in records) + round(from_ms * 1e6)
    stop = max(r.end_at_ns or 0 for r in records)
    return trial_timeline(records_table(records), telemetry or Telemetry(), (start, stop))


def track(timeline: Timeline, title: str) -> Track:
    return next(track for track in timeline.tracks if track.title == title)


def test_in_flight_is_the_mean_of_each_slice() -> None:
    """Against a count at ten thousand moments."""
    rng = np.random.default_rng(3)
    sent = rng.uniform(0, 8, 200)
    end = sent + rng.exponential(0.7, 200)
    at_s, flying = in_flight(sent, end, 10.0)
    assert len(at_s) == SLICES
    moments = (np.arange(10_000) + 0.5) / 1000
    counted = ((sent <= moments[:, None]) & (moments[:, None] < end)).sum(axis=1)
    slices = (moments / 10 * SLICES).astype(int)
    for index in range(SLICES):
        assert flying[index] == pytest.approx(counted[slices == index].mean(), abs=0.5)


def test_the_tracks_hold_what_the_records_say(steady_records: Steady) -> None:
    """A request each 100 ms, which is in flight for 50 + 7 × 5 ms and bears 8 tokens."""
    timeline = timeline_of(steady_records(), from_ms=1000)
    assert timeline.span_s == pytest.approx(9.985)
    assert timeline.window_s == pytest.approx((1.0, 9.985))
    assert [track.title for track in timeline.tracks] == ["in flight", "output", "TTFT"]
    flying, output = (np.array(track(timeline, name).curves[0].values) for name in ("in flight", "output"))
    assert flying.mean() * timeline.span_s == pytest.approx(100 * 0.085)
    assert output.mean() * timeline.span_s == pytest.approx(800)
    dots = track(timeline, "TTFT").dots
    assert [round(at, 3) for at, _ in dots] == [round(0.1 * i, 3) for i in range(100)]
    assert {round(value, 6) for _, value in dots} == {50.0}


def test_a_request_that_never_ended_is_in_flight_to_the_end(record: Callable[..., RequestRecord]) -> None:
    records = [record(0, 0.0, [100.0, 1000.0]), record(1, 500.0, end_at_ns=None)]
    flying = track(timeline_of(records), "in flight").curves[0].values
    assert flying[10] == pytest.approx(1.0)
    assert flying[-2] == pytest.approx(2.0)


def test_thinning_keeps_the_extremes() -> None:
    rng = np.random.default_rng(5)
    at_s, values = rng.uniform(0, 60, 5000), rng.lognormal(3, 1, 5000)
    kept = thinned(at_s, values)
    assert len(kept) <= MOST_DOTS
    assert {values.argmax(), values.argmin()} <= set(kept.tolist())
    assert thinned(at_s[:50], values[:50]).tolist() == list(range(50))


def test_what_was_left_out_is_said(steady_records: Steady) -> None:
    dots = track(timeline_of(steady_records(400, gap_ms=10)), "TTFT")
    assert dots.note.startswith(f"{len(dots.dots)} of 400 requests")


def test_the_engine_is_shown_at_its_highest(steady_records: Steady, origin_ns: int) -> None:
    """Ten thousand samples, one of which stands out."""
    samples = [
        (origin_ns + i * 900_000, {"requests_waiting": 77.0 if i == 5123 else 1.0, "kv_cache_usage": 0.5})
        for i in range(10_000)
    ]
    timeline = timeline_of(steady_records(), Telemetry(engine=engine_table(samples)))
    waiting = track(timeline, "waiting").curves[0]
    assert SLICES / 2 < len(waiting.values) <= SLICES
    assert max(waiting.values) == 77.0
    assert waiting.at_s[waiting.values.index(77.0)] == pytest.approx(5123 * 0.0009, abs=0.1)
    assert set(track(timeline, "KV cache in use").curves[0].values) == {50.0}


def gpu_rows(origin_ns: int, index: int, power_w: float, hot: tuple[float, float] = (0, 0)) -> list[list[Any]]:
    return [
        [origin_ns + i * 100_000_000, index, 50.0, 1, power_w, 60.0, 1500, 2000,
         0x8 if hot[0] <= i / 10 < hot[1] else 0x4, None]
        for i in range(90)
    ]  # fmt: skip


def test_gpus_are_a_mean_with_a_band_and_throttling_is_a_span(steady_records: Steady, origin_ns: int) -> None:
    rows = gpu_rows(origin_ns, 0, 300.0) + gpu_rows(origin_ns, 1, 500.0, hot=(2, 4))
    timeline = timeline_of(steady_records(), Telemetry(gpu=gpu_table(rows)))
    power = track(timeline, "power")
    assert power.subject == "2 GPUs"
    assert set(power.curves[0].values) == {400.0}
    assert (set(power.curves[0].low), set(power.curves[0].high)) == ({300.0}, {500.0})
    assert all(earlier < later for earlier, later in pairwise(power.curves[0].at_s))
    (throttled,) = timeline.throttled_s
    assert throttled == pytest.approx((2.0, 4.0))
    assert track(timeline, "busy").top == 100.0
