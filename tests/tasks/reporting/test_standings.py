"""Who stands where: nobody is called best whom the data cannot tell from the next."""

from collections.abc import Callable
from typing import Any

import pytest

from experiments.schema.load import LoadPoint, OpenLoop, Poisson, StopRule
from experiments.schema.result import (
    Capacity,
    CellResult,
    CellState,
    LaunchSummary,
    PointResult,
    SLOAttainment,
    TrialSummary,
)
from tasks.reporting.standings import by_capacity, objectives, standings, witnesses

Ranked = Callable[..., CellResult]


def names(*cells: CellResult) -> tuple[str, list[str], str | None]:
    """Best, level with it, runner-up."""
    (one,) = standings(cells)
    assert one.best is not None
    next_one = one.runner_up
    level = [cell.variant.engine for cell in one.level]
    return one.best.variant.engine, level, next_one.variant.engine if next_one else None


def test_of_one_launch_each_less_than_three_percent_is_level(ranked: Ranked) -> None:
    assert names(ranked("a", 100), ranked("b", 98), ranked("c", 96)) == ("a", ["b"], "c")


@pytest.mark.parametrize(
    ("slower", "ends", "level"),
    [(90.0, (85.0, 96.0), ["b"]), (98.0, (97.5, 98.5), [])],
    ids=["intervals that overlap are level at 10 %", "intervals that do not are apart at 2 %"],
)
def test_intervals_between_launches_decide_where_there_are_some(
    ranked: Ranked, slower: float, ends: tuple[float, float], level: list[str]
) -> None:
    best, found, next_one = names(ranked("a", 100, (95.0 if level else 99.0, 105.0)), ranked("b", slower, ends))
    assert (best, found, next_one) == ("a", level, None if level else "b")


def test_a_cell_that_rests_on_few_valid_points_is_not_the_best(ranked: Ranked) -> None:
    assert names(ranked("weak", 300, grade="E"), ranked("sound", 100))[0] == "sound"
    assert names(ranked("weak", 300, grade="E"))[0] == "weak"


def test_of_a_cell_its_latest_campaign_counts(ranked: Ranked) -> None:
    old, new = ranked("a", 200), ranked("a", 100, campaign="e-2")
    (one,) = standings([old, new])
    assert [cell.headlines["saturation_rps"] for cell in one.ranked] == [100]


def test_other_models_machines_and_workloads_are_other_questions(ranked: Ranked) -> None:
    first = ranked("a", 100)
    elsewhere = ranked("b", 200, variant=first.variant.model_copy(update={"hardware": "h100-sxm"}))
    failed = ranked("c", 1, state=CellState.FAILED, headlines={}, grade=None)
    found = {one.question.hardware: (len(one.ranked), len(one.others)) for one in standings([first, elsewhere, failed])}
    assert found == {"cpu": (1, 1), "h100-sxm": (1, 0)}


def offered(rate_rps: float, n: int, slo: str) -> PointResult:
    seen = SLOAttainment(slo=slo, attainment=1.0, goodput_rps=1.0, verdict="certified", n=n)
    trial: dict[str, Any] = {"method_version": "2", "requests": n, "outcomes": {}, "valid": True, "window_s": 9.0}
    load = OpenLoop(arrivals=Poisson(), rate_rps=rate_rps)
    where = LoadPoint(step=0, role="open_loop", load=load, stop=StopRule(requests=n))
    summary = TrialSummary(**trial, offered_rps=rate_rps, slos=(seen,))
    return PointResult(point=where, summary=summary, directory="0", started_at="")


def test_capacities_rank_by_what_is_certified_and_say_how_many_requests_saw_it(ranked: Ranked) -> None:
    slo = "ttft:p95<300ms"

    def told(rps: float | None) -> Capacity:
        return Capacity(slo=slo, name="ttft_p95_300ms", verdict="certified" if rps else "unknown", certified_rps=rps)

    twice = ranked(
        "a", 100, (90.0, 110.0), capacities=(told(7.5),),
        launches=tuple(LaunchSummary(launches=(n,), capacities=(told(rps),)) for n, rps in ((1, 7.0), (2, 8.0))),
        points=tuple(offered(rate, n, slo) for rate, n in ((7.0, 120), (8.0, 130), (9.0, 900))),
    )  # fmt: skip
    (one,) = standings([ranked("b", 300, capacities=(told(None),)), twice, ranked("c", 50, capacities=(told(3.0),))])
    assert objectives(one) == [slo]
    assert [cell.variant.engine for cell, _ in by_capacity(one, slo)] == ["a", "c", "b"]
    assert witnesses(twice, twice.capacities[0]) == 250
    assert witnesses(one.ranked[0], one.ranked[0].capacities[0]) is None
