"""Points as columns: numbers short enough for a page of 20,000 points, rounded so that no rounding flatters."""

from collections.abc import Iterable, Sequence
from math import ceil, floor, log10
from typing import Any

from experiments.schema.load import OpenLoop
from experiments.schema.result import CellResult, Distribution, PointResult

PERCENTILES = ("p50", "p90", "p95", "p99")
DIGITS = 5
LATENCY_DIGITS = 4
BOUND_DIGITS = 3
"""Bounds are rounded outwards: an interval on the page is never narrower than the one that was computed."""

USERS = ("ladder", "ramp")
"""Closed loops by which a number of users is judged; those on the way to saturation are not."""

FIRST = ("ttft_response_ms", "ttft_ms")
LAST = ("e2e_response_ms", "e2e_ms")
EACH = ("itl_ms", "tpot_ms")

Columns = dict[str, list[Any]]


def point_columns(cells: Sequence[CellResult]) -> Columns:
    """One entry a load point in each column; `cell` is the index of its cell."""
    rows = [
        {"cell": index, **point_row(point, each_of(cell))} for index, cell in enumerate(cells) for point in cell.points
    ]
    return as_columns(rows)


def as_columns(rows: Sequence[dict[str, Any]]) -> Columns:
    """Rows with equal keys -> a list for each key."""
    return {key: [row[key] for row in rows] for key in (rows[0] if rows else ())}


def each_of(cell: CellResult) -> str:
    """The latency of each token: ITL, or TPOT where the engine does not tell how many tokens a chunk holds."""
    return "itl_ms" if any(_of(point, ("itl_ms",)).p50 is not None for point in cell.points) else "tpot_ms"


def point_row(point: PointResult, each: str) -> dict[str, Any]:
    """Latencies are response times (from due) in an open loop; in a closed one due and sent coincide."""
    load, summary = point.point.load, point.summary
    is_open = isinstance(load, OpenLoop)
    row: dict[str, Any] = {
        "role": point.point.role,
        "arrivals": load.arrivals.kind if isinstance(load, OpenLoop) else None,
        "rate_rps": short(load.rate_rps) if isinstance(load, OpenLoop) else None,
        "users": None if isinstance(load, OpenLoop) else load.concurrency,
        "round": point.round,
        "valid": int(summary.valid),
        "invalid": "; ".join(summary.invalid_reasons),
        "requests": summary.requests,
        "achieved_rps": short(summary.achieved_rps),
        "output_tokens_per_s": short(summary.output_tokens_per_s),
        "total_tokens_per_s": short(summary.total_tokens_per_s),
        "per_user_tokens_per_s": short(summary.per_user_tokens_per_s),
        "in_flight": short(summary.mean_concurrency),
        "error_share": short(summary.error_share),
        "bound_share": short(point.bound.share) if point.bound else None,
    }
    names = {"first": FIRST if is_open else FIRST[1:], "each": (each,), "last": LAST if is_open else LAST[1:]}
    for name, candidates in names.items():
        row |= latency_row(name, _of(point, candidates), bounded=is_open or point.point.role in USERS)
    return row


def latency_row(name: str, latency: Distribution, *, bounded: bool) -> dict[str, Any]:
    """Each percentile in ms, with the bounds of its interval where a load is judged by it."""
    row: dict[str, Any] = {}
    for percentile in PERCENTILES:
        low, high = latency.intervals.get(percentile, (None, None)) if bounded else (None, None)
        row |= {
            f"{name}_{percentile}": short(_value(latency, percentile), LATENCY_DIGITS),
            f"{name}_{percentile}_low": short(low, BOUND_DIGITS, floor),
            f"{name}_{percentile}_high": short(high, BOUND_DIGITS, ceil),
        }
    return row


def short(value: float | None, digits: int = DIGITS, rounding: Any = round) -> float | int | None:
    """Significant digits; `rounding` is round, floor or ceil."""
    if value is None or value == 0:
        return value
    places = digits - 1 - floor(log10(abs(value)))
    scaled = value * 10.0**places
    if abs(scaled - round(scaled)) < 1e-6:
        scaled = round(scaled)  # 0.3 · 10⁴ is 2999.9999999999995: no ground to round a whole step away
    rounded: float = rounding(scaled) / 10.0**places if places > 0 else rounding(scaled) * 10 ** (-places)
    return int(rounded) if float(rounded).is_integer() else rounded


def _value(latency: Distribution, percentile: str) -> float | None:
    return {"p50": latency.p50, "p90": latency.p90, "p95": latency.p95, "p99": latency.p99}[percentile]


def _of(point: PointResult, names: Iterable[str]) -> Distribution:
    """The first of these latencies that was measured."""
    found = (point.summary.latencies.get(name) for name in names)
    return next((one for one in found if one is not None and one.p50 is not None), Distribution())
