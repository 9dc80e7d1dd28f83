"""The doctor's account is one of real trials against the null server."""

import math
from pathlib import Path

import numpy as np

from experiments.schema.load import ClosedLoop
from tasks.loadgen.doctor import RATES_RPS, Stage, _diagnosis, null_server, rows, run_doctor
from tests.reference_server import get
from tests.tasks.loadgen.trials import Trial, outcomes


def test_each_stage_carries_what_was_offered() -> None:
    found = run_doctor(streams=[3], rates_rps=[50.0], seconds=1.2)
    streams, rate = found.stages
    assert (streams.streams, streams.rate_rps) == (3, None)
    assert (rate.streams, rate.rate_rps) == (None, 50.0)
    assert 0 < streams.events_per_s <= 3 * 50 / 0.95
    assert 0 < streams.delivered <= 1
    assert all(0 <= stage.stamp_error_p50_us <= stage.stamp_error_p99_us < math.inf for stage in found.stages)
    assert [row["streams"] for row in rows(found)] == [3, None]


def test_the_null_server_logs_what_it_sent(tmp_path: Path) -> None:
    with null_server(5.0, 1.0) as url:
        _, found = Trial(url, load=ClosedLoop(concurrency=2), output_tokens=7).run(tmp_path)
        log = get(f"{url}/log")
    assert outcomes(found) == ["completed"] * 6
    assert [len(sent) for sent in log.values()] == [7] * 6
    assert all(np.diff(sent).min() > 0 for sent in log.values())


def stage(streams: int | None, rate_rps: float | None, *, holds: bool, lateness_p99_ms: float = 1.0) -> Stage:
    return Stage(streams, rate_rps, 100.0, 1.0, 0.1, lateness_p99_ms, 5.0, 9.0, 10.0, 0.1, 0.2, holds)


def test_only_what_held_is_offered() -> None:
    found = _diagnosis(
        [
            stage(64, None, holds=True, lateness_p99_ms=0.4),
            stage(512, None, holds=False, lateness_p99_ms=30.0),
            stage(None, RATES_RPS[0], holds=True, lateness_p99_ms=0.7),
        ],
        "normal",
    )
    assert (found.streams, found.rate_rps, found.lateness_p99_ms) == (64, RATES_RPS[0], 0.7)
    nothing = _diagnosis([stage(1, None, holds=False)], "normal")
    assert (nothing.streams, nothing.lateness_p99_ms) == (0, None)
