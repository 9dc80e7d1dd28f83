"""How long a queue remembers, and where a latency curve meets its limit."""

import math
from collections.abc import Callable

import pytest

from experiments.schema.load import Constant, Gamma, Poisson
from experiments.schema.result import Distribution, PointResult
from tasks.analysis.crossing import Seen, crossing
from tasks.analysis.relaxation import (
    arrival_variation,
    ceiling_rps,
    relaxation_s,
    residence_s,
    service_variation,
    witnesses,
)

MakePoint = Callable[..., PointResult]


@pytest.mark.parametrize("load", [0.3, 0.6, 0.9])
def test_of_m_m_1_it_is_the_exact_one(load: float) -> None:
    """1/(√μ − √λ)², beside the residence."""
    exact = 1 / (math.sqrt(50) - math.sqrt(50 * load)) ** 2
    assert relaxation_s(50 * load, 50, variation=2.0, residence_s=0.5) == pytest.approx(0.5 + exact)
    assert relaxation_s(50, 50, variation=2.0, residence_s=0.5) == math.inf


def test_arrivals_vary_by_their_process() -> None:
    assert [arrival_variation(process) for process in (Constant(), Poisson(), Gamma(shape=0.25))] == [0, 1, 4]


def with_e2e(point: PointResult, mean: float, p50: float, p90: float) -> PointResult:
    latencies = {"e2e_ms": Distribution(n=99, mean=mean, p50=p50, p90=p90)}
    return point.model_copy(update={"summary": point.summary.model_copy(update={"latencies": latencies})})


def test_service_varies_by_what_a_request_takes_alone(point: MakePoint) -> None:
    """A normal spread of 10 % has its p90 12.8 % above its median."""
    alone = with_e2e(point(0, "synchronous", 1, completed_rps=10), 100, 100, 112.816)
    assert service_variation([alone]) == pytest.approx(0.01, rel=1e-3)
    assert service_variation([point(0, "saturation", 8)]) == 1.0


def test_the_ceiling_is_the_highest_completed_rate_of_a_valid_point(point: MakePoint) -> None:
    points = [point(0, "synchronous", 1, completed_rps=9), point(1, "saturation", 8, completed_rps=30)]
    assert ceiling_rps([*points, point(2, "saturation", 16, completed_rps=99, valid=False)]) == 30
    assert ceiling_rps([]) is None


def test_a_request_takes_what_it_took_at_the_load_next_below(point: MakePoint) -> None:
    points = [
        with_e2e(point(i, "open_loop", rate), mean, mean, mean)
        for i, (rate, mean) in enumerate([(5, 100), (10, 200), (20, 800)])
    ]  # fmt: skip
    assert residence_s(points, 15) == 0.2
    assert residence_s(points, 1) == 0.1


def test_a_window_holds_a_witness_a_relaxation_time(point: MakePoint) -> None:
    ceiling = point(0, "saturation", 8, completed_rps=100)
    look = point(1, "open_loop", 25.0, window_s=100.0)
    # c_a² + c_s² = 2 where nobody knows the service: 1/(100 (1 − √0.25)²) = 0.04 s
    assert witnesses(look, [ceiling, look])[0] == pytest.approx(2500, abs=1)
    assert witnesses(look, [ceiling, look])[1] == pytest.approx(7500, abs=1)
    beyond = point(1, "open_loop", 110.0, completed_rps=100, window_s=100.0)
    assert witnesses(beyond, [ceiling, beyond]) == (0, beyond.summary.requests)


def test_the_crossing_lies_between_the_last_rate_under_the_limit_and_the_first_over_it() -> None:
    looks = [Seen(10, -1.0, 100, 100), Seen(20, -0.5, 100, 100), Seen(30, 0.5, 100, 100)]
    assert crossing(looks, 40) == pytest.approx(25)
    assert crossing(looks[:2], 40) == pytest.approx(20 + 20 * 0.5 / 2.5)
    assert crossing([Seen(10, 0.2, 9, 9)], 40) == pytest.approx(7)


def test_looks_in_the_wrong_order_are_pooled() -> None:
    looks = [Seen(10, 0.4, 100, 100), Seen(20, -0.6, 100, 100), Seen(30, 0.5, 100, 100)]
    assert crossing(looks, 40) == pytest.approx(15 + 15 * 0.1 / 0.6)
