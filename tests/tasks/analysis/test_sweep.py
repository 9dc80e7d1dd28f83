"""The load plan, walked over engines whose throughput is known."""

from collections.abc import Callable

import pytest

from experiments.schema.load import (
    ClosedLoop,
    Constant,
    Gamma,
    Ladder,
    LoadPlan,
    LoadPoint,
    OpenLoop,
    OpenLoopPoints,
    Poisson,
    Ramp,
    Saturation,
    Trace,
)
from experiments.schema.result import Distribution, PointResult
from experiments.schema.slo import parse_slo
from tasks.analysis.sweep import next_point, saturation_point

MakePoint = Callable[..., PointResult]
FRACTIONS = OpenLoopPoints(fractions=(0.3, 0.6, 0.85, 1.1))
PLAN = LoadPlan(open_loop=FRACTIONS)


@pytest.fixture
def walk(point: MakePoint) -> Callable[..., list[PointResult]]:
    """Takes every point of the plan on an engine that completes `rps(concurrency)` requests a second."""

    def run(plan: LoadPlan, rps: Callable[[int], float], ceiling: float = 1e9) -> list[PointResult]:
        done: list[PointResult] = []
        while (asked := next_point(plan, done)) is not None:
            assert asked.step == len(done)
            done.append(_measured(point, asked, rps, ceiling))
            assert len(done) < 40
        return done

    return run


def _measured(point: MakePoint, asked: LoadPoint, rps: Callable[[int], float], ceiling: float) -> PointResult:
    load = asked.load
    if isinstance(load, ClosedLoop):
        made = point(asked.step, asked.role, load.concurrency, completed_rps=rps(load.concurrency))
    else:
        made = point(asked.step, asked.role, load.rate_rps or 5.0, completed_rps=min(load.rate_rps or 5.0, ceiling))
    return made.model_copy(update={"point": asked})


def levels(done: list[PointResult], role: str) -> list[float | None]:
    loads = [p.point.load for p in done if p.point.role == role]
    return [load.concurrency if isinstance(load, ClosedLoop) else load.rate_rps for load in loads]


def test_the_order_is_synchronous_saturation_open_loop(walk: Callable[..., list[PointResult]]) -> None:
    """Throughput doubles to 8 users and then stands still at 80 rps; the point at 16 shows it."""
    done = walk(PLAN, lambda users: 10.0 * min(users, 8))
    assert levels(done, "synchronous") == [1]
    assert levels(done, "saturation") == [2, 4, 8, 16]
    assert levels(done, "open_loop") == pytest.approx([24, 48, 68])
    assert levels(done, "overloaded") == pytest.approx([88])
    assert [p.point.role for p in done][:2] == ["synchronous", "saturation"]
    ceiling = saturation_point(done)
    assert ceiling is not None
    assert ceiling.summary.completed_rps == 80


def test_saturation_ends_at_the_highest_concurrency(walk: Callable[..., list[PointResult]]) -> None:
    plan = LoadPlan(saturation=Saturation(max_concurrency=12))
    assert levels(walk(plan, float), "saturation") == [2, 4, 8, 12]


def test_throughput_that_falls_ends_saturation_at_the_peak_before(walk: Callable[..., list[PointResult]]) -> None:
    done = walk(PLAN, lambda users: {1: 10.0, 2: 20.0, 4: 30.0, 8: 50.0, 16: 40.0}[users])
    assert levels(done, "saturation") == [2, 4, 8, 16]
    assert levels(done, "open_loop")[0] == pytest.approx(0.3 * 50)


def test_a_batch_that_fills_late_is_waited_for(walk: Callable[..., list[PointResult]]) -> None:
    """Two and four users gain nothing, eight gain a third."""
    done = walk(PLAN, lambda users: {1: 10.0, 2: 9.8, 4: 10.1, 8: 13.5, 16: 13.6}[users])
    assert levels(done, "saturation") == [2, 4, 8, 16]
    assert levels(done, "overloaded") == pytest.approx([1.1 * 13.6])


def test_a_gain_is_measured_on_the_best_point_so_far(walk: Callable[..., list[PointResult]]) -> None:
    """2 % at each doubling never adds up to a reason to go on."""
    done = walk(PLAN, lambda users: 10.0 * (1.02 ** (users.bit_length() - 1)))
    assert levels(done, "saturation") == [2, 4, 8]


def test_a_server_that_answers_nothing_ends_the_cell(walk: Callable[..., list[PointResult]]) -> None:
    assert [p.point.role for p in walk(PLAN, lambda users: 0.0)] == ["synchronous"]


def test_a_saturation_point_that_fails_leaves_the_rate_to_the_ones_before(
    walk: Callable[..., list[PointResult]],
) -> None:
    done = walk(PLAN, lambda users: 10.0 * users if users <= 2 else 0.0)
    assert levels(done, "saturation") == [2, 4]
    assert levels(done, "overloaded") == pytest.approx([22])


def test_an_invalid_point_does_not_set_the_rate_where_a_valid_one_is(point: MakePoint) -> None:
    done = [
        point(0, "synchronous", 1, completed_rps=10),
        point(1, "saturation", 2, completed_rps=19),
        point(2, "saturation", 4, completed_rps=40, valid=False),
        point(3, "saturation", 8, completed_rps=40, valid=False),
    ]
    asked = next_point(PLAN, done)
    assert asked is not None
    assert isinstance(asked.load, OpenLoop)
    assert asked.load.rate_rps == pytest.approx(0.3 * 19)
    assert saturation_point([p.model_copy() for p in done if not p.summary.valid]) is not None


def test_where_every_trial_is_invalid_the_rates_are_offered_all_the_same(point: MakePoint) -> None:
    done = [point(i, "saturation" if i else "synchronous", 2**i, completed_rps=10, valid=False) for i in range(4)]
    asked = next_point(PLAN, done)
    assert asked is not None
    assert isinstance(asked.load, OpenLoop)
    assert asked.load.rate_rps == pytest.approx(0.3 * 10)


def test_points_have_the_requests_of_the_plan_and_its_seconds(point: MakePoint) -> None:
    plan = LoadPlan(requests_per_point=100, min_seconds=3, max_seconds=20)
    slow = point(0, "synchronous", 1, completed_rps=2.0)
    fast = point(0, "synchronous", 1, completed_rps=500.0)

    def requests(done: list[PointResult], warm_up_rps: float | None = None) -> int | None:
        asked = next_point(plan, done, warm_up_rps=warm_up_rps)
        assert asked is not None
        return asked.stop.requests

    assert requests([]) == 100
    assert requests([], 500.0) == 1500  # three seconds of it
    assert requests([], 2.0) == 40  # twenty seconds of it
    assert requests([], 0.01) == 8
    assert requests([fast]) == 3000  # two users are foreseen to double it
    assert requests([slow]) == 80


def test_users_send_several_requests_each(point: MakePoint) -> None:
    done = [point(i, "saturation" if i else "synchronous", 2**i, completed_rps=2.0**i) for i in range(6)]
    asked = next_point(PLAN, done)
    assert asked is not None
    assert isinstance(asked.load, ClosedLoop)
    assert asked.load.concurrency == 64
    assert asked.stop.requests == 6 * 64


def test_open_loop_points_have_the_requests_that_certifying_takes(point: MakePoint) -> None:
    """Three looks share 1 %: 0.95^n ≤ 0.01/3 from n = 112 on. At 3 rps a queue of Poisson arrivals and unknown service
    (c_a² + c_s² = 2) with a ceiling of 10 rps remembers 1/(10 (1 − √0.3)²) = 0.489 s."""
    done = [point(0, "synchronous", 1, completed_rps=10), point(1, "saturation", 8, completed_rps=10)]
    asked = next_point(
        LoadPlan(requests_per_point=10, max_seconds=37.4, open_loop=FRACTIONS), done, slos=[parse_slo("ttft:p95<300ms")]
    )
    assert asked is not None
    assert asked.role == "open_loop"
    assert asked.stop.requests == 112
    patient = next_point(LoadPlan(requests_per_point=10, open_loop=FRACTIONS), done, slos=[parse_slo("ttft:p95<300ms")])
    assert patient is not None
    assert patient.stop.requests == pytest.approx(1.2 * 112 * 0.489 * 3, rel=0.02)


def test_a_trace_is_replayed_once_at_its_own_rate(walk: Callable[..., list[PointResult]]) -> None:
    plan = LoadPlan(open_loop=OpenLoopPoints(arrivals=Trace(path="t.jsonl")))
    assert levels(walk(plan, lambda users: 10.0), "open_loop") == [None]


def test_a_cell_resumes_at_the_point_it_was_interrupted_at(walk: Callable[..., list[PointResult]]) -> None:
    done = walk(PLAN, lambda users: 10.0 * min(users, 4))
    for i in range(len(done)):
        assert next_point(PLAN, done[:i]) == done[i].point


def latencies(points: list[PointResult], mean_ms: Callable[[float], float]) -> list[PointResult]:
    found = []
    for p in points:
        load = p.point.load
        rate = load.rate_rps or 0.0 if isinstance(load, OpenLoop) else 0.0
        told = {**p.summary.latencies, "ttft_response_ms": Distribution(n=9, mean=mean_ms(rate), p95=3 * mean_ms(rate))}
        found.append(p.model_copy(update={"summary": p.summary.model_copy(update={"latencies": told})}))
    return found


def test_open_loop_rates_near_the_ceiling_and_then_go_where_latency_bends(
    walk: Callable[..., list[PointResult]], point: MakePoint
) -> None:
    """1/(1 − ρ) bends most at its steep end, a step at 55 % of the ceiling bends there."""
    plan = LoadPlan(open_loop=OpenLoopPoints(points=5))
    done = walk(plan, lambda users: 10.0 * min(users, 8))
    assert levels(done, "open_loop")[:3] == pytest.approx([40, 60, 70])
    assert levels(done, "overloaded") == pytest.approx([88])
    assert len(levels(done, "open_loop")) == 5
    first_three = [p for p in done if p.point.role != "overloaded"][:-2]
    steep = next_point(plan, latencies(first_three, lambda rate: 1 / (1.001 - rate / 80)))
    stepped = next_point(plan, latencies([*first_three, steep_at(point, 8, 50.0)], lambda rate: 9 if rate > 44 else 1))
    assert steep is not None
    assert stepped is not None
    assert isinstance(stepped.load, OpenLoop)
    assert stepped.load.rate_rps in (pytest.approx(45), pytest.approx(55))


def steep_at(point: MakePoint, step: int, rate: float) -> PointResult:
    return point(step, "open_loop", rate)


def test_every_arrival_process_is_measured_at_the_same_rates(walk: Callable[..., list[PointResult]]) -> None:
    arrivals = (Poisson(), Constant(), Gamma(shape=0.5))
    plan = LoadPlan(open_loop=OpenLoopPoints(fractions=(0.5, 1.1), arrivals=arrivals))
    done = walk(plan, lambda users: 10.0 * min(users, 8))
    rates = {
        process: [p.point.load.rate_rps for p in done if isinstance(p.point.load, OpenLoop)
                  and p.point.load.arrivals == process]
        for process in arrivals
    }  # fmt: skip
    assert all(rates[process] == pytest.approx([40, 88]) for process in arrivals)
    assert [p.point.load.arrivals for p in done if isinstance(p.point.load, OpenLoop)][:2] == [Poisson(), Poisson()]


def test_a_ladder_is_climbed_rung_by_rung_and_nothing_else(walk: Callable[..., list[PointResult]]) -> None:
    done = walk(LoadPlan(ladder=Ladder(concurrency=(1, 4, 16), seconds=7)), lambda users: 10.0 * users)
    assert levels(done, "ladder") == [1, 4, 16]
    assert len(done) == 3
    assert {p.point.stop.seconds for p in done} == {7}


def test_a_ramp_has_its_users_its_buckets_and_its_ends(walk: Callable[..., list[PointResult]]) -> None:
    done = walk(LoadPlan(ramp=Ramp(users=(10, 50), seconds=60)), lambda users: 10.0 * users)
    assert levels(done, "ramp") == [10, 50]
    assert len(done) == 2
    assert {(p.point.stop.seconds, p.point.stop.ramp_s, p.point.bucket_seconds) for p in done} == {(60, 20, 5)}
