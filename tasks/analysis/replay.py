"""A cell measured again: where another launch of the same system is to come out, and whether it did.

The interval of a figure is a prediction interval of its logarithm: for n stored launches and one new one its half-width
is t · s · √(1 + 1/n). From three launches on, s is their own spread, shrunk toward what is known beforehand as Smyth
2004 does it (PRIOR_DEGREES degrees of freedom); of fewer it is what is known beforehand: the machine's canaries, or
SPREAD, and the figure's own interval within its launch, which the new launch has as well. All intervals hold together
at LEVEL (Bonferroni).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
from scipy import stats

from experiments.schema.load import ClosedLoop, LoadPoint, OpenLoop
from experiments.schema.replay import ReplayFigure, ReplayVerdict
from experiments.schema.result import PointResult
from tasks.analysis.between import CLAIM
from tasks.analysis.launch_figures import LATENCIES, PERCENTILES
from tasks.analysis.rounds import rounds_of

LEVEL = 0.95
SPREAD = 0.03
"""Of logs between launches, where too few canaries tell: launches of a server on a quiet machine differ by 1 to 3 %."""

ENOUGH_CANARIES = 8
PRIOR_DEGREES = 4.0
"""What is known beforehand weighs as much as five launches."""

SAME_RATE = 0.1
"""Two launches that each found their own ceiling get slightly different rates: so near they are one load."""

NORMAL_95 = 1.96
HALF = 0.5
"""Of the figures is the least that has to be held against one another for a verdict that all is well."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A figure of the cell: its values on the launches that have one, and the half-width, in logs, of its 95 % interval
    within a launch; None where the requests were too few to give one."""

    metric: str
    point: LoadPoint
    values: tuple[float, ...]
    within: float | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of all figures together."""

    verdict: ReplayVerdict
    reason: str
    level: float | None
    figures: tuple[ReplayFigure, ...]


def replayed_points(points: Sequence[PointResult]) -> tuple[LoadPoint, ...]:
    """What is measured again: the loads of the cell's first round, in their order."""
    rounds = rounds_of(points)
    return tuple(point.point for point in rounds[0]) if rounds else ()


def basis_of(points: Sequence[PointResult], canaries: Mapping[str, Sequence[float]]) -> str:
    """In words, what the intervals rest on."""
    many = sorted(metric for metric, ratios in canaries.items() if len(ratios) >= ENOUGH_CANARIES)
    beforehand = f"this machine's canaries ({', '.join(many)})" if many else f"a stated spread of {SPREAD:.0%}"
    launches = len(rounds_of(points))
    if launches >= CLAIM:
        return f"the spread between {launches} launches, shrunk toward {beforehand}"
    return f"{beforehand} between launches, and each figure's own interval within its launch"


def judge_replay(
    stored: Sequence[PointResult], replayed: Sequence[PointResult], canaries: Mapping[str, Sequence[float]]
) -> Verdict:
    """`canaries` is by metric how far single launches lay from one another in the logs (`launch_spreads`)."""
    known = list(stored_figures(stored))
    judgeable = sum(_is_judgeable(one) for one in known)
    level = 1 - (1 - LEVEL) / judgeable if judgeable else None
    figures = tuple(_held_against(one, replayed, canaries.get(one.metric, ()), level or LEVEL) for one in known)
    verdict, reason = _overall(figures)
    return Verdict(verdict, reason, level, figures)


def stored_figures(points: Sequence[PointResult]) -> Iterator[Stored]:
    """Of every valid point of the first round, with what the other rounds show under the same load."""
    first, *others = rounds_of(points) or [[]]
    for point in first:
        if point.summary.valid:
            alike = [next((p for p in other if _is_same_load(p.point, point.point)), None) for other in others]
            launches = [point, *(p for p in alike if p is not None and p.summary.valid)]
            for metric, value in figures_of(point).items():
                values = [figures_of(launch).get(metric) for launch in launches[1:]]
                found = (value, *(one for one in values if one is not None))
                yield Stored(metric, point.point, found, _within(point, metric, value))


def figures_of(point: PointResult) -> dict[str, float]:
    """The positive figures of a trial: its throughput where users drive it, its latencies where nothing is queueing
    for ever."""
    summary, role = point.summary, point.point.role
    found: dict[str, float | None] = {}
    if isinstance(point.point.load, ClosedLoop) or role == "overloaded":
        found["output_tokens_per_s"] = summary.output_tokens_per_s
    if role not in ("saturation", "overloaded"):
        found |= {
            f"{percentile}_{name}": getattr(summary.latencies.get(name), percentile, None)
            for name in LATENCIES
            for percentile in PERCENTILES
        }
    return {name: value for name, value in found.items() if value is not None and value > 0}


def load_name(point: LoadPoint) -> str:
    """Which load of the cell it is."""
    if isinstance(point.load, OpenLoop):
        kind, rate = point.load.arrivals.kind, point.load.rate_rps
        at = f"{rate:.4g} rps, {kind}" if rate is not None else "the trace's own rate"
        return f"{point.role} at {at}"
    return f"{point.role} at concurrency {point.load.concurrency}"


def _is_same_load(one: LoadPoint, other: LoadPoint) -> bool:
    if isinstance(one.load, OpenLoop) and isinstance(other.load, OpenLoop):
        if one.load.arrivals != other.load.arrivals or one.role != other.role:
            return False
        rates = one.load.rate_rps, other.load.rate_rps
        return rates[0] == rates[1] or (None not in rates and abs(log((rates[0] or 1) / (rates[1] or 1))) <= SAME_RATE)
    return one.load == other.load


def _within(point: PointResult, metric: str, value: float) -> float | None:
    """A throughput has no interval within its launch: its window is long, and what is left is between launches."""
    percentile, _, latency = metric.partition("_")
    if latency not in LATENCIES:
        return 0.0
    low, high = point.summary.latencies[latency].intervals.get(percentile, (None, None))
    return max(log(high / value), log(value / low)) if low and high and low > 0 else None


def _is_judgeable(one: Stored) -> bool:
    return len(one.values) >= CLAIM or one.within is not None


def _held_against(
    one: Stored, replayed: Sequence[PointResult], canaries: Sequence[float], level: float
) -> ReplayFigure:
    center = exp(float(np.mean(np.log(one.values))))
    figure = ReplayFigure(metric=one.metric, at=load_name(one.point), stored=center)
    again = next((p for p in replayed if p.point.step == one.point.step and p.point.load == one.point.load), None)
    value = figures_of(again).get(one.metric) if again is not None and again.summary.valid else None
    half = _half_width(one, canaries, level)
    if half is None:
        reason = "its requests were too few for a two-sided interval, and its launches for a spread between them"
        return figure.model_copy(update={"replayed": value, "reason": reason})
    low, high = center * exp(-half), center * exp(half)
    if value is None:
        return figure.model_copy(update={"interval": (low, high), "reason": _why_absent(again)})
    told = "" if low <= value <= high else f"{value / center - 1:+.1%}: outside of {low:.4g} … {high:.4g}"
    update = {"interval": (low, high), "replayed": value, "reproduced": not told, "reason": told}
    return figure.model_copy(update=update)


def _half_width(one: Stored, canaries: Sequence[float], level: float) -> float | None:
    """Of the prediction interval, in logs; None where nothing tells it."""
    n = len(one.values)
    spread = sqrt(float(np.mean(np.square(canaries)))) if len(canaries) >= ENOUGH_CANARIES else SPREAD
    beforehand = spread**2 + ((one.within or 0.0) / NORMAL_95) ** 2
    if n >= CLAIM:
        own = float(np.var(np.log(one.values), ddof=1))
        degrees = PRIOR_DEGREES + n - 1
        variance = (PRIOR_DEGREES * beforehand + (n - 1) * own) / degrees
        quantile = float(stats.t.ppf((1 + level) / 2, degrees))
    elif one.within is None:
        return None
    else:
        variance, quantile = beforehand, float(stats.norm.ppf((1 + level) / 2))
    return quantile * sqrt(variance * (1 + 1 / n))


def _why_absent(again: PointResult | None) -> str:
    if again is None:
        return "the load was not measured again"
    if not again.summary.valid:
        return f"the trial is invalid this time: {again.summary.invalid_reasons[0]}"
    return "this time the trial has no such figure"


def _overall(figures: Sequence[ReplayFigure]) -> tuple[ReplayVerdict, str]:
    compared = [one for one in figures if one.reproduced is not None]
    outside = [one for one in compared if one.reproduced is False]
    if outside:
        named = "; ".join(f"{one.metric}, {one.at}: {one.reason}" for one in outside[:3])
        return "not reproduced", f"{len(outside)} of {len(compared)} figures lie outside their intervals: {named}"
    if not compared or len(compared) < HALF * len(figures):
        why = next((one.reason for one in figures if one.reason), "nothing of it is valid")
        return "undecided", f"only {len(compared)} of {len(figures)} figures can be held against one another: {why}"
    return "reproduced", f"{len(compared)} of {len(figures)} figures were compared, and all lie in their intervals"
