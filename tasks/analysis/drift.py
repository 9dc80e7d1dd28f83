"""Does throughput drift through the window? First half against second half, beyond the noise of its batches."""

from dataclasses import dataclass

import numpy as np

from tasks.analysis.columns import NS_PER_S, Columns, Floats
from tasks.analysis.throughput import tokens_of_chunks

LEVEL = 0.001
"""A sound trial is called drifting once in a thousand: a matrix holds hundreds of trials."""

LEAST_DRIFT = 0.03
"""A smaller change is left alone, however certain: it is the practical margin of a comparison."""

FEWEST_PER_HALF = 7
"""2 / C(14, 7) is below LEVEL, 2 / C(12, 6) is not: with fewer batches the test could never reject."""

MOST_PER_HALF = 20
PERMUTATIONS = 9_999


@dataclass(frozen=True, slots=True)
class Drift:
    """`change` is the second half over the first, minus 1; `reason` says why it was not tested."""

    change: float | None
    p_value: float | None
    reason: str = ""

    @property
    def is_beyond_noise(self) -> bool:
        return self.p_value is not None and self.p_value <= LEVEL and abs(self.change or 0.0) >= LEAST_DRIFT


def drift(columns: Columns) -> Drift:
    """Tokens in equal batches of the steady stretch of W, each at least as long as a request lives, so that batches
    hardly depend on one another."""
    residence = (columns.end - columns.sent)[columns.measured]
    if not len(residence):
        return Drift(None, None, "no request completed")
    start, stop = _steady_stretch(columns, residence)
    per_half = min(MOST_PER_HALF, int((stop - start) / 2 / max(float(np.median(residence)), 1.0)))
    if per_half < FEWEST_PER_HALF:
        room = f"the {max(stop - start, 0) / NS_PER_S:.3g} s between filling and draining"
        return Drift(None, None, f"drift was not tested: {room} hold fewer than {2 * FEWEST_PER_HALF} request lives")
    return compare_halves(_batches(columns, start, stop, 2 * per_half))


def _steady_stretch(columns: Columns, residence: Floats) -> tuple[float, float]:
    """W without the filling after the very first request and without the draining after the last due time."""
    filled = float(columns.due.min() + np.quantile(residence, 0.95))
    return max(0.0, filled), min(columns.window_ns, float(columns.due.max()))


def _batches(columns: Columns, start: float, stop: float, count: int) -> Floats:
    tokens = np.nan_to_num(tokens_of_chunks(columns), nan=1.0)
    totals, _ = np.histogram(columns.chunk_at, bins=count, range=(start, stop), weights=tokens)
    return totals.astype(np.float64)


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
