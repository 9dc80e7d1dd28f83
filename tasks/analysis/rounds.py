"""Rounds: the ways through the load plan that make a cell. As a rule a round is one launch; one that was cut short is
finished by another launch, which takes the points that are missing."""

from collections.abc import Sequence

from experiments.schema.load import LoadPlan
from experiments.schema.result import PointResult
from experiments.schema.slo import SLO
from tasks.analysis.sweep import next_point


def rounds_of(points: Sequence[PointResult]) -> list[list[PointResult]]:
    """The points by round, in the order of the rounds."""
    numbers = sorted({point.round for point in points})
    return [[point for point in points if point.round == number] for number in numbers]


def launches_of(points: Sequence[PointResult]) -> tuple[int, ...]:
    """Those that the points are of, in their order."""
    return tuple(sorted({point.launch for point in points}))


def open_round(
    plan: LoadPlan, points: Sequence[PointResult], slos: Sequence[SLO]
) -> tuple[int, list[PointResult]] | None:
    """(number, points so far) of the round that is to be measured next; None where all of the plan's are whole."""
    rounds = rounds_of(points)
    if not rounds:
        return 1, []
    if next_point(plan, rounds[-1], slos=slos, launch=launches_of(rounds[-1])[-1]) is not None:
        return rounds[-1][0].round, rounds[-1]
    return (rounds[-1][0].round + 1, []) if len(rounds) < plan.launches else None
