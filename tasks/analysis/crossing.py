"""Where a latency curve meets a limit, as far as a few noisy looks tell: where to look next, and no claim."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

FARTHEST = 2.0
"""ln of a percentile over its limit beyond which one look says no more than another: far past the ceiling it measures
how long the look was."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One look: ln(percentile/limit) at a rate, from `n` requests that are worth `effective_n`."""

    rate_rps: float
    excess: float
    effective_n: int
    n: int


def crossing(looks: Sequence[Seen], ceiling: float) -> float:
    """The rate at which the excess turns positive: linear between the levels of an isotonic fit, and the ceiling at the
    latest, where every queue grows for ever; where all looks are over, 0.7 of the lowest."""
    levels = [*_isotonic([look for look in looks if look.rate_rps < ceiling]), (ceiling, FARTHEST)]
    if levels[0][1] >= 0:
        return 0.7 * levels[0][0]
    (rate, under), (next_rate, over) = next(pair for pair in pairwise(levels) if pair[1][1] >= 0)
    return rate + (next_rate - rate) * -under / (over - under)


def _isotonic(looks: Sequence[Seen]) -> list[tuple[float, float]]:
    """(rate, excess) of the rising curve nearest to the looks: neighbours in the wrong order are pooled by weight."""
    pools: list[tuple[float, float, float]] = []
    for look in sorted(looks, key=lambda look: look.rate_rps):
        weight = max(1.0, float(look.effective_n))
        pool = (look.rate_rps, min(max(look.excess, -FARTHEST), FARTHEST), weight)
        while pools and pools[-1][1] > pool[1]:
            rate, excess, other = pools.pop()
            total = other + pool[2]
            pool = ((rate * other + pool[0] * pool[2]) / total, (excess * other + pool[1] * pool[2]) / total, total)
        pools.append(pool)
    return [(rate, excess) for rate, excess, _ in pools]
