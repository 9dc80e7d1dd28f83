"""Telemetry as MLflow's system metrics: names, units, the wall clock, and not too many samples."""

from datetime import UTC, datetime

import pytest

from tasks.telemetry.record import Telemetry, engine_table, gpu_table
from tasks.telemetry.series import MOST_SAMPLES, telemetry_series

BEGAN = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
ORIGIN_NS = 9_100_000_000_000_001


def test_samples_stand_on_the_wall_clock_in_mlflows_units() -> None:
    rows = [
        [ORIGIN_NS + n * 500_000_000, gpu, 90.0 + n, 40_000_000_000, 500.0, 61.0, 1700, 2600, 0, 1.0 * n]
        for n in range(3)
        for gpu in (0, 1)
    ]
    engine = engine_table([(ORIGIN_NS + 250_000_000, {"running_requests": 7.0})])
    found = telemetry_series(Telemetry(gpu=gpu_table(rows), engine=engine), BEGAN)
    began_ms = 1_795_255_200_000
    assert found["system/gpu_1_utilization_percentage"] == [
        (began_ms, 90.0), (began_ms + 500, 91.0), (began_ms + 1000, 92.0)
    ]  # fmt: skip
    assert found["system/gpu_0_memory_usage_megabytes"][0][1] == pytest.approx(40_000)
    assert found["system/engine_running_requests"] == [(began_ms + 250, 7.0)]


def test_many_samples_become_means_of_neighbours() -> None:
    samples = [(ORIGIN_NS + n * 1_000_000, {"running_requests": float(n % 10)}) for n in range(10 * MOST_SAMPLES)]
    (series,) = telemetry_series(Telemetry(engine=engine_table(samples)), BEGAN).values()
    assert len(series) == MOST_SAMPLES
    assert {value for _, value in series} == {4.5}


def test_what_nobody_looked_at_has_no_series() -> None:
    assert telemetry_series(Telemetry(), BEGAN) == {}
