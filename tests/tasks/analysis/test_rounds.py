"""Cells of several launches, of several arrival processes, and trials told in buckets."""

from collections.abc import Callable

import numpy as np
import pytest

from experiments.schema.load import Constant, LoadPlan, OpenLoop, OpenLoopPoints, Poisson, Saturation
from experiments.schema.result import Distribution, PointResult
from experiments.schema.slo import parse_slo
from tasks.analysis.buckets import buckets
from tasks.analysis.cell import summarize_cell
from tasks.analysis.columns import read_columns
from tasks.analysis.derating import deratings
from tasks.analysis.rounds import launches_of, open_round
from tasks.analysis.sweep import next_point
from tasks.loadgen.record import RequestRecord, records_table

MakePoint = Callable[..., PointResult]
PLAN = LoadPlan(saturation=Saturation(max_concurrency=2), open_loop=OpenLoopPoints(fractions=(0.5,)))
SLO = parse_slo("ttft:p95<300ms")


def one_round(point: MakePoint, launch: int, number: int, rps: float) -> list[PointResult]:
    made = [
        point(0, "synchronous", 1, completed_rps=rps / 2),
        point(1, "saturation", 2, completed_rps=rps),
        point(2, "open_loop", rps / 2),
    ]
    return [one.model_copy(update={"launch": launch, "round": number}) for one in made]


def test_a_round_that_is_whole_is_followed_by_the_next_until_there_are_enough(point: MakePoint) -> None:
    first = one_round(point, 1, 1, 20)
    assert open_round(PLAN, [], [SLO]) == (1, [])
    assert open_round(PLAN, first[:2], [SLO]) == (1, first[:2])
    assert open_round(PLAN, first, [SLO]) is None
    three = PLAN.model_copy(update={"launches": 3})
    assert open_round(three, first, [SLO]) == (2, [])
    begun = one_round(point, 2, 2, 20)[:1]
    assert open_round(three, [*first, *begun], [SLO]) == (2, begun)
    assert launches_of([*first, *begun]) == (1, 2)


def test_headlines_of_several_launches_are_means_with_an_interval(point: MakePoint) -> None:
    plan = PLAN.model_copy(update={"launches": 3})
    points = [one for launch, rps in ((1, 18), (2, 20), (3, 22)) for one in one_round(point, launch, launch, rps)]
    found = summarize_cell(points, slos=[SLO], plan=plan)
    assert found.headlines["saturation_rps"] == pytest.approx(20)
    between = found.between_launches["saturation_rps"]
    assert between.launches == 3
    assert between.high == pytest.approx(20 + 4.3027 * 2 / 3**0.5, abs=1e-3)
    assert [launch.launches for launch in found.launches] == [(1,), (2,), (3,)]
    assert [launch.headlines["saturation_rps"] for launch in found.launches] == [18, 20, 22]
    (capacity,) = found.capacities
    assert capacity.certified_rps == pytest.approx(10 - 4.3027 / 3**0.5, abs=1e-3)


def test_a_figure_that_one_launch_lacks_is_absent_and_says_which(point: MakePoint) -> None:
    plan = PLAN.model_copy(update={"launches": 2})
    second = one_round(point, 2, 2, 20)
    second[0] = point(0, "synchronous", 1, completed_rps=9, valid=False).model_copy(update={"launch": 2, "round": 2})
    found = summarize_cell([*one_round(point, 1, 1, 20), *second], slos=[SLO], plan=plan)
    assert "floor_ttft_p50_ms" not in found.headlines
    assert found.headline_reasons["floor_ttft_p50_ms"].startswith("launch 2: the synchronous point is invalid")
    assert found.grade == "D"
    assert all(reason.startswith(("launch 1: ", "launch 2: ")) for reason in found.reasons)


def test_fewer_launches_than_asked_for_and_launches_pieced_together_are_told(point: MakePoint) -> None:
    pieced = one_round(point, 1, 1, 20)[:2] + one_round(point, 2, 1, 20)[2:]
    found = summarize_cell(pieced, slos=[], plan=PLAN.model_copy(update={"launches": 2}))
    assert found.grade == "B"
    assert "1 of 2 launches were measured" in found.reasons
    assert any("launches 1, 2: one was cut short" in reason for reason in found.reasons)


def test_looks_of_two_launches_are_never_pooled(point: MakePoint) -> None:
    """Each of two launches has a look that refutes; the capacity is of the one that looked last or most."""
    ceiling = point(1, "saturation", 8, completed_rps=40)
    looks = [point(2, "open_loop", 10.0), point(3, "open_loop", 20.0), point(4, "open_loop", 30.0, over=60)]
    mixed = [one.model_copy(update={"launch": 1 + (i > 1)}) for i, one in enumerate([ceiling, *looks])]
    found = summarize_cell(mixed, slos=[SLO], plan=LoadPlan()).capacities[0]
    assert (found.certified_rps, found.refuted_rps) == (20, 30)  # launch 2 has two of the three looks


def with_p95(point: PointResult, p95_ms: float, arrivals: Poisson | Constant) -> PointResult:
    load = point.point.load
    assert isinstance(load, OpenLoop)
    of = point.point.model_copy(update={"load": load.model_copy(update={"arrivals": arrivals})})
    latencies = {"ttft_response_ms": Distribution(n=200, mean=p95_ms, p95=p95_ms)}
    return point.model_copy(
        update={"point": of, "summary": point.summary.model_copy(update={"latencies": latencies})}
    )  # fmt: skip


def test_arrivals_are_derated_against_constant_ones_at_the_same_rate(point: MakePoint) -> None:
    plan = LoadPlan(open_loop=OpenLoopPoints(fractions=(0.25, 0.5), arrivals=(Poisson(), Constant())))
    base = [point(0, "synchronous", 1, completed_rps=10), point(1, "saturation", 8, completed_rps=80)]
    poisson = [
        with_p95(point(2 + i, "open_loop", r, over=o), p, Poisson())
        for i, (r, p, o) in enumerate([(20.0, 50, 0), (40.0, 120, 60)])
    ]
    constant = [
        with_p95(point(4 + i, "open_loop", r), p, Constant()) for i, (r, p) in enumerate([(20.0, 50), (40.0, 60)])
    ]
    latency, capacity = deratings([*base, *poisson, *constant], [SLO], plan)
    assert (latency.arrivals, latency.rate_rps) == ("poisson", 40)
    assert latency.ratio == pytest.approx(2)
    assert (capacity.value, capacity.constant) == (20, 40)
    assert capacity.ratio == pytest.approx(0.5)
    found = summarize_cell([*base, *poisson, *constant], slos=[SLO], plan=plan)
    assert found.headlines["derating/poisson/ttft_response_p95_ms"] == pytest.approx(2)
    assert found.capacities[0].certified_rps == 20, "what is told of the cell is of the first process"
    alone = deratings(base, [SLO], plan)
    assert all(one.ratio is None and one.reason for one in alone)
    assert next_point(plan, [*base, *poisson, *constant], slos=[SLO]) is None


def test_buckets_tell_the_ramp_and_every_five_seconds(
    steady_records: Callable[..., list[RequestRecord]], origin_ns: int
) -> None:
    """10 rps of 8 tokens: a ramp of 2 s, a window of 7 s, buckets of 2 s; the odd second at the end is none."""
    records = steady_records(90)
    start = origin_ns + 2_000_000_000
    columns = read_columns(records_table(records), (start, start + 7_000_000_000))
    told = buckets(columns, 2.0)
    assert [bucket.start_s for bucket in told] == [-2, 0, 2, 4]
    assert {bucket.requests for bucket in told} == {20}
    arrived = np.concatenate([record.chunk_at_ns for record in records]) - start
    for bucket in told:
        inside = (arrived >= bucket.start_s * 1e9) & (arrived < (bucket.start_s + 2) * 1e9)
        assert bucket.output_tokens_per_s == pytest.approx(inside.sum() / 2)
        assert bucket.ttft_p50_ms == pytest.approx(50)
