"""Where the open-loop rates go: geometrically toward the ceiling, then where latency bends, and one past it."""

from collections.abc import Sequence
from itertools import pairwise
from math import log

from experiments.schema.load import OpenLoop, OpenLoopPoints
from experiments.schema.result import PointResult

TOWARD_THE_CEILING = (0.5, 0.75, 0.875)
"""Each halves what is left to the ceiling."""

PAST = 1.1


def next_fraction(asked: OpenLoopPoints, measured: Sequence[PointResult], most_rps: float) -> float | None:
    """Of λ_max, after the points measured under the same arrival process; None when all are there."""
    if asked.fractions is not None:
        return asked.fractions[len(measured)] if len(measured) < len(asked.fractions) else None
    if len(measured) > asked.points:
        return None
    if len(measured) == asked.points:
        return PAST
    if len(measured) < len(TOWARD_THE_CEILING):
        return TOWARD_THE_CEILING[len(measured)]
    return at_the_bend(_curve(measured, most_rps))


def _curve(measured: Sequence[PointResult], most_rps: float) -> list[tuple[float, float]]:
    """(fraction, ln of the mean time to the first token, from due), rising; of the points that have it."""
    found = []
    for point in measured:
        load, latency = point.point.load, point.summary.latencies.get("ttft_response_ms")
        if isinstance(load, OpenLoop) and load.rate_rps is not None:
            mean = latency.mean if latency is not None else None
            found.append((load.rate_rps / most_rps, log(mean) if mean else 0.0))
    return sorted(found)


def at_the_bend(curve: Sequence[tuple[float, float]]) -> float:
    """The middle of the wider stretch beside the point at which the slope changes most; of the widest stretch
    where there are too few points to tell."""
    rates = [rate for rate, _ in curve]
    stretches = list(pairwise(rates))
    if len(rates) < 3:
        low, high = max(stretches, key=lambda pair: pair[1] - pair[0])
        return (low + high) / 2
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(curve)]
    changes = [abs(after - before) for before, after in pairwise(slopes)]
    bend = changes.index(max(changes)) + 1
    low, high = max(stretches[bend - 1], stretches[bend], key=lambda pair: pair[1] - pair[0])
    return (low + high) / 2
