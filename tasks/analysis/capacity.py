"""Capacity per SLO: the highest open-loop rate that certifiably holds it, and the lowest that refutably does not."""

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.schema.load import ArrivalProcess, LoadPlan, OpenLoop
from experiments.schema.result import Capacity, PointResult, SLOAttainment
from experiments.schema.slo import SLO
from tasks.analysis.goodput import ALPHA, Verdict, judge, why_unknown
from tasks.analysis.relaxation import witnesses

Look = tuple[PointResult, SLOAttainment]
Judged = tuple[PointResult, SLOAttainment, Verdict]

ONE_LAUNCH = "of one launch: a claim about the variant needs three or more"
STATIONARY = ("open_loop", "capacity")


@dataclass(frozen=True, slots=True)
class Looks:
    """How many looks share α: known before the first of them, since where the next one is depends on the last."""

    to_certify: int
    to_refute: int


def planned_looks(plan: LoadPlan, slos: int) -> Looks:
    """Every stationary open-loop point, and the most that the search may take for each of `slos`. The synchronous point
    and those past the ceiling can refute only."""
    fractions = plan.open_loop.fractions
    stationary = plan.open_loop.points if fractions is None else sum(fraction <= 1 for fraction in fractions)
    past = 1 if fractions is None else len(fractions) - stationary
    stationary += plan.capacity.max_looks * slos if plan.capacity is not None else 0
    return Looks(stationary, stationary + past + 1)


def capacity(
    slo: SLO,
    points: Sequence[PointResult],
    *,
    looks: Looks | None = None,
    arrivals: ArrivalProcess | None = None,
    known: Sequence[PointResult] = (),
) -> Capacity:
    """From the points of one launch, of one arrival process where `arrivals` names it. `known` are all the points that
    tell how fast the server is, of that launch or of others; without, `points` are.

    Looks share one α (Bonferroni over those planned, or over those taken where there was no plan), those that could
    certify theirs and those that could refute theirs. Certified rates lie below the lowest refuted one. The synchronous
    point may refute: a limit that one request at a time breaks is broken at every rate.
    """
    points = [point for point in points if is_under(point, arrivals)]
    known = known or points
    taken = looks_at(slo, points)
    if not taken:
        return _unknown(slo, _why_no_look(slo, points))
    looks = looks or Looks(sum(may_certify(point) for point, _ in taken), len(taken))
    judged = judge_looks(slo, taken, known, looks)
    refuted = min((refuted_at(point) for point, _, verdict in judged if verdict == "refuted"), default=None)
    certified = max(
        (
            certified_at(point)
            for point, _, verdict in judged
            if verdict == "certified" and _is_below(certified_at(point), refuted)
        ),
        default=None,
    )
    if certified is not None:
        shared = f"at {100 - 100 * ALPHA:g} % over {counted(looks.to_certify, 'look')}; {ONE_LAUNCH}"
        return _known(slo, "certified", certified, refuted, shared)
    if refuted is not None:
        return _known(slo, "refuted", None, refuted, _why_refuted(slo, judged, refuted))
    return _unknown(slo, _why_undecided(slo, judged, known, looks))


def is_under(point: PointResult, arrivals: ArrivalProcess | None) -> bool:
    """Whether a point is of this arrival process; of every one where its loop is closed."""
    load = point.point.load
    return arrivals is None or not isinstance(load, OpenLoop) or load.arrivals == arrivals


def looks_at(slo: SLO, points: Sequence[PointResult]) -> list[Look]:
    """The valid points at which the SLO could be held against the requests."""
    found = ((point, seen) for point in points for seen in point.summary.slos if seen.slo == str(slo))
    return [
        (point, seen)
        for point, seen in found
        if point.summary.valid and point.point.role in (*STATIONARY, "overloaded", "synchronous")
        if seen.share_over is not None
    ]


def may_certify(point: PointResult) -> bool:
    """Only a stationary open-loop point certifies a rate."""
    return point.point.role in STATIONARY


def judge_looks(slo: SLO, taken: Sequence[Look], points: Sequence[PointResult], looks: Looks) -> list[Judged]:
    """Each look at its share of α."""
    return [(point, seen, _judge(slo, point, seen, points, looks)) for point, seen in taken]


def _judge(slo: SLO, point: PointResult, seen: SLOAttainment, points: Sequence[PointResult], looks: Looks) -> Verdict:
    """As many witnesses as the window's own series shows, and as the queue's memory allows: one window may see no more
    than one quiet hour, and find nothing in it that depends on anything."""
    share, (to_certify, to_refute) = seen.share_over or 0.0, witnesses(point, points)
    n = min(seen.effective_n, to_certify)
    if may_certify(point) and judge(n, share, slo.percentile, ALPHA / max(1, looks.to_certify)) == "certified":
        return "certified"
    n = min(seen.effective_n, to_refute)
    return "refuted" if judge(n, share, slo.percentile, ALPHA / looks.to_refute) == "refuted" else "unknown"


def certified_at(point: PointResult) -> float:
    """The rate that the test was of, or what came of it by chance if that was less."""
    return min(_rates(point))


def refuted_at(point: PointResult) -> float:
    """As `certified_at`, the larger of the two."""
    return max(_rates(point))


def _rates(point: PointResult) -> tuple[float, float]:
    achieved, load = point.summary.achieved_rps or 0.0, point.point.load
    asked = load.rate_rps if isinstance(load, OpenLoop) else None
    return achieved, asked if asked is not None else achieved


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
    point, seen, _ = next(item for item in judged if item[2] == "refuted" and refuted_at(item[0]) == rate)
    where = "one request at a time" if point.point.role == "synchronous" else f"{rate:.3g} rps"
    at = f"p{slo.percentile:g} is {seen.percentile_ms:.4g} ms" if seen.percentile_ms is not None else "requests failed"
    return f"at {where} {at}, {seen.share_over:.0%} of n = {seen.n} at or over the limit; {ONE_LAUNCH}"


def _why_undecided(slo: SLO, judged: Sequence[Judged], points: Sequence[PointResult], looks: Looks) -> str:
    """Of the stationary point of the lowest rate: it is the likeliest to certify."""
    stationary = [(point, seen) for point, seen, _ in judged if may_certify(point)]
    if not stationary:
        return "there is no valid open-loop point to certify at"
    point, seen = min(stationary, key=lambda item: certified_at(item[0]))
    n = min(seen.effective_n, witnesses(point, points)[0])
    why = why_unknown(n, seen.share_over or 0.0, slo, ALPHA / looks.to_certify)
    return f"at {certified_at(point):.3g} rps {why} (99 % shared by {counted(looks.to_certify, 'look')})"


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
