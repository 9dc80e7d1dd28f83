"""The search for a capacity as a pure function: from the looks taken on one launch to the next one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, inf, log

from experiments.schema.load import ArrivalProcess, LoadPlan, LoadPoint, OpenLoop, StopRule
from experiments.schema.result import PointResult
from experiments.schema.slo import SLO
from tasks.analysis.capacity import Look, capacity, looks_at, planned_looks
from tasks.analysis.crossing import Seen, crossing
from tasks.analysis.goodput import ALPHA
from tasks.analysis.intervals import certification_requests
from tasks.analysis.relaxation import HEAVY, ceiling_rps, memory_s

OVER = 2
"""Requests over the limit that a look should bear and still certify."""

FIRST_GAP = 0.35
"""ln of the capacity over the first rate that is to certify it, where nothing is certified yet."""

BEYOND = 1.15
"""Of the ceiling: a rate that no server holds, where nothing is refuted yet."""

RAMP = 0.15
"""Of a look's window goes before it, while the rate rises: the window does not begin on an idle server."""

MARGIN = 1.2
"""On the window that a look needs: what it is planned by are estimates."""

FIRST_SHARE, SHARE = 1 / 6, 1 / 3
"""Of the budget that is left goes at most into the first look, and into a later one; all of it into the last."""

TWICE = 2
NEWS = 0.15
"""A look that narrows its side of the interval by less is not worth its seconds."""


FINEST = 0.45
"""Of ln(1 + resolution): a certified rate that much below the crossing, and a refuted one that much above, are near
enough to one another."""


@dataclass(frozen=True, slots=True)
class Search:
    """What one SLO's search under one arrival process has come to. `crossing` is where the percentile meets the limit
    as far as the looks tell; `undecided` are the rates and windows of its own looks that decided nothing."""

    slo: SLO
    process: ArrivalProcess
    certified: float | None
    refuted: float | None
    crossing: float
    ceiling: float
    looks: int
    undecided: tuple[tuple[float, float], ...]
    seen: tuple[Seen, ...]


def next_look(
    plan: LoadPlan, done: Sequence[PointResult], slos: Sequence[SLO], launch: int | None = None
) -> LoadPoint | None:
    """None once every capacity is known to the resolution, or looks or budget are spent. SLO after SLO under the first
    arrival process, then under the others; the budget is shared by those that are still open.

    A search belongs to one launch: `launch` begins anew what another one left open, and where the others looked says
    only where to look first. None stands for the launch of all points.
    """
    if plan.capacity is None or ceiling_rps(done) is None:
        return None
    asked = [(slo, process) for process in plan.open_loop.arrivals for slo in slos]
    others = {point.launch for point in done if point.point.role == "capacity"} - {launch} if launch is not None else ()
    unfinished = [one for one in asked if not any(_is_finished(plan, one, done, len(slos), other) for other in others)]
    return next(iter(_looks(plan, unfinished, done, len(slos), launch)), None)


def _is_finished(
    plan: LoadPlan, asked: tuple[SLO, ArrivalProcess], done: Sequence[PointResult], slos: int, launch: int
) -> bool:
    return not list(_looks(plan, [asked], done, slos, launch))


def _looks(
    plan: LoadPlan,
    asked: Sequence[tuple[SLO, ArrivalProcess]],
    done: Sequence[PointResult],
    slos: int,
    launch: int | None,
) -> Iterator[LoadPoint]:
    """What each search that is still open would look at next."""
    assert plan.capacity is not None
    own = [point for point in done if launch is None or point.launch == launch]
    states = [_state(plan, slo, process, done, own, slos) for slo, process in asked]
    unfinished = [state for state in states if not _is_over(state, plan.capacity.resolution, plan.capacity.max_looks)]
    left_s = plan.capacity.budget_seconds - spent_s(own)
    for state in unfinished:
        look = _look(plan, state, done, left_s / len(unfinished), slos)
        if look is not None:
            load = OpenLoop(arrivals=state.process, rate_rps=look[0])
            yield LoadPoint(step=len(done), role="capacity", load=load, stop=look[1], slo=str(state.slo))


def spent_s(done: Sequence[PointResult]) -> float:
    """Of the budget: the looks' own seconds, ramps included."""
    return sum(point.point.stop.seconds or 0.0 for point in done if point.point.role == "capacity")


def _state(
    plan: LoadPlan,
    slo: SLO,
    process: ArrivalProcess,
    done: Sequence[PointResult],
    of_launch: Sequence[PointResult],
    slos: int,
) -> Search:
    ceiling = ceiling_rps(done) or 0.0
    found = capacity(slo, of_launch, looks=planned_looks(plan, slos), arrivals=process, known=done)
    seen = tuple(_seen(look, slo) for look in looks_at(slo, done) if _arrivals_of(look[0]) == process)
    own = [
        point
        for point in of_launch
        if point.point.role == "capacity" and point.point.slo == str(slo) and _arrivals_of(point) == process
    ]
    undecided = tuple(
        (_asked_rps(point), point.summary.window_s)
        for point in own
        if _is_between(_asked_rps(point), found.certified_rps, found.refuted_rps)
    )
    at = crossing(seen, ceiling)
    return Search(slo, process, found.certified_rps, found.refuted_rps, at, ceiling, len(own), undecided, seen)


def _arrivals_of(point: PointResult) -> ArrivalProcess | None:
    load = point.point.load
    return load.arrivals if isinstance(load, OpenLoop) else None


def _asked_rps(point: PointResult) -> float:
    load = point.point.load
    return (load.rate_rps if isinstance(load, OpenLoop) else None) or 0.0


def _seen(look: Look, slo: SLO) -> Seen:
    point, seen = look
    excess = log(seen.percentile_ms / slo.bound_ms) if seen.percentile_ms else inf
    return Seen(_asked_rps(point), excess, seen.effective_n, seen.n)


def _is_between(rate: float, low: float | None, high: float | None) -> bool:
    return (low is None or rate > low) and (high is None or rate < high)


def _is_over(state: Search, resolution: float, max_looks: int) -> bool:
    if state.looks >= max_looks:
        return True
    if state.certified is None or state.refuted is None:
        return state.refuted is not None and state.refuted < 0.01 * state.ceiling
    return state.refuted <= state.certified * (1 + resolution)


def _look(
    plan: LoadPlan, state: Search, done: Sequence[PointResult], left_s: float, slos: int
) -> tuple[float, StopRule] | None:
    """The rate that narrows the interval most, and how long to look at it; None where what is left of the budget could
    decide nothing there."""
    shares = (FIRST_SHARE,) if state.looks == 0 else (SHARE, 1.0)
    candidates = (
        _candidate(plan, state, done, left_s * share / (1 + RAMP), slos, is_below=is_below)
        for share in shares
        for is_below in _sides(state)
    )
    return next((look for look in candidates if look is not None and (look[1].seconds or 0.0) <= left_s), None)


def _candidate(
    plan: LoadPlan, state: Search, done: Sequence[PointResult], most_s: float, slos: int, *, is_below: bool
) -> tuple[float, StopRule] | None:
    """On one side of the crossing, in at most `most_s`, unless not even no request over the limit would certify then;
    None where it would tell nothing new."""
    assert plan.capacity is not None
    alpha = ALPHA / planned_looks(plan, slos).to_certify
    rate = _rate(state, plan.capacity.resolution, most_s, is_below=is_below)
    if is_below:
        rate = _affordable(rate, state, done, most_s / _fewest(state, alpha))
    if not _is_news(rate, state, is_below=is_below):
        return None
    least_s = max(plan.min_seconds, certification_requests(state.slo.percentile, 0, alpha) / rate)
    window_s = max(least_s, min(most_s, _wanted_s(state, done, rate, alpha)))
    return rate, StopRule(seconds=round(window_s * (1 + RAMP), 3), ramp_s=round(window_s * RAMP, 3))


def _fewest(state: Search, alpha: float) -> float:
    """Witnesses that certify with none over the limit, with a margin on the time that each takes."""
    return MARGIN * certification_requests(state.slo.percentile, 0, alpha)


def _is_news(rate: float, state: Search, *, is_below: bool) -> bool:
    known, gap = (state.certified if is_below else state.refuted), _gap(state, is_below=is_below)
    if not known or rate <= 0:
        return rate > 0
    return log(rate / known) * (1 if is_below else -1) >= NEWS * max(gap, 0.0)


def _sides(state: Search) -> tuple[bool, bool]:
    """The side of the crossing with the wider gap first; True is below."""
    return (True, False) if _gap(state, is_below=True) >= _gap(state, is_below=False) else (False, True)


def _gap(state: Search, *, is_below: bool) -> float:
    """ln of the crossing over the certified rate, or of the refuted rate over the crossing."""
    if is_below:
        return log(state.crossing / state.certified) if state.certified else inf
    return log(state.refuted / state.crossing) if state.refuted else inf


def _rate(state: Search, resolution: float, most_s: float, *, is_below: bool) -> float:
    """Half-way to the crossing, and not nearer than the resolution asks for; and beyond every rate at which a look as
    long as this one can be decided nothing."""
    gap, finest = _gap(state, is_below=is_below), FINEST * log(1 + resolution)
    step = FIRST_GAP if gap == inf else max(gap / 2, finest)
    in_vain = [
        abs(log(state.crossing / rate))
        for rate, window_s in state.undecided
        if (rate < state.crossing) == is_below and window_s * TWICE > most_s
    ]
    if in_vain:
        step = max(step, TWICE * max(in_vain) if gap == inf else (max(in_vain) + gap) / 2)
    if not is_below and gap == inf and state.crossing * exp(step) > state.ceiling:
        return state.ceiling * max(BEYOND, exp(1.5 * max(in_vain, default=0.0)))
    return state.crossing * exp(-step if is_below else step)


def _affordable(rate: float, state: Search, done: Sequence[PointResult], most_s: float) -> float:
    """The highest rate up to `rate` at which the queue remembers no longer than `most_s`."""
    low, high = 0.0, rate
    if memory_s(done, state.process, rate) <= most_s:
        return rate
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if memory_s(done, state.process, middle) <= most_s else (low, middle)
    return low


def _wanted_s(state: Search, done: Sequence[PointResult], rate: float, alpha: float) -> float:
    """Witnesses for the percentile at its α, doubled with each look that was in vain; past the ceiling as long as the
    queue takes to pass the limit."""
    load, bound_s = rate / state.ceiling, state.slo.bound_ms / 1000
    if load >= 1:
        return (3 * bound_s / max(load - 1, 0.01) + 50 / rate) * float(TWICE ** len(state.undecided))
    nearest = min(state.seen, key=lambda seen: abs(seen.rate_rps - rate), default=None)
    worth = max(0.02, nearest.effective_n / nearest.n) if nearest is not None and nearest.n else 1.0
    memory = memory_s(done, state.process, min(rate, HEAVY * state.ceiling) if rate > state.crossing else rate)
    needed = certification_requests(state.slo.percentile, OVER, alpha)
    return MARGIN * needed * max(memory, 1 / rate / worth) * float(TWICE ** len(state.undecided))
