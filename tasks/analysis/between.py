"""Launches are the independent units: a figure over several has a t interval, and one speaks for itself alone."""

from collections.abc import Sequence
from math import exp, lgamma, pi, sqrt

import numpy as np

from experiments.schema.result import BetweenLaunches, Capacity

LEVEL = 0.95
CLAIM = 3
"""Launches that a claim about the variant takes at least."""


def t_quantile(probability: float, freedom: int) -> float:
    """Of Student's t, for a probability above one half, by bisection on its distribution."""
    low, high = 0.0, 1e4
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_above_zero(middle, freedom) < probability - 0.5 else (low, middle)
    return (low + high) / 2


def _t_above_zero(value: float, freedom: int) -> float:
    """P(0 < T < value): with T = √ν tan θ the density is cos^(ν − 1) θ, which is smooth on a short interval."""
    angle = np.linspace(0.0, np.arctan(value / sqrt(freedom)), 2001)
    scale = exp(lgamma((freedom + 1) / 2) - lgamma(freedom / 2)) / sqrt(pi)
    return float(scale * np.trapezoid(np.cos(angle) ** (freedom - 1), angle))


def between(values: Sequence[float]) -> BetweenLaunches:
    """The mean of one value a launch, and its two-sided 95 % interval from two on."""
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return BetweenLaunches(launches=n, mean=mean)
    half = t_quantile((1 + LEVEL) / 2, n - 1) * float(np.std(values, ddof=1)) / sqrt(n)
    return BetweenLaunches(launches=n, mean=mean, low=mean - half, high=mean + half)


def capacity_between(launches: Sequence[Capacity]) -> Capacity:
    """Of the variant, from one capacity a launch, all of one SLO.

    Certified is the lower end of the interval of the certified rates, where every launch certified one; refuted the
    upper end of that of the refuted ones, where every launch refuted one. Each end is on the safe side twice over:
    within a launch, since its capacity lies above what it certified, and between the launches. Fewer than three
    launches make no claim about the variant: then the least certified and the most refuted rate of them stand.
    """
    first, n = launches[0], len(launches)
    if n == 1:
        return first
    low = _every([launch.certified_rps for launch in launches])
    high = _every([launch.refuted_rps for launch in launches])
    if n < CLAIM:
        certified, refuted = (min(low) if low else None), (max(high) if high else None)
        reason = f"of {n} launches: a claim about the variant needs three or more"
    else:
        certified, refuted = _end(low, is_low=True), _end(high, is_low=False)
        reason = f"of the variant: mean of {n} launches, 95 % t interval of what each showed at 99 %"
    verdict = "certified" if certified is not None else "refuted" if refuted is not None else "unknown"
    if verdict == "unknown":
        undecided = next((c.reason for c in launches if c.verdict == "unknown"), "the launches differ too much")
        reason = f"{reason}: {undecided}"
    return first.model_copy(
        update={"verdict": verdict, "certified_rps": certified, "refuted_rps": refuted, "reason": reason}
    )


def _every(rates: Sequence[float | None]) -> list[float]:
    """Empty where one is missing."""
    known = [rate for rate in rates if rate is not None]
    return known if len(known) == len(rates) else []


def _end(rates: Sequence[float], *, is_low: bool) -> float | None:
    """None where nothing is known, or where the launches differ so much that the lower end is no rate."""
    if not rates:
        return None
    found = between(rates)
    end = found.low if is_low else found.high
    return end if end is not None and end > 0 else None
