"""Trials that a comparison lost: which side's are invalid, why, and whether that side could not keep up with the load.

A figure of invalid trials does not count. Left unsaid, a candidate too slow for a load would look undecided there.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from statistics import median

from experiments.schema.comparison import Arm, LaunchResult
from experiments.schema.load import OpenLoop
from experiments.schema.result import PointResult

KEEPS_UP = 0.95
"""Of the rate offered: who completes less falls behind, and its queue grows for as long as the load lasts."""

CHANCE = 0.025
"""At which Fisher's exact test calls it no chance that all trials of one side fall behind, and none of the other."""

Place = tuple[str, str, str]
"""System, workload, load."""


@dataclass(frozen=True, slots=True)
class Lost:
    """What one arm lost at one place: `invalid` of `trials`, the commonest reason; of those that fell behind, how
    many, and the median rates."""

    trials: int
    invalid: int
    reason: str
    behind: int
    completed_rps: float = 0.0
    offered_rps: float = 0.0

    def told(self, side: str) -> str:
        """For people."""
        text = f"{self.invalid} of {self.trials} trials of the {side} are invalid: {self.reason}"
        if not self.behind:
            return text
        return f"{text}; it cannot keep up: {self.completed_rps:.3g} of {self.offered_rps:.3g} requests/s completed"


def lost_trials(
    launches: Sequence[LaunchResult], loads: Mapping[str, Mapping[str, Mapping[int, str]]], arm: Arm
) -> dict[Place, Lost]:
    """Every place at which this arm was measured; `loads` as `series_of` takes it."""
    found: dict[Place, list[PointResult]] = {}
    for launch in launches:
        for workload, points in launch.points.items() if launch.arm == arm else ():
            for point in points:
                at = loads[launch.system].get(workload, {}).get(point.point.step, "")
                if at:
                    found.setdefault((launch.system, workload, at), []).append(point)
    return {place: _lost(points) for place, points in found.items()}


def _lost(points: Sequence[PointResult]) -> Lost:
    invalid = [point for point in points if not point.summary.valid]
    reasons = Counter(reason for point in invalid for reason in point.summary.invalid_reasons[:1])
    behind = [point for point in invalid if falls_behind(point)]
    return Lost(
        trials=len(points),
        invalid=len(invalid),
        reason=reasons.most_common(1)[0][0] if reasons else "",
        behind=len(behind),
        completed_rps=median([point.summary.completed_rps or 0.0 for point in behind] or [0.0]),
        offered_rps=median([_offered_rps(point) for point in behind] or [0.0]),
    )


def falls_behind(point: PointResult) -> bool:
    """Whether fewer requests were completed than were due, at a rate that is offered."""
    return (point.summary.completed_rps or 0.0) < KEEPS_UP * _offered_rps(point)


def _offered_rps(point: PointResult) -> float:
    load = point.point.load
    asked = load.rate_rps if isinstance(load, OpenLoop) else None
    return (point.summary.offered_rps or asked or 0.0) if isinstance(load, OpenLoop) else 0.0


def cannot_keep_up(baseline: Lost, candidate: Lost) -> bool:
    """Whether the candidate always falls behind where the baseline never does, by more than chance: Fisher's exact test
    of the one table that is as clear as that."""
    clear = candidate.behind == candidate.trials and baseline.invalid == 0
    return clear and 1 / comb(baseline.trials + candidate.trials, candidate.trials) <= CHANCE
