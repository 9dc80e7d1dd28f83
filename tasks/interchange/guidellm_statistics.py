"""GuideLLM 0.8's summaries of values, rates and concurrency, by its definitions: weighted, without interpolation."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Summary = dict[str, Any]

QUANTILES = {
    "p001": 0.001,
    "p01": 0.01,
    "p05": 0.05,
    "p10": 0.1,
    "p25": 0.25,
    "p50": 0.5,
    "p75": 0.75,
    "p90": 0.9,
    "p95": 0.95,
    "p99": 0.99,
    "p999": 0.999,
}
MERGED_S = 1e-4
"""Events closer than this are one event."""

LEAST_S = 1e-6


def summary(values: Floats, weights: Floats | None = None, *, count: int | None = None) -> Summary:
    """A weighted distribution; `count` is the sum of the weights unless it is given. Percentiles are observed values;
    all figures are 0 where there is no value."""
    weights = np.ones(len(values)) if weights is None else weights
    number = round(float(weights.sum())) if count is None else count
    distinct, where = np.unique(values, return_inverse=True)
    share = np.bincount(where, weights=weights, minlength=len(distinct)).astype(np.float64)
    distinct, share = distinct[share > 0], share[share > 0]
    if not len(distinct):
        return _described(np.zeros(1), np.ones(1), number, dict.fromkeys(QUANTILES, 0.0))
    share = share / share.sum()
    reached = np.cumsum(share)
    at = np.minimum(np.searchsorted(reached, list(QUANTILES.values())), len(distinct) - 1)
    return _described(distinct, share, number, dict(zip(QUANTILES, distinct[at].tolist(), strict=True)))


def _described(values: Floats, share: Floats, count: int, percentiles: dict[str, float]) -> Summary:
    mean = float(np.sum(values * share))
    variance = float(np.sum((values - mean) ** 2 * share))
    return {
        "mean": mean,
        "median": percentiles["p50"],
        "mode": float(values[np.argmax(share)]),
        "variance": variance,
        "std_dev": math.sqrt(variance),
        "min": float(values[0]),
        "max": float(values[-1]),
        "count": count,
        "total_sum": mean * count,
        "percentiles": percentiles,
        "pdf": None,
        "mean_ci": None,
        "percentile_cis": None,
    }


def rate_summary(events: Sequence[tuple[float, float]], window: tuple[float, float]) -> Summary:
    """Events per second: each event's weight over half the time between its neighbours, weighted by that time."""
    inside = [event for event in events if window[0] <= event[0] <= window[1]]
    times, weights = _merged([(window[0], 0.0), *inside, (window[1], 0.0)])
    if len(times) < 2:
        return summary(np.empty(0), count=len(times))
    between = (times[1:] + times[:-1]) / 2
    edges = np.concatenate((times[:1], between, [between[-1] + max(times[-1] - between[-1], LEAST_S)]))
    spans = np.diff(edges)
    return summary(weights / spans, spans, count=round(float(weights.sum())))


def concurrency_summary(stays: Sequence[tuple[float, float]], window: tuple[float, float]) -> Summary:
    """How many are there at once, weighted by how long: `stays` are from and to."""
    kept = [stay for stay in stays if stay[1] >= window[0] and stay[0] <= window[1]]
    if not kept:
        return summary(np.empty(0))
    steps = [(start, 1.0) for start, _ in kept] + [(end, -1.0) for _, end in kept]
    times, changes = _merged(steps)
    before = float(changes[times < window[0]].sum())
    inside = (times >= window[0]) & (times <= window[1])
    times = np.concatenate(([window[0]], times[inside], [window[1]]))
    there = np.clip(np.cumsum(np.concatenate(([before], changes[inside]))), 0, None)
    spans = np.clip(np.diff(times), 0, None)
    return summary(there, spans, count=len(kept)) if spans.any() else summary(np.empty(0), count=len(kept))


def _merged(events: Sequence[tuple[float, float]]) -> tuple[Floats, Floats]:
    """In order of time; events that follow the first of their group by less than MERGED_S join it."""
    times: list[float] = []
    weights: list[float] = []
    for at, weight in sorted(events, key=lambda event: event[0]):
        if times and at - times[-1] <= MERGED_S:
            weights[-1] += weight
        else:
            times.append(at)
            weights.append(weight)
    return np.asarray(times), np.asarray(weights)
