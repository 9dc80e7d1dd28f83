"""Does throughput drift through the window? First half against second half, beyond the noise of its batches."""

from dataclasses import dataclass, replace

import numpy as np

from experiments.schema.load import ClosedLoop, Gamma, Load, OpenLoop
from tasks.analysis.columns import NS_PER_S, Columns, Floats
from tasks.analysis.intervals import correlation_time
from tasks.analysis.throughput import tokens_of_chunks

LEVEL = 0.001
"""A sound trial is called drifting once in a thousand: a matrix holds hundreds of trials."""

LEAST_DRIFT = 0.05
"""A smaller change is left alone, however certain: it is what a load plan calls no growth."""

NORMAL_QUANTILE = 3.29
"""Two-sided at LEVEL."""

FEWEST_PER_HALF = 7
"""2 / C(14, 7) is below LEVEL, 2 / C(12, 6) is not: with fewer batches the test could never reject."""

MOST_PER_HALF = 50
PERMUTATIONS = 9_999


@dataclass(frozen=True, slots=True)
class Drift:
    """`change` is the second half over the first, minus 1; `reason` says why it was not tested. `arrival_noise` is the
    standard deviation of `change` that the arrivals alone bring."""

    change: float | None
    p_value: float | None
    reason: str = ""
    arrival_noise: float = 0.0

    @property
    def is_beyond_noise(self) -> bool:
        size = max(LEAST_DRIFT, NORMAL_QUANTILE * self.arrival_noise)
        return self.p_value is not None and self.p_value <= LEVEL and abs(self.change or 0.0) >= size


def drift(columns: Columns, load: Load) -> Drift:
    """Tokens in equal batches of the steady stretch of W, each at least as long as a request lives, and joined until
    they no longer depend on one another. In open loop the arrivals set the throughput, and their noise is its noise."""
    if isinstance(load, OpenLoop) and load.arrivals.kind == "trace":
        return Drift(None, None, "drift was not tested: a trace need not be stationary")
    residence = (columns.end - columns.sent)[columns.measured]
    if not len(residence):
        return Drift(None, None, "no request completed")
    start, stop = _steady_stretch(columns, residence)
    lives = int((stop - start) / 2 / max(float(np.median(residence)), 1.0))
    if lives < FEWEST_PER_HALF:
        room = f"the {max(stop - start, 0) / NS_PER_S:.3g} s between filling and draining"
        return Drift(None, None, f"drift was not tested: {room} hold fewer than {2 * FEWEST_PER_HALF} request lives")
    batches = merged(_batches(columns, start, stop, 2 * min(MOST_PER_HALF, lives)))
    if len(batches) < 2 * FEWEST_PER_HALF:
        return Drift(None, None, "drift was not tested: throughput remembers too long for so short a window")
    return replace(compare_halves(batches), arrival_noise=_arrival_noise(columns, load))


def _arrival_noise(columns: Columns, load: Load) -> float:
    """Counts of n independent gaps vary by cv √n: relative to half of them, twice, cv · √(4/n)."""
    if isinstance(load, ClosedLoop) or load.arrivals.kind == "constant":
        return 0.0
    variation = load.arrivals.shape**-0.5 if isinstance(load.arrivals, Gamma) else 1.0
    return variation * float(np.sqrt(4 / columns.in_window.sum()))


def _steady_stretch(columns: Columns, residence: Floats) -> tuple[float, float]:
    """W without the filling after the very first request and without the draining after the last due time; of
    conversations, without that after the very first of them and after the last one's beginning."""
    lives = _lives_of_conversations(columns)
    filled = float(columns.due.min() + np.quantile(lives if len(lives) else residence, 0.95))
    return max(0.0, filled), min(columns.window_ns, float(columns.due[columns.opens].max(initial=0.0)))


def _lives_of_conversations(columns: Columns) -> Floats:
    """From the first due time of each to its last end; empty where there are none."""
    talks = ~np.isnan(columns.conversation) & ~np.isnan(columns.end)
    _, owner = np.unique(columns.conversation[talks], return_inverse=True)
    starts, ends = np.full(owner.max(initial=-1) + 1, np.inf), np.full(owner.max(initial=-1) + 1, -np.inf)
    np.minimum.at(starts, owner, columns.due[talks])
    np.maximum.at(ends, owner, columns.end[talks])
    return ends - starts


def _batches(columns: Columns, start: float, stop: float, count: int) -> Floats:
    tokens = np.nan_to_num(tokens_of_chunks(columns), nan=1.0)
    totals, _ = np.histogram(columns.chunk_at, bins=count, range=(start, stop), weights=tokens)
    return totals.astype(np.float64)


def merged(batches: Floats) -> Floats:
    """Neighbours joined over the time that the noise remembers: what is left after a line through each half. The line
    takes out the drift itself, which is no noise."""
    half = len(batches) // 2
    at = np.arange(half) - (half - 1) / 2
    halves = batches[: 2 * half].reshape(2, half)
    level = halves - halves.mean(axis=1, keepdims=True)
    noise = level - np.outer(level @ at / (at @ at), at)
    joined = max(1, round(correlation_time(noise.reshape(-1))))
    kept = half // joined * joined
    whole: Floats = halves[:, half - kept :].reshape(2, -1, joined).sum(axis=2).reshape(-1)
    return whole


def compare_halves(batches: Floats) -> Drift:
    """A permutation test on the difference of the halves' means, two-sided: no shape of noise is assumed."""
    half = len(batches) // 2
    first, second = batches[:half].mean(), batches[half:].mean()
    if first <= 0:
        return Drift(None, None, "drift was not tested: no token in the first half")
    shuffled = np.random.default_rng(0).permuted(np.tile(batches, (PERMUTATIONS, 1)), axis=1)
    differences = np.abs(shuffled[:, half:].mean(axis=1) - shuffled[:, :half].mean(axis=1))
    as_large = int((differences >= abs(second - first) * (1 - 1e-9)).sum())
    return Drift(float(second / first - 1), (1 + as_large) / (1 + PERMUTATIONS))
