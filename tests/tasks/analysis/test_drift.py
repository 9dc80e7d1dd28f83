"""The drift test keeps its level on noise and finds a real step."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from experiments.schema.load import ClosedLoop, Constant, Gamma, OpenLoop, Poisson, Trace
from tasks.analysis.columns import Columns, read_columns
from tasks.analysis.drift import FEWEST_PER_HALF, LEAST_DRIFT, compare_halves, drift, merged
from tasks.loadgen.record import RequestRecord, records_table

ONE_USER = ClosedLoop(concurrency=1)
MakeRecord = Callable[..., RequestRecord]


def test_noise_alone_is_not_called_drift() -> None:
    random = np.random.default_rng(11)
    assert not any(compare_halves(random.normal(100, 20, size=40)).is_beyond_noise for _ in range(150))


def test_the_p_value_is_uniform_on_noise() -> None:
    random = np.random.default_rng(12)
    p_values = [compare_halves(random.exponential(size=14)).p_value or 0.0 for _ in range(300)]
    assert np.mean(np.array(p_values) <= 0.1) == pytest.approx(0.1, abs=0.05)


def test_a_step_beyond_the_noise_is_found_with_its_size() -> None:
    random = np.random.default_rng(13)
    found = compare_halves(np.concatenate((random.normal(100, 3, size=20), random.normal(85, 3, size=20))))
    assert found.is_beyond_noise
    assert found.change == pytest.approx(-0.15, abs=0.03)


def test_the_fewest_batches_can_still_reject() -> None:
    sharp = compare_halves(np.array([100.0 + i for i in range(7)] + [200.0 + i for i in range(7)]))
    assert FEWEST_PER_HALF == 7
    assert sharp.is_beyond_noise


def test_a_certain_but_small_change_is_left_alone() -> None:
    found = compare_halves(np.concatenate((np.linspace(100, 100.1, 20), np.linspace(101, 101.1, 20))))
    assert found.p_value is not None
    assert found.p_value <= 0.001
    assert abs(found.change or 0) < LEAST_DRIFT
    assert not found.is_beyond_noise


@pytest.fixture
def trial(record: MakeRecord, origin_ns: int) -> Callable[..., Columns]:
    def make(count: int, slow_from: int) -> Columns:
        """One user; answers take twice as long from request `slow_from` on."""
        records, now = [], 0.0
        for i in range(count):
            step = 10.0 if i < slow_from else 20.0
            chunks = [now + step * (k + 1) * (1 + 0.01 * ((i * 7 + k) % 3)) for k in range(8)]
            records.append(record(i, now, chunks))
            now = chunks[-1]
        return read_columns(records_table(records), (origin_ns, origin_ns + round(now * 1e6)))

    return make


def test_an_engine_that_slows_down_drifts(trial: Callable[..., Columns]) -> None:
    assert drift(trial(100, 60), ONE_USER).is_beyond_noise
    assert not drift(trial(100, 100), ONE_USER).is_beyond_noise


def test_too_few_request_lives_are_not_tested_and_say_so(trial: Callable[..., Columns]) -> None:
    found = drift(trial(12, 6), ONE_USER)
    assert not found.is_beyond_noise
    assert "not tested" in found.reason


def test_noise_that_remembers_is_not_called_drift() -> None:
    """AR(1) noise of ρ = 0.6: taken batch by batch, chance alone looks like drift."""
    random = np.random.default_rng(14)
    called = {"as it is": 0, "merged": 0}
    for _ in range(100):
        batches = np.empty(100)
        batches[0] = random.normal()
        for i in range(1, 100):
            batches[i] = 0.6 * batches[i - 1] + 0.8 * random.normal()
        for name, values in (("as it is", 100 + 20 * batches), ("merged", merged(100 + 20 * batches))):
            called[name] += compare_halves(values).is_beyond_noise
    assert called["as it is"] >= 4
    assert called["merged"] <= 1


def test_a_drift_is_not_taken_for_memory() -> None:
    random = np.random.default_rng(15)
    trend = 100 - 0.3 * np.arange(100) + random.normal(scale=3, size=100)
    assert len(merged(trend)) >= 50
    assert compare_halves(merged(trend)).is_beyond_noise


def test_merging_keeps_every_token_but_a_remainder_of_each_half() -> None:
    slow = np.repeat([1.0, 9.0, 2.0, 8.0, 3.0], 4)
    batches = np.concatenate((slow, slow))
    joined = merged(batches)
    assert len(joined) < len(batches)
    assert len(joined) % 2 == 0
    assert joined.sum() == pytest.approx(batches.sum(), rel=0.3)


def test_in_open_loop_the_noise_of_the_arrivals_is_allowed(trial: Callable[..., Columns]) -> None:
    """A hundred arrivals: 1/√50 in each half, which makes 0.2 of their ratio; less for smoother arrivals."""

    def noise(load: Any) -> float:
        return drift(trial(100, 60), load).arrival_noise

    assert noise(OpenLoop(arrivals=Poisson(), rate_rps=9)) == pytest.approx(0.2)
    assert noise(OpenLoop(arrivals=Gamma(shape=4), rate_rps=9)) == pytest.approx(0.1)
    assert noise(OpenLoop(arrivals=Constant(), rate_rps=9)) == 0.0
    assert drift(trial(100, 60), OpenLoop(arrivals=Constant(), rate_rps=9)).is_beyond_noise
    assert not drift(trial(100, 60), OpenLoop(arrivals=Poisson(), rate_rps=9)).is_beyond_noise


def test_a_trace_may_drift(trial: Callable[..., Columns]) -> None:
    found = drift(trial(100, 60), OpenLoop(arrivals=Trace(path="t"), rate_rps=None))
    assert "trace" in found.reason
