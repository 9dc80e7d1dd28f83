"""How long a queue remembers: requests nearer to one another than that are no two witnesses."""

from collections.abc import Sequence
from math import inf, sqrt

from experiments.schema.load import ArrivalProcess, Gamma, OpenLoop
from experiments.schema.result import PointResult

NORMAL_P90 = 1.2816

HEAVY = 0.9
"""Of the ceiling. A limit that holds at a higher rate still is refuted as if the queue remembered no longer than here:
nearer to the ceiling nobody knows how near, and a window that begins on a quiet server errs on the safe side."""


WITNESSES_TO_REFUTE = 3
"""In a relaxation time. What a window on a server that was idle before misses is the long queues: it errs towards
holding. With three, simulated queues at their very capacity are refuted less often than the level allows."""


def relaxation_s(rate_rps: float, ceiling_rps: float, *, variation: float, residence_s: float) -> float:
    """Of a queue at rate λ = ρμ below its ceiling μ: residence + (c_a² + c_s²)/(2μ(1 − √ρ)²); infinite from the ceiling
    on. `variation` is c_a² + c_s².

    For M/M/1 the second term is the exact 1/(√μ − √λ)²; near the ceiling it is 2σ²/θ² of the reflected Brownian motion
    that any queue is in heavy traffic (drift θ = μ − λ, variance σ² = λ(c_a² + c_s²)).
    """
    load = rate_rps / ceiling_rps
    if load >= 1:
        return inf
    return residence_s + variation / (2 * ceiling_rps * (1 - sqrt(load)) ** 2)


def arrival_variation(process: ArrivalProcess) -> float:
    """The squared coefficient of variation of the gaps; a trace counts as Poisson."""
    if process.kind == "constant":
        return 0.0
    return 1 / process.shape if isinstance(process, Gamma) else 1.0


def service_variation(points: Sequence[PointResult]) -> float:
    """The squared coefficient of variation of what a request takes alone, from the spread above its median; 1 where
    nobody knows. A skewed spread counts for more than it is."""
    for point in points:
        alone = point.summary.latencies.get("e2e_ms") if point.point.role == "synchronous" else None
        if alone is not None and alone.mean and alone.p50 is not None and alone.p90 is not None:
            return ((alone.p90 - alone.p50) / NORMAL_P90 / alone.mean) ** 2
    return 1.0


def ceiling_rps(points: Sequence[PointResult]) -> float | None:
    """The highest rate that requests were completed at: no server completes more than it can."""
    rates = [point.summary.completed_rps or 0.0 for point in points if point.summary.valid]
    return max(rates, default=0.0) or None


def residence_s(points: Sequence[PointResult], rate_rps: float) -> float:
    """What a request takes at the highest load measured up to a rate; the least that is known where none is."""
    known = sorted(
        (point.summary.completed_rps or 0.0, point.summary.latencies["e2e_ms"].mean or 0.0)
        for point in points
        if point.summary.valid and "e2e_ms" in point.summary.latencies
    )
    below = [mean_ms for rate, mean_ms in known if rate <= rate_rps]
    return (below[-1] if below else known[0][1] if known else 0.0) / 1000


def memory_s(points: Sequence[PointResult], process: ArrivalProcess, rate_rps: float) -> float:
    """The relaxation time at a rate, from what was measured on the same launch; infinite where it has no ceiling."""
    ceiling = ceiling_rps(points)
    if ceiling is None:
        return inf
    variation = arrival_variation(process) + service_variation(points)
    return relaxation_s(rate_rps, ceiling, variation=variation, residence_s=residence_s(points, rate_rps))


def witnesses(point: PointResult, points: Sequence[PointResult]) -> tuple[int, int]:
    """How many independent requests the window of an open-loop point can hold at most: one a relaxation time to
    certify, three to refute. Past the ceiling no queue settles, and nothing bounds what its growth refutes."""
    load, window_s = point.point.load, point.summary.window_s
    if not isinstance(load, OpenLoop) or load.rate_rps is None:
        return point.summary.requests, point.summary.requests
    ceiling = ceiling_rps(points) or 0.0
    to_certify = int(window_s / memory_s(points, load.arrivals, load.rate_rps))
    if load.rate_rps >= ceiling:
        return to_certify, point.summary.requests
    heaviest = min(load.rate_rps, HEAVY * ceiling)
    return to_certify, int(WITNESSES_TO_REFUTE * window_s / memory_s(points, load.arrivals, heaviest))
