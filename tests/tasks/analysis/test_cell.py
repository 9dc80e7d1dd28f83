"""Headlines, capacities and grades from points whose verdicts are known."""

from collections.abc import Callable

import pytest

from experiments.schema.load import LoadPlan, Saturation
from experiments.schema.model import Model, SyntheticSource
from experiments.schema.result import CellResult, CellState, PointResult
from experiments.schema.slo import parse_slo
from experiments.schema.variant import Quantization, Variant
from experiments.schema.workload import Workload
from tasks.analysis.capacity import capacity
from tasks.analysis.cell import judge_cell, summarize_cell

MakePoint = Callable[..., PointResult]
SLO = parse_slo("ttft:p95<300ms")


@pytest.fixture
def points(point: MakePoint) -> Callable[..., list[PointResult]]:
    """A whole cell: 40 rps at its ceiling, 4 of 8 points in open loop. `over` by rate, `invalid` by step."""

    def make(over: tuple[int, int, int, int] = (0, 0, 60, 120), invalid: tuple[int, ...] = ()) -> list[PointResult]:
        closed = [(1, 10), (2, 20), (4, 40), (8, 40)]
        made = [
            point(i, "saturation" if i else "synchronous", users, completed_rps=rps, valid=i not in invalid)
            for i, (users, rps) in enumerate(closed)
        ]
        rates = [12.0, 24.0, 34.0, 44.0]
        return made + [
            point(i, "open_loop" if rate < 40 else "overloaded", rate, over=miss, valid=i not in invalid)
            for i, (rate, miss) in enumerate(zip(rates, over, strict=True), start=4)
        ]

    return make


Points = Callable[..., list[PointResult]]


def test_capacity_lies_between_the_certified_and_the_refuted_rate(points: Points) -> None:
    found = capacity(SLO, points())
    assert found.verdict == "certified"
    assert found.certified_rps == 24
    assert found.refuted_rps == 34
    assert found.name == "ttft_p95_300ms"
    assert "one launch" in found.reason


def test_looks_share_one_level(points: Points, point: MakePoint) -> None:
    """1 over in 130 certifies p95 at 99 % once, and not when three rates are looked at."""
    ceiling = point(9, "saturation", 8, completed_rps=40)
    alone = [ceiling, point(0, "open_loop", 10.0, over=1, n=130)]
    three = [ceiling, *(point(i, "open_loop", 10.0 + i, over=1, n=130) for i in range(3))]
    assert capacity(SLO, alone).certified_rps == 10
    assert capacity(SLO, three).verdict == "unknown"
    assert "shared by 3 looks" in capacity(SLO, three).reason
    more = [ceiling, *(point(i, "open_loop", 10.0 + i, over=1, n=160) for i in range(3))]
    assert capacity(SLO, more).certified_rps == 12


def test_looks_share_the_level_of_refuting_too(point: MakePoint) -> None:
    """14 over in 130 refute p95 at 99 %, alone; at a fifth of 1 % it takes 16."""
    alone = [point(0, "open_loop", 10.0, over=14, n=130)]
    assert capacity(SLO, alone).refuted_rps == 10
    others = [point(i, "open_loop", 10.0 + i, over=5, n=130) for i in range(1, 5)]
    assert capacity(SLO, [*alone, *others]).verdict == "unknown"
    assert capacity(SLO, [point(0, "open_loop", 10.0, over=16, n=130), *others]).refuted_rps == 10


def test_an_overloaded_point_refutes_but_never_certifies(points: Points) -> None:
    assert capacity(SLO, points(over=(0, 0, 0, 120))).refuted_rps == 44
    assert capacity(SLO, points(over=(0, 0, 0, 0))).certified_rps == 34
    assert capacity(SLO, points(over=(0, 0, 0, 0))).refuted_rps is None


def test_a_limit_that_one_request_at_a_time_breaks_is_refuted_at_every_rate(point: MakePoint) -> None:
    found = capacity(SLO, [point(0, "synchronous", 1, completed_rps=9, over=100), point(1, "open_loop", 30.0)])
    assert found.verdict == "refuted"
    assert found.certified_rps is None
    assert found.refuted_rps == 9
    assert "one request at a time" in found.reason


def test_no_rate_above_a_refuted_one_is_certified(points: Points) -> None:
    found = capacity(SLO, points(over=(0, 60, 0, 120)))
    assert found.certified_rps == 12
    assert found.refuted_rps == 24


def test_an_invalid_point_is_no_look(points: Points) -> None:
    assert capacity(SLO, points(invalid=(6,))).refuted_rps == 44
    assert capacity(SLO, points(invalid=(4, 5, 6, 7))).reason == "there is no valid open-loop point to certify at"
    none = [p for p in points(invalid=tuple(range(8))) if p.point.role != "synchronous"]
    assert capacity(SLO, none).verdict == "unknown"
    assert capacity(SLO, none).reason == "every open-loop point is invalid"


def test_what_is_undecided_says_what_would_decide_it(points: Points) -> None:
    found = capacity(SLO, points(over=(8, 8, 8, 8)))
    assert found.verdict == "unknown"
    assert "at 12 rps 8 of 200" in found.reason
    assert "needs" in found.reason


def test_headlines_are_the_floor_the_ceiling_and_the_certified_rate(points: Points) -> None:
    found = summarize_cell(points(), slos=[SLO], plan=LoadPlan())
    assert found.headlines == {
        "floor_ttft_p50_ms": 50.0,
        "saturation_rps": 40.0,
        "saturation_output_tokens_per_s": 320.0,
        "capacity_rps/ttft_p95_300ms": 24.0,
    }
    assert found.headline_reasons == {}
    assert (found.state, found.grade, found.reasons) == (CellState.MEASURED, "A", ())


@pytest.mark.parametrize(
    ("over", "invalid", "grade"),
    [
        ((0, 0, 60, 120), (), "A"),
        ((8, 8, 8, 8), (), "B"),
        ((0, 0, 60, 120), (4,), "C"),
        ((0, 0, 60, 120), (3,), "C"),
        ((0, 0, 60, 120), (0,), "D"),
        ((0, 0, 60, 120), (1, 2, 3), "D"),
        ((0, 0, 60, 120), (4, 5, 6, 7), "E"),
        ((0, 0, 60, 120), tuple(range(8)), "F"),
    ],
)
def test_the_grade_follows_its_rules(
    points: Points, over: tuple[int, ...], invalid: tuple[int, ...], grade: str
) -> None:
    found = summarize_cell(points(over=over, invalid=invalid), slos=[SLO], plan=LoadPlan())
    assert found.grade == grade
    assert bool(found.reasons) is (grade != "A")
    assert found.state is (CellState.INVALID if grade == "F" else CellState.MEASURED)


def test_invalid_points_are_named_and_leave_the_headlines(points: Points) -> None:
    found = summarize_cell(points(invalid=(0, 2)), slos=[SLO], plan=LoadPlan())
    assert "the synchronous point at concurrency 1 is invalid: client late" in found.reasons
    assert "the saturation point at concurrency 4 is invalid: client late" in found.reasons
    assert "floor_ttft_p50_ms" not in found.headlines
    assert "client late" in found.headline_reasons["floor_ttft_p50_ms"]
    assert found.headlines["saturation_rps"] == 40.0


def test_a_ceiling_that_was_not_reached_is_graded_b(points: Points, point: MakePoint) -> None:
    growing = [point(0, "synchronous", 1, completed_rps=10), point(1, "saturation", 2, completed_rps=20)]
    plan = LoadPlan(saturation=Saturation(max_concurrency=2))
    found = summarize_cell([*growing, *points()[4:]], slos=[SLO], plan=plan)
    assert found.grade == "B"
    assert "still grew at concurrency 2" in found.reasons[0]


def test_nothing_measured_is_graded_f_with_reasons_for_every_headline() -> None:
    found = summarize_cell([], slos=[SLO], plan=LoadPlan())
    assert found.grade == "F"
    assert found.headlines == {}
    assert set(found.headline_reasons) == {
        "floor_ttft_p50_ms", "saturation_rps", "saturation_output_tokens_per_s", "capacity_rps/ttft_p95_300ms",
    }  # fmt: skip
    assert all(found.headline_reasons.values())


@pytest.mark.parametrize(("state", "judged"), [(CellState.MEASURED, CellState.INVALID), (CellState.FAILED,) * 2])
def test_a_failed_cell_shows_its_points_and_keeps_its_state(
    points: Points, state: CellState, judged: CellState
) -> None:
    variant = Variant(
        engine="llama_cpp",
        engine_version="1",
        model=Model(name="m", source=SyntheticSource(kind="synthetic")),
        quantization=Quantization.F16,
    )
    cell = CellResult(
        cell_id="c", experiment="e", campaign="e-1", launch=1, variant=variant, state=state,
        workload=Workload(name="w", prompt_tokens=1, output_tokens=8), points=tuple(points(invalid=tuple(range(8)))),
    )  # fmt: skip
    found = judge_cell(cell, [SLO], LoadPlan())
    assert found.state is judged
    assert found.grade == ("F" if state is CellState.MEASURED else None)
    assert found.headline_reasons["saturation_rps"]
