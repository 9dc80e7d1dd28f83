"""Latencies as distributions: percentiles by linear interpolation, each with n and its interval, or its reason."""

from collections.abc import Mapping

import numpy as np

from experiments.schema.result import Distribution
from tasks.analysis.columns import Columns, Flags, Floats
from tasks.analysis.intervals import cautious_n_at, certification_requests, linear_quantile, quantile_interval
from tasks.analysis.latency import PER_REQUEST, Gaps, gaps

PERCENTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
P99_NEEDS = certification_requests(99)
"""459: below it not even 99 % confidence and no request over a limit could certify a p99."""

_WHY_ABSENT = {
    "tpot_ms": "no completed request has two chunks and a known count of output tokens",
    "tpot_compat_ms": "no completed request has two chunks and a known count of output tokens",
    "ttft_answer_ms": "no completed request has an answer: all its chunks are reasoning",
    "icl_ms": "no completed request has two chunks",
    "longest_stall_ms": "no completed request has two chunks",
}


def latency_distributions(columns: Columns) -> dict[str, Distribution]:
    """Every latency of measurement.md over the completed requests due in W."""
    by_due = np.argsort(columns.due, kind="stable")
    measured = columns.measured
    found = {
        name: _per_request(name, define(columns)[by_due], measured[by_due]) for name, define in PER_REQUEST.items()
    }
    between = gaps(columns).of(measured)
    found["icl_ms"] = _pooled(between.ms, between, "gaps") if len(between.ms) else _absent("icl_ms", columns)
    found["itl_ms"] = _token_weighted(between, columns)
    return found


def _per_request(name: str, values: Floats, measured: Flags) -> Distribution:
    present = values[measured & ~np.isnan(values)]
    if not len(present):
        return absent(_reason(name, bool(measured.any())))
    return distribution(present, independent=independent_at(present))


def _absent(name: str, columns: Columns) -> Distribution:
    return absent(_reason(name, bool(columns.measured.any())))


def _reason(name: str, any_completed: bool) -> str:
    if not any_completed:
        return "no request due in the window completed"
    return _WHY_ABSENT.get(name, "no completed request has it")


def _pooled(samples: Floats, between: Gaps, n_is: str) -> Distribution:
    """Gaps of one request are not independent of each other: the intervals rest on the number of requests."""
    requests = len(np.unique(between.request))
    return distribution(samples, independent=dict.fromkeys(PERCENTILES, requests), n_is=n_is)


def _token_weighted(between: Gaps, columns: Columns) -> Distribution:
    """ITL is absent as soon as one count is unknown: the known ones may well be the short gaps."""
    if not len(between.ms):
        return _absent("icl_ms", columns)
    unknown = len(np.unique(between.request[np.isnan(between.tokens)]))
    if unknown:
        of = len(np.unique(between.request))
        return absent(
            f"in {unknown} of {of} requests the server does not say how many tokens a chunk bears; see icl_ms"
        )
    samples = between.token_samples()
    return _pooled(samples, between, "tokens") if len(samples) else _absent("icl_ms", columns)


def independent_at(series: Floats) -> dict[str, int]:
    """By percentile, how many independent samples a series in due order is worth."""
    return {name: cautious_n_at(series, quantile) for name, quantile in PERCENTILES.items()}


def distribution(samples: Floats, *, independent: Mapping[str, int], n_is: str = "requests") -> Distribution:
    """`independent` is the number of independent samples that each interval may rest on; at least one sample."""
    ordered = np.sort(samples)
    shown = {name: q for name, q in PERCENTILES.items() if name != "p99" or len(ordered) >= P99_NEEDS}
    return Distribution(
        n=len(ordered),
        n_is=n_is,
        effective_n={name: independent[name] for name in shown},
        mean=float(ordered.mean()),
        **{name: linear_quantile(ordered, q) for name, q in shown.items()},
        reasons={} if "p99" in shown else {"p99": f"p99 needs {P99_NEEDS} {n_is}; there are {len(ordered)}"},
        intervals={name: quantile_interval(ordered, q, independent[name]) for name, q in shown.items()},
    )


def absent(reason: str) -> Distribution:
    """No sample: every figure is absent for the same reason."""
    return Distribution(reasons=dict.fromkeys(("mean", *PERCENTILES), reason))
