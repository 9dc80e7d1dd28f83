"""Two releases compared over independent launches: moderated t, false discovery rate, practical margin, verdict.

A replicate is a launch: requests of one launch share its luck (memory layout, clocks, neighbours), so their number
says nothing of how another launch would come out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Floats = NDArray[np.float64]
Verdict = Literal["regressed", "improved", "equivalent", "undecided"]


@dataclass(frozen=True, slots=True)
class Look:
    """Launches a side, and the share of the false discovery rate that is spent when so many are there."""

    launches: int
    q: float


SHARES = {1: (0.05,), 2: (0.02, 0.03), 3: (0.01, 0.015, 0.025)}
"""What each of so many looks spends of q."""


def looks_of(launches: Sequence[int]) -> tuple[Look, ...]:
    """Looks at these numbers of launches a side. Raises ValueError where they do not rise, or are more than three."""
    if len(launches) not in SHARES or list(launches) != sorted(set(launches)) or min(launches) < 2:
        raise ValueError(f"{list(launches)} are no looks: give one to three rising numbers of launches, from 2 on")
    return tuple(Look(number, q) for number, q in zip(launches, SHARES[len(launches)], strict=True))


LOOKS = looks_of((4, 6, 8))
"""Together q = 0.05 over a release: where a look leaves something undecided, the next one has more launches."""

SMALLEST_MARGIN = 0.03
ENOUGH_CANARIES = 8


@dataclass(frozen=True, slots=True)
class Series:
    """One figure on the launches of both sides. `metric` bears its unit; variances are pooled within it.

    `group` names what shares launches (a variant): figures of one launch are not independent of each other. Values
    are positive; a launch that has no valid figure is left out.
    """

    cell: str
    at: str
    metric: str
    group: str
    higher_is_better: bool
    baseline: tuple[float, ...]
    candidate: tuple[float, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        """Cell, load and figure."""
        return self.cell, self.at, self.metric


@dataclass(frozen=True, slots=True)
class Judgement:
    """`change` is the relative change of the geometric means, candidate over baseline; `interval` its bounds at
    confidence `level`. `q` is the false discovery rate at which the change would be called real. `margin` is the
    smallest change that matters. All are None where there was too little to compare; `reason` says so."""

    series: Series
    verdict: Verdict
    margin: float
    change: float | None = None
    interval: tuple[float, float] | None = None
    level: float | None = None
    p: float | None = None
    q: float | None = None
    launches: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Prior:
    """What the other series of a metric say of a variance: s0² with d0 degrees of freedom, infinite where all agree."""

    variance: float
    degrees: float


def variance_prior(variances: Floats, degrees: Floats) -> Prior:
    """Smyth 2004 (Statistical Applications in Genetics and Molecular Biology 3:1), section 6.2: moments of log s².

    With fewer than two series there is nothing to learn from: no degrees of freedom.
    """
    known = (variances > 0) & (degrees > 0)
    if known.sum() < 2:
        return Prior(1.0, 0.0)
    half = degrees[known] / 2
    centred = np.log(variances[known]) - special.digamma(half) + np.log(half)
    excess = float(np.var(centred, ddof=1) - np.mean(special.polygamma(1, half)))
    if excess <= 0:
        return Prior(float(np.exp(np.mean(centred))), np.inf)
    half_prior = inverse_trigamma(excess)
    return Prior(
        float(np.exp(np.mean(centred) + special.digamma(half_prior) - np.log(half_prior))), float(2 * half_prior)
    )


def inverse_trigamma(value: float) -> float:
    """x with ψ'(x) = value, by Newton's steps on 1/ψ', which is convex and nearly straight."""
    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(special.polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(special.polygamma(2, x))
        x += step
        if -step / x < 1e-10:
            break
    return x


def false_discovery_rates(p: Floats) -> Floats:
    """Benjamini and Hochberg 1995: the smallest q at which each of the tests is a discovery."""
    order = np.argsort(p)[::-1]
    ranks = np.arange(len(p), 0, -1)
    q = np.empty(len(p))
    q[order] = np.minimum.accumulate(np.minimum(p[order] * len(p) / ranks, 1.0))
    return q


def practical_margin(canaries: Sequence[Sequence[float]], own: float) -> float:
    """δ as a relative change: twice the spread of the log ratios of past comparisons of A against A, and never below
    3 %; before there are eight comparisons the experiment's own value."""
    if len(canaries) < ENOUGH_CANARIES:
        return own
    ratios = np.array([ratio for one in canaries for ratio in one])
    return max(SMALLEST_MARGIN, float(np.expm1(2 * np.sqrt(np.mean(ratios**2)))))


def compare(series: Sequence[Series], margins: Mapping[str, float], look: Look) -> tuple[Judgement, ...]:
    """The judgement of each series, all tests of one look under one false discovery rate.

    `margins` gives δ by metric. Raises KeyError for a metric without one.
    """
    found: dict[int, Judgement] = {}
    testable = [i for i, one in enumerate(series) if min(len(one.baseline), len(one.candidate)) >= 2]
    if testable:
        found = dict(zip(testable, _judged([series[i] for i in testable], margins, look), strict=True))
    return tuple(found.get(i) or _too_few(one, margins[one.metric]) for i, one in enumerate(series))


def compare_over_looks(
    series: Sequence[Series],
    margins: Mapping[str, float],
    decided: Mapping[tuple[str, str, str], Judgement],
    look: Look,
) -> tuple[Judgement, ...]:
    """As `compare`; what an earlier look decided stays decided, and spends nothing of this one."""
    open_ones = [one for one in series if one.key not in decided]
    fresh = {one.series.key: one for one in compare(open_ones, margins, look)}
    return tuple(decided.get(one.key) or fresh[one.key] for one in series)


def decided(judgements: Sequence[Judgement]) -> dict[tuple[str, str, str], Judgement]:
    """Those that no further launch can change."""
    return {one.series.key: one for one in judgements if one.verdict != "undecided"}


def broken_canary(judgements: Sequence[Judgement]) -> tuple[Judgement, ...]:
    """Of A against A: where the same test, at the same margin, sees a change that is not there."""
    return tuple(one for one in judgements if one.verdict in ("regressed", "improved"))


def log_ratio(one: Series) -> float:
    """Difference of the mean logs, candidate minus baseline."""
    return float(np.mean(np.log(one.candidate)) - np.mean(np.log(one.baseline)))


@dataclass(frozen=True, slots=True)
class _Test:
    """Arrays over series: log ratio, moderated standard error and its degrees of freedom."""

    ratio: Floats
    error: Floats
    degrees: Floats

    @property
    def p(self) -> Floats:
        """Two-sided; where nothing varies at all, a difference is certain and equality as well."""
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.abs(self.ratio) / self.error
        p: Floats = 2 * stats.t.sf(np.where(np.isnan(t), 0.0, t), self.degrees)
        return p

    def half_width(self, level: float) -> Floats:
        """Of the interval of the log ratio."""
        width: Floats = self.error * stats.t.ppf((1 + level) / 2, self.degrees)
        return width


def _judged(series: Sequence[Series], margins: Mapping[str, float], look: Look) -> list[Judgement]:
    test = _moderated(series)
    level = 1 - 2 * look.q
    p, half = test.p, test.half_width(level)
    q = false_discovery_rates(p)
    return [
        _judgement(one, margins[one.metric], look, ratio=float(r), half=float(h), p=float(p_), q=float(q_), level=level)
        for one, r, h, p_, q_ in zip(series, test.ratio, half, p, q, strict=True)
    ]


def _judgement(
    one: Series, margin: float, look: Look, *, ratio: float, half: float, p: float, q: float, level: float
) -> Judgement:
    limit = float(np.log1p(margin))
    verdict: Verdict = "undecided"
    if q < look.q and abs(ratio) >= limit:
        verdict = "improved" if (ratio > 0) == one.higher_is_better else "regressed"
    elif abs(ratio) + half <= limit:
        verdict = "equivalent"
    return Judgement(
        series=one,
        verdict=verdict,
        margin=margin,
        change=float(np.expm1(ratio)),
        interval=(float(np.expm1(ratio - half)), float(np.expm1(ratio + half))),
        level=level,
        p=p,
        q=q,
        launches=min(len(one.baseline), len(one.candidate)),
        reason=_why(verdict, q, look, ratio, limit),
    )


def _why(verdict: Verdict, q: float, look: Look, ratio: float, limit: float) -> str:
    if verdict != "undecided":
        return ""
    if q < look.q:
        return "the change is real, and smaller than the margin"
    if abs(ratio) >= limit:
        return f"the change exceeds the margin, and could be chance (q = {q:.2g}, limit {look.q:g})"
    return "the interval reaches beyond the margin"


def _too_few(one: Series, margin: float) -> Judgement:
    fewest = min(len(one.baseline), len(one.candidate))
    side = "baseline" if len(one.baseline) == fewest else "candidate"
    reason = f"the {side} has {fewest} launch{'' if fewest == 1 else 'es'} with a valid figure; two are needed"
    return Judgement(series=one, verdict="undecided", margin=margin, launches=fewest, reason=reason)


def _moderated(series: Sequence[Series]) -> _Test:
    """Two-sample t on logs with the pooled variance, shrunk toward that of the metric's other series."""
    ratio = np.array([log_ratio(one) for one in series])
    variance, degrees = np.array([_variance(one) for one in series]).T
    shrunk, total = variance.copy(), degrees.copy()
    for metric in {one.metric for one in series}:
        rows = np.array([one.metric == metric for one in series])
        prior = variance_prior(variance[rows], degrees[rows])
        shrunk[rows], total[rows] = _shrunk(variance[rows], degrees[rows], prior, _pooled_degrees(series, rows))
    sizes = np.array([1 / len(one.baseline) + 1 / len(one.candidate) for one in series])
    return _Test(ratio, np.sqrt(shrunk * sizes), total)


def _variance(one: Series) -> tuple[float, float]:
    logs = [np.log(one.baseline), np.log(one.candidate)]
    degrees = sum(len(side) - 1 for side in logs)
    return float(sum(np.sum((side - side.mean()) ** 2) for side in logs) / degrees), float(degrees)


def _shrunk(variance: Floats, degrees: Floats, prior: Prior, most: float) -> tuple[Floats, Floats]:
    if prior.degrees == 0:
        return variance, degrees
    if np.isinf(prior.degrees):
        return np.full_like(variance, prior.variance), np.full_like(degrees, most)
    total = prior.degrees + degrees
    return (prior.degrees * prior.variance + degrees * variance) / total, np.minimum(total, most)


def _pooled_degrees(series: Sequence[Series], rows: NDArray[np.bool_]) -> float:
    """No variance is known better than from all launches there were: those of one group count once."""
    by_group: dict[str, float] = {}
    for one, there in zip(series, rows, strict=True):
        if there:
            by_group[one.group] = max(by_group.get(one.group, 0.0), _variance(one)[1])
    return sum(by_group.values())
