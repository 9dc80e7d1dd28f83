"""SLOs at one point: attainment, goodput, and what the requests certify or refute about a percentile."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from experiments.schema.result import SLOAttainment
from experiments.schema.slo import SLO
from tasks.analysis.columns import Columns, Flags, Floats
from tasks.analysis.intervals import (
    at_rank,
    below_rank,
    cautious_n_at,
    certification_requests,
    effective_n_at,
    least_over,
    linear_quantile,
    most_over,
    share_interval,
)
from tasks.analysis.latency import PER_REQUEST, gaps

ALPHA = 0.01
"""Certified and refuted each hold with 99 % confidence."""

Verdict = Literal["certified", "refuted", "unknown"]


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """What an SLO is held against: `samples` in due order, infinite for failures; `met` by request, over all requests
    due in W. `independent` is how many independent requests the samples are worth, `cautious` how many where a
    limit is to be certified by this window alone."""

    samples: Floats
    met: Flags
    independent: int
    cautious: int
    reason: str = ""


def judge(n: int, share_over: float, percentile: float, alpha: float) -> Verdict:
    """What n independent requests, of which `share_over` were at or over the bound, show with confidence 1 − alpha.

    For pooled samples the share is a mean over requests of values between 0 and 1, none of which spreads wider than
    the 0-or-1 of the binomial: its bounds hold for them.
    """
    allowed, enough = most_over(n, percentile, alpha), least_over(n, percentile, alpha)
    if allowed is not None and np.ceil(share_over * n - 1e-9) <= allowed:
        return "certified"
    if enough is not None and np.floor(share_over * n + 1e-9) >= enough:
        return "refuted"
    return "unknown"


def why_unknown(n: int, share_over: float, slo: SLO, alpha: float) -> str:
    """The counts behind an `unknown`, and what would decide it."""
    allowed, enough = most_over(n, slo.percentile, alpha), least_over(n, slo.percentile, alpha)
    over = int(np.ceil(share_over * n - 1e-9))
    needed = certification_requests(slo.percentile, over, alpha)
    seen = f"{over} of {n} independent requests were at or over {slo.bound_ms:g} ms"
    if allowed is None and over == 0:
        return f"{seen}; certifying p{slo.percentile:g} needs {needed}"
    least = f"refuting needs {enough} over" if enough is not None else "refuting needs more requests"
    return f"{seen}: certifying p{slo.percentile:g} with {over} over needs {needed} requests, {least}"


def slo_attainments(columns: Columns, slos: Sequence[SLO], *, overloaded: bool = False) -> tuple[SLOAttainment, ...]:
    """Each SLO over all requests due in W: errors, timeouts and never-sent are misses of infinite latency."""
    return tuple(_attainment(slo, held_against(columns, slo), columns.window_s, overloaded) for slo in slos)


def joint_attainment(columns: Columns, slos: Sequence[SLO]) -> tuple[float, float] | None:
    """Goodput in rps and attainment of the requests that met every SLO; None without an SLO or a request."""
    every = [held_against(columns, slo) for slo in slos]
    if not every or not columns.in_window.any() or any(held.reason for held in every):
        return None
    met = np.logical_and.reduce([held.met for held in every])
    return float(met.sum() / columns.window_s), float(met.mean())


def held_against(columns: Columns, slo: SLO) -> Held:
    """The samples and the hits of one SLO. A completed request that cannot have the latency (a TPOT of one token)
    does not break the SLO, and is no sample of it."""
    if not columns.in_window.any():
        return _nothing("no request was due in the window")
    if slo.metric == "itl":
        return _held_tokens(columns, slo)
    by_due = np.argsort(columns.due, kind="stable")
    by_due = by_due[columns.in_window[by_due]]
    latency = np.where(columns.completed, PER_REQUEST[f"{slo.metric}_ms"](columns), np.inf)[by_due]
    samples = latency[~np.isnan(latency)]
    if not len(samples):
        return _nothing(f"no request has a {slo.metric}")
    met, quantile = np.isnan(latency) | (latency < slo.bound_ms), slo.percentile / 100
    return Held(samples, met, effective_n_at(samples, quantile), cautious_n_at(samples, quantile))


def _held_tokens(columns: Columns, slo: SLO) -> Held:
    """ITL: the samples are tokens, a request meets the SLO when its own percentile does; a failed request counts as
    the tokens that it was asked for."""
    between = gaps(columns).of(columns.measured)
    if np.isnan(between.tokens).any():
        return _nothing("the server does not say how many tokens a chunk bears: hold the SLO against tpot instead")
    samples, owner = between.token_samples(), between.sample_owner()
    failed = columns.in_window & ~columns.completed
    lost = int(np.maximum(np.nan_to_num(columns.output_asked[failed], nan=2.0) - 1, 1).sum())
    everything = np.concatenate((samples, np.full(lost, np.inf)))
    if not len(everything):
        return _nothing("no request has two chunks")
    met = columns.completed & _own_percentile_below(samples, owner, len(columns), slo)
    with_samples = len(np.unique(owner)) + int(failed.sum())
    return Held(everything, met[columns.in_window], with_samples, with_samples)


def _own_percentile_below(samples: Floats, owner: np.ndarray, requests: int, slo: SLO) -> Flags:
    below = np.ones(requests, dtype=np.bool_)
    order = np.lexsort((samples, owner))
    owners, starts = np.unique(owner[order], return_index=True)
    for request, own in zip(owners, np.split(samples[order], starts[1:]), strict=True):
        quantile = linear_quantile(own, slo.percentile / 100)
        below[request] = quantile is not None and quantile < slo.bound_ms
    return below


def _nothing(reason: str) -> Held:
    return Held(np.empty(0), np.empty(0, dtype=np.bool_), 0, 0, reason)


def _attainment(slo: SLO, held: Held, window_s: float, overloaded: bool) -> SLOAttainment:
    if held.reason:
        return SLOAttainment(slo=str(slo), attainment=None, goodput_rps=None, verdict="unknown", reason=held.reason)
    ordered = np.sort(held.samples)
    share_over = float((ordered >= slo.bound_ms).mean())
    lower, _ = percentile_bounds(ordered, held.independent, slo.percentile, ALPHA)
    _, upper = percentile_bounds(ordered, held.cautious, slo.percentile, ALPHA)
    verdict, reason = _verdict(slo, held, share_over, overloaded)
    hits = int(held.met.sum())
    return SLOAttainment(
        slo=str(slo),
        attainment=hits / len(held.met),
        goodput_rps=hits / window_s,
        verdict=verdict,
        n=len(held.met),
        effective_n=held.independent,
        share_over=share_over,
        attainment_interval=share_interval(hits, len(held.met)),
        percentile_ms=linear_quantile(ordered, slo.percentile / 100),
        upper_ms=upper,
        lower_ms=lower,
        reason=reason,
    )


def _verdict(slo: SLO, held: Held, share_over: float, overloaded: bool) -> tuple[Verdict, str]:
    verdict = judge(held.cautious, share_over, slo.percentile, ALPHA)
    if verdict != "certified":
        refuted = judge(held.independent, share_over, slo.percentile, ALPHA) == "refuted"
        verdict = "refuted" if refuted else "unknown"
    if verdict == "certified" and overloaded:
        return "unknown", "an overloaded point is not stationary: it certifies nothing"
    return verdict, why_unknown(held.cautious, share_over, slo, ALPHA) if verdict == "unknown" else ""


def percentile_bounds(
    ordered: Floats, independent: int, percentile: float, alpha: float
) -> tuple[float | None, float | None]:
    """(lower, upper) bounds of the percentile, each at confidence 1 − alpha; None where n gives none, or where the
    bound falls on a request that failed."""
    allowed = most_over(independent, percentile, alpha)
    enough = least_over(independent, percentile, alpha)
    upper = None if allowed is None else at_rank(ordered, independent - allowed, independent)
    lower = None if enough is None else below_rank(ordered, independent - enough + 1, independent)
    return lower, upper
