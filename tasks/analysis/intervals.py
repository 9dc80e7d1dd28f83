"""Distribution-free intervals: order statistics for percentiles, exact binomial bounds for shares. No normality."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SIDE = 0.025
"""What a two-sided 95 % interval leaves on each side."""


TAIL = 4
"""Times the share above a quantile: with twice, the interval of a p95 near the knee covers 89 of 100 times; with all
ranks, a common rise and fall below costs what it should not."""


def binomial_cdf(n: int, probability: float) -> Floats:
    """P(B ≤ k) for k = 0 … n, B binomial; 0 < probability < 1."""
    log_factorial = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, n + 1)))))
    k = np.arange(n + 1)
    log_choose = log_factorial[n] - log_factorial[k] - log_factorial[n - k]
    log_mass = log_choose + k * np.log(probability) + (n - k) * np.log1p(-probability)
    cdf: Floats = np.minimum(np.cumsum(np.exp(log_mass)), 1.0)
    return cdf


def order_ranks(n: int, quantile: float, low_side: float, high_side: float) -> tuple[int | None, int | None]:
    """1-based ranks (low, high) of the order statistics that bound the quantile of n independent samples.

    P(x_low > q) ≤ low_side and P(x_high < q) ≤ high_side, whatever the distribution; None where n gives no such rank.
    """
    if n < 1:
        return None, None
    cdf = binomial_cdf(n, quantile)
    low = int(np.searchsorted(cdf, low_side * (1 + 1e-12), side="right"))
    at_least = np.concatenate(([1.0], 1.0 - cdf[:-1]))  # P(B ≥ k)
    high = int(np.argmax(at_least <= high_side * (1 + 1e-12))) if at_least[-1] <= high_side * (1 + 1e-12) else 0
    return (low or None), (high or None)


def interval_ranks(n: int, quantile: float) -> tuple[int | None, int | None]:
    """Two-sided 95 %; where n is too small for two sides, the lower bound alone, at 95 %."""
    low, high = order_ranks(n, quantile, SIDE, SIDE)
    if low is not None and high is not None:
        return low, high
    return order_ranks(n, quantile, 2 * SIDE, 0.0)


def at_rank(ordered: Floats, rank: int | None, n: int) -> float | None:
    """The value at a rank that was found for n samples, in an `ordered` array of perhaps more, dependent ones."""
    if rank is None or not len(ordered):
        return None
    index = int(np.ceil(rank * len(ordered) / n)) - 1
    return _finite(ordered[min(index, len(ordered) - 1)])


def below_rank(ordered: Floats, rank: int | None, n: int) -> float | None:
    """As `at_rank`, rounded to the low side."""
    if rank is None or not len(ordered):
        return None
    return _finite(ordered[int((rank - 1) * len(ordered) / n)])


def quantile_interval(ordered: Floats, quantile: float, effective_n: int) -> tuple[float | None, float | None]:
    """Bounds of the quantile by order statistics; `effective_n` independent samples lie behind `ordered`."""
    low, high = interval_ranks(effective_n, quantile)
    return below_rank(ordered, low, effective_n), at_rank(ordered, high, effective_n)


def linear_quantile(ordered: Floats, quantile: float) -> float | None:
    """Linear interpolation between order statistics (numpy's default); None where it falls on an infinite one."""
    position = (len(ordered) - 1) * quantile
    index = int(position)
    value = float(ordered[index])
    if position > index and np.isfinite(value):
        value += (ordered[index + 1] - value) * (position - index)
    return _finite(value)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def most_over(n: int, percentile: float, alpha: float) -> int | None:
    """How many of n independent requests may be over a limit that the percentile is certified to stay under.

    The largest t with P(B(n, 1 − p) ≤ t) ≤ alpha: were a share 1 − p over the limit, so few would be seen with
    probability alpha at most. None: n cannot certify, not even with none over.
    """
    if n < 1:
        return None
    allowed = int(np.searchsorted(binomial_cdf(n, 1 - percentile / 100), alpha * (1 + 1e-12), side="right"))
    return allowed - 1 if allowed else None


def least_over(n: int, percentile: float, alpha: float) -> int | None:
    """From how many of n requests over the limit on it is refuted: the smallest k with P(B(n, 1 − p) ≥ k) ≤ alpha."""
    if n < 1:
        return None
    at_least = 1.0 - np.concatenate(([0.0], binomial_cdf(n, 1 - percentile / 100)))  # k = 0 … n + 1
    k = int(np.argmax(at_least <= alpha * (1 + 1e-12)))
    return k if k <= n else None


def certification_requests(percentile: float, over: int = 0, alpha: float = 0.01) -> int:
    """The fewest requests that certify a percentile with `over` of them over the limit."""
    n = over + 1
    step = 1024
    while step:
        allowed = most_over(n + step, percentile, alpha)
        if allowed is None or allowed < over:
            n += step
        else:
            step //= 2
    return n + 1


def share_interval(hits: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson bounds of a share; n ≥ 1."""
    side = (1 - confidence) / 2
    low = 0.0 if hits == 0 else _solve(lambda p: 1.0 - float(binomial_cdf(n, p)[hits - 1]) <= side)
    high = 1.0 if hits == n else _solve(lambda p: float(binomial_cdf(n, p)[hits]) > side)
    return low, high


def _solve(is_below: Callable[[float], bool]) -> float:
    """The share at which a monotone test turns from true to false, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return (low + high) / 2


def effective_n(series: Floats) -> int:
    """How many independent samples a series in time order is worth for its mean: n / (1 + 2 Σ ρ_k), the
    autocorrelations summed until the first one that is within its own noise, 1.96/√n."""
    n = len(series)
    return max(1, int(n / correlation_time(series))) if n else 0


def correlation_time(series: Floats) -> float:
    """1 + 2 Σ ρ_k, in samples; 1 for a series too short or too constant to tell."""
    n = len(series)
    centred = series - series.mean() if n else series
    power = float(centred @ centred)
    if n < 8 or power == 0.0:
        return 1.0
    spectrum = np.fft.rfft(centred, 2 * n)
    correlations = np.fft.irfft(np.abs(spectrum) ** 2)[1 : n // 2] / power
    within_noise = correlations < 1.96 / np.sqrt(n)
    first = int(np.argmax(within_noise)) if within_noise.any() else len(correlations)
    return 1 + 2 * float(correlations[:first].sum())


def effective_n_at(series: Floats, quantile: float) -> int:
    """How many independent samples a series in time order is worth for one of its quantiles.

    What is counted there is who lies above it, so it is the clustering of those that counts: near the knee a slow
    request has slow neighbours, while a common rise and fall far below the quantile says nothing of it.
    """
    ordered = np.sort(series)
    threshold = ordered[max(0, int(np.ceil(quantile * len(ordered))) - 1)] if len(ordered) else 0.0
    return effective_n((series > threshold).astype(np.float64))


def cautious_n_at(series: Floats, quantile: float) -> int:
    """As `effective_n_at`, or fewer: rare ones show their own clustering badly, so the ranks are looked at too, as far
    down as four times the share above the quantile. What is slow by chance near the knee is seen there as well; of a
    queue that grows for ever it leaves three or four, which is why nothing is refuted by it."""
    n = len(series)
    if not n:
        return 0
    ranks = np.searchsorted(np.sort(series), series, side="left").astype(np.float64)
    tail = np.maximum(ranks, (1 - TAIL * (1 - quantile)) * n)
    return min(effective_n_at(series, quantile), effective_n(tail))
