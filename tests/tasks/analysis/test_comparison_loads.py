"""Which points a launch of a comparison measures: the same for both sides, then its own looks for a capacity."""

import pytest

from experiments.schema.load import CapacitySearch, ClosedLoop, LoadPlan, OpenLoop, Poisson
from experiments.schema.load import LoadPoint as Point
from experiments.schema.result import Distribution, PointResult, SLOAttainment, TrialSummary
from experiments.schema.slo import parse_slo
from tasks.analysis.comparison_loads import comparison_points, next_compared_point

CEILING_RPS = 40.0
SLO = parse_slo("ttft:p95<100ms")
SEARCHES = LoadPlan(requests_per_point=60, capacity=CapacitySearch(budget_seconds=600))


def measured(point: Point, share_over: float = 0.0) -> PointResult:
    rate = point.load.rate_rps if isinstance(point.load, OpenLoop) else None
    seen = SLOAttainment(
        slo=str(SLO), attainment=None, goodput_rps=None, verdict="unknown", n=600, effective_n=600,
        share_over=share_over, percentile_ms=50.0 + 100 * share_over,
    )  # fmt: skip
    summary = TrialSummary(
        method_version="2", requests=600, outcomes={"completed": 600}, valid=True, window_s=30.0,
        achieved_rps=rate or CEILING_RPS, completed_rps=rate or CEILING_RPS, output_tokens_per_s=640.0, slos=(seen,),
        latencies={"e2e_ms": Distribution(n=600, mean=30.0, p50=30.0, p90=32.0)},
    )  # fmt: skip
    return PointResult(point=point, summary=summary, directory="p", started_at="2026-11-21T00:00:00+00:00")


@pytest.fixture
def fixed() -> tuple[Point, ...]:
    pilot = Point(step=3, role="saturation", load=ClosedLoop(concurrency=8), stop={"requests": 60})
    return comparison_points(SEARCHES, [measured(pilot)])


def test_a_launch_measures_the_ceiling_and_three_shares_of_its_rate(fixed: tuple[Point, ...]) -> None:
    assert fixed[0].load == ClosedLoop(concurrency=8)
    assert [point.load.rate_rps for point in fixed[1:] if isinstance(point.load, OpenLoop)] == [12.0, 24.0, 34.0]
    done: list[PointResult] = []
    plan = SEARCHES.model_copy(update={"capacity": None})
    while (point := next_compared_point(plan, fixed, done, (SLO,))) is not None:
        done.append(measured(point))
    assert tuple(one.point for one in done) == fixed


def test_after_those_it_looks_for_a_capacity_where_the_plan_asks(fixed: tuple[Point, ...]) -> None:
    done = [measured(point, share_over=0.5 if point.step == 3 else 0.0) for point in fixed]
    look = next_compared_point(SEARCHES, fixed, done, (SLO,))
    assert look is not None
    assert (look.step, look.role, look.slo) == (4, "capacity", str(SLO))
    assert isinstance(look.load, OpenLoop)
    assert look.load.arrivals == Poisson()
    assert look.load.rate_rps is not None
    assert 12.0 < look.load.rate_rps < 34.0


def test_without_a_ceiling_of_the_pilot_nothing_is_measured() -> None:
    assert next_compared_point(SEARCHES, (), [], (SLO,)) is None
