"""Capacity per SLO: the highest open-loop rate that certifiably holds it, and the lowest that refutably does not."""

from collections.abc import Sequence

from experiments.schema.load import OpenLoop
from experiments.schema.result import Capacity, PointResult, SLOAttainment
from experiments.schema.slo import SLO
from tasks.analysis.goodput import ALPHA, Verdict, judge, why_unknown

Look = tuple[PointResult, SLOAttainment]
Judged = tuple[PointResult, SLOAttainment, Verdict]

ONE_LAUNCH = "of one launch: a claim about the variant needs three or more"


def capacity(slo: SLO, points: Sequence[PointResult]) -> Capacity:
    """Looks share one α (Bonferroni), those that could certify theirs and those that could refute theirs. Certified
    rates lie below the lowest refuted one. The synchronous point may refute: a limit that one request at a time breaks
    is broken at every rate."""
    looks = [look for look in (_look(slo, point) for point in points) if look is not None]
    if not looks:
        return _unknown(slo, _why_no_look(slo, points))
    judged = _judged(slo, looks)
    refuted = min((_rate(point) for point, _, verdict in judged if verdict == "refuted"), default=None)
    certified = max(
        (_rate(point) for point, _, verdict in judged if verdict == "certified" and _is_below(_rate(point), refuted)),
        default=None,
    )
    if certified is not None:
        looked = sum(_may_certify(point) for point, _ in looks)
        return _known(
            slo,
            "certified",
            certified,
            refuted,
            f"at {100 - 100 * ALPHA:g} % over {counted(looked, 'look')}; {ONE_LAUNCH}",
        )
    if refuted is not None:
        return _known(slo, "refuted", None, refuted, _why_refuted(slo, judged, refuted))
    return _unknown(slo, _why_undecided(slo, judged))


def _look(slo: SLO, point: PointResult) -> Look | None:
    if not point.summary.valid or point.point.role == "saturation":
        return None
    for seen in point.summary.slos:
        if seen.slo == str(slo) and seen.share_over is not None:
            return point, seen
    return None


def _may_certify(point: PointResult) -> bool:
    """Only a stationary open-loop point certifies a rate."""
    return point.point.role == "open_loop"


def _judged(slo: SLO, looks: Sequence[Look]) -> list[Judged]:
    to_certify = ALPHA / max(1, sum(_may_certify(point) for point, _ in looks))
    to_refute = ALPHA / len(looks)
    return [(point, seen, _judge(slo, point, seen, to_certify, to_refute)) for point, seen in looks]


def _judge(slo: SLO, point: PointResult, seen: SLOAttainment, to_certify: float, to_refute: float) -> Verdict:
    n, share = seen.effective_n, seen.share_over or 0.0
    if _may_certify(point) and judge(n, share, slo.percentile, to_certify) == "certified":
        return "certified"
    return "refuted" if judge(n, share, slo.percentile, to_refute) == "refuted" else "unknown"


def _rate(point: PointResult) -> float:
    """The rate that the server really got: requests sent per second of W."""
    summary = point.summary
    return summary.achieved_rps or 0.0


def _is_below(rate: float, refuted: float | None) -> bool:
    return refuted is None or rate < refuted


def _known(slo: SLO, verdict: Verdict, certified: float | None, refuted: float | None, reason: str) -> Capacity:
    return Capacity(
        slo=str(slo), name=slo.name, verdict=verdict, certified_rps=certified, refuted_rps=refuted, reason=reason
    )


def _unknown(slo: SLO, reason: str) -> Capacity:
    return Capacity(slo=str(slo), name=slo.name, verdict="unknown", reason=reason)


def _why_refuted(slo: SLO, judged: Sequence[Judged], rate: float) -> str:
    """Names the point with the lowest refuted rate."""
    point, seen, _ = next(item for item in judged if item[2] == "refuted" and _rate(item[0]) == rate)
    where = "one request at a time" if point.point.role == "synchronous" else f"{rate:.3g} rps"
    at = f"p{slo.percentile:g} is {seen.percentile_ms:.4g} ms" if seen.percentile_ms is not None else "requests failed"
    return f"at {where} {at}, {seen.share_over:.0%} of n = {seen.n} at or over the limit; {ONE_LAUNCH}"


def _why_undecided(slo: SLO, judged: Sequence[Judged]) -> str:
    """Of the stationary point of the lowest rate: it is the likeliest to certify."""
    stationary = [(point, seen) for point, seen, _ in judged if _may_certify(point)]
    if not stationary:
        return "there is no valid open-loop point to certify at"
    point, seen = min(stationary, key=lambda item: _rate(item[0]))
    why = why_unknown(seen.effective_n, seen.share_over or 0.0, slo, ALPHA / len(stationary))
    return f"at {_rate(point):.3g} rps {why} (99 % shared by {counted(len(stationary), 'look')})"


def counted(count: int, noun: str) -> str:
    """1 look, 3 looks."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _why_no_look(slo: SLO, points: Sequence[PointResult]) -> str:
    told = [seen.reason for point in points for seen in point.summary.slos if seen.slo == str(slo) and seen.reason]
    open_loop = [point for point in points if isinstance(point.point.load, OpenLoop)]
    if not open_loop:
        return "no open-loop point was measured"
    if not any(point.summary.valid for point in open_loop):
        return "every open-loop point is invalid"
    return told[0] if told else f"{slo} was not held against any point"
