"""The load plan as a pure function: from the points done to the next one. Resuming is calling it again."""

from collections.abc import Sequence
from math import ceil

from experiments.schema.load import ArrivalProcess, ClosedLoop, LoadPlan, LoadPoint, OpenLoop, StopRule
from experiments.schema.result import PointResult
from experiments.schema.slo import SLO
from tasks.analysis.capacity import is_under, planned_looks
from tasks.analysis.goodput import ALPHA
from tasks.analysis.intervals import certification_requests
from tasks.analysis.placing import next_fraction
from tasks.analysis.relaxation import memory_s
from tasks.analysis.search import MARGIN, next_look

FEWEST_REQUESTS = 8
"""However slow the engine: below that a point shows nothing."""

FEWEST_USERS = 8
"""Saturation is not believed before so many: an engine may gain nothing from two users and a third from eight, once its
batches fill."""

WAVES = 6
"""Requests a user at least: while the last ones end, fewer users are at work, which costs up to 1/(2 · WAVES) of the
throughput."""


CLOSED = ("synchronous", "saturation", "ladder", "ramp")


def next_point(
    plan: LoadPlan,
    done: Sequence[PointResult],
    *,
    slos: Sequence[SLO] = (),
    warm_up_rps: float | None = None,
    launch: int | None = None,
) -> LoadPoint | None:
    """Synchronous, then saturation at 2, 4, 8 …, then the open-loop rates, then the search for capacities; or the rungs
    of a ladder or a ramp. None when the cell is whole.

    `warm_up_rps` is the rate that the warm-up saw one request at a time, where it is known: it sizes the first point.
    Open-loop points get the requests that certifying each of `slos` takes with none over the limit. `launch` is the one
    that is to measure it, where `done` is of several. A synchronous point in which nothing completed ends the cell.
    """
    if plan.ladder is not None or plan.ramp is not None:
        return _rung(plan, done)
    step = len(done)
    synchronous = _of_role(done, "synchronous")
    if not synchronous:
        stop = stop_rule(plan, warm_up_rps)
        return LoadPoint(step=step, role="synchronous", load=ClosedLoop(concurrency=1), stop=stop)
    if not synchronous[-1].summary.completed_rps:
        return None
    concurrency = _next_concurrency(plan, done)
    if concurrency is not None and not _of_role(done, "open_loop", "overloaded"):
        stop = stop_rule(plan, _foreseen_rps(done), at_least=WAVES * concurrency)
        return LoadPoint(step=step, role="saturation", load=ClosedLoop(concurrency=concurrency), stop=stop)
    return _open_loop_point(plan, done, step, slos) or next_look(plan, done, slos, launch)


def _rung(plan: LoadPlan, done: Sequence[PointResult]) -> LoadPoint | None:
    """The next number of users, each with its own end."""
    step, ladder, ramp = len(done), plan.ladder, plan.ramp
    users = ladder.concurrency if ladder is not None else ramp.users if ramp is not None else ()
    if step >= len(users):
        return None
    load = ClosedLoop(concurrency=users[step])
    if ladder is not None:
        stop = StopRule(requests=ladder.requests, seconds=ladder.seconds)
        return LoadPoint(step=step, role="ladder", load=load, stop=stop)
    assert ramp is not None
    stop = StopRule(seconds=ramp.seconds, ramp_s=ramp.ramp_seconds)
    return LoadPoint(step=step, role="ramp", load=load, stop=stop, bucket_seconds=ramp.bucket_seconds)


def saturation_point(done: Sequence[PointResult]) -> PointResult | None:
    """The closed-loop point of the highest output throughput: the ceiling. Invalid points count only where no point is
    valid; one without a count of tokens is compared by its requests."""
    closed = [p for p in _of_role(done, *CLOSED) if p.summary.completed_rps]
    valid = [p for p in closed if p.summary.valid]
    return max(valid or closed, key=_speed, default=None)


def is_past_peak(plan: LoadPlan, done: Sequence[PointResult]) -> bool:
    """Whether the last closed-loop point gained less than `min_gain` on the best one before it."""
    closed = _of_role(done, "synchronous", "saturation")
    if len(closed) < 2:
        return False
    best_before = max(_speed(point) for point in closed[:-1])
    return _speed(closed[-1]) < best_before * (1 + plan.saturation.min_gain)


def concurrency_of(point: PointResult) -> int:
    """Of a closed-loop point."""
    load = point.point.load
    if not isinstance(load, ClosedLoop):
        raise ValueError(f"step {point.point.step} is open loop: it has no concurrency")
    return load.concurrency


def _of_role(done: Sequence[PointResult], *roles: str) -> list[PointResult]:
    return [point for point in done if point.point.role in roles]


def _speed(point: PointResult) -> float:
    """Output tokens/s; for a fixed length the completed requests tell the same where tokens are not counted."""
    summary = point.summary
    return summary.output_tokens_per_s if summary.output_tokens_per_s is not None else summary.completed_rps or 0.0


def _next_concurrency(plan: LoadPlan, done: Sequence[PointResult]) -> int | None:
    """None once throughput has stopped growing: the point past the peak is the one that shows it."""
    last = max(concurrency_of(point) for point in _of_role(done, "synchronous", "saturation"))
    if last >= plan.saturation.max_concurrency or (last >= FEWEST_USERS and is_past_peak(plan, done)):
        return None
    if not _of_role(done, "synchronous", "saturation")[-1].summary.completed_rps:
        return None
    return min(2 * last, plan.saturation.max_concurrency)


def _foreseen_rps(done: Sequence[PointResult]) -> float:
    """A doubling of users brings at most what the last doubling brought, and at most twice."""
    rates = [point.summary.completed_rps or 0.0 for point in _of_role(done, "synchronous", "saturation")]
    growth = rates[-1] / rates[-2] if len(rates) > 1 and rates[-2] > 0 else 2.0
    return rates[-1] * min(max(growth, 1.0), 2.0)


def _open_loop_point(plan: LoadPlan, done: Sequence[PointResult], step: int, slos: Sequence[SLO]) -> LoadPoint | None:
    """The next fraction of λ_max, the completed rate at the saturation point: all of the first arrival process, then
    the same rates under the others. A trace has a rate of its own."""
    ceiling = saturation_point(done)
    if ceiling is None or not ceiling.summary.completed_rps:
        return None
    first, most_rps = plan.open_loop.arrivals[0], ceiling.summary.completed_rps
    for process in plan.open_loop.arrivals:
        measured = _under(done, process)
        if process.kind == "trace":
            return None if measured else _open_loop(plan, done, step, slos, process, None, most_rps)
        fractions = [(_rate_of(point) or 0.0) / most_rps for point in _under(done, first)]
        fraction = next_fraction(plan.open_loop, _under(done, first), most_rps) if process == first else None
        if process != first and len(measured) < len(fractions):
            fraction = fractions[len(measured)]
        if fraction is not None:
            return _open_loop(plan, done, step, slos, process, fraction, most_rps)
    return None


def _under(done: Sequence[PointResult], process: ArrivalProcess) -> list[PointResult]:
    return [point for point in _of_role(done, "open_loop", "overloaded") if is_under(point, process)]


def _rate_of(point: PointResult) -> float | None:
    load = point.point.load
    return load.rate_rps if isinstance(load, OpenLoop) else None


def _open_loop(
    plan: LoadPlan,
    done: Sequence[PointResult],
    step: int,
    slos: Sequence[SLO],
    process: ArrivalProcess,
    fraction: float | None,
    most_rps: float,
) -> LoadPoint:
    rate = most_rps * (1.0 if fraction is None else fraction)
    is_over = fraction is not None and fraction > 1 + 1e-9
    return LoadPoint(
        step=step,
        role="overloaded" if is_over else "open_loop",
        load=OpenLoop(arrivals=process, rate_rps=None if fraction is None else rate),
        stop=stop_rule(plan, rate, at_least=0 if is_over else _to_certify(plan, done, process, rate, slos)),
    )


def _to_certify(
    plan: LoadPlan, done: Sequence[PointResult], process: ArrivalProcess, rate: float, slos: Sequence[SLO]
) -> int:
    """Requests; as many times more as the queue remembers at this rate, where no search follows that sees to it."""
    alpha = ALPHA / max(1, planned_looks(plan, len(slos)).to_certify)
    needed = max((certification_requests(slo.percentile, 0, alpha) for slo in slos), default=0)
    if not needed or plan.capacity is not None or process.kind == "trace":
        return needed
    memory = memory_s(done, process, rate)
    return max(needed, ceil(min(MARGIN * needed * memory, plan.max_seconds) * rate))


def stop_rule(plan: LoadPlan, foreseen_rps: float | None, *, at_least: int = 0) -> StopRule:
    """Requests for `requests_per_point` and for `min_seconds` at the rate foreseen, within `max_seconds` of it."""
    wanted = max(plan.requests_per_point, at_least)
    if foreseen_rps is None:
        return StopRule(requests=wanted)
    wanted = max(wanted, ceil(plan.min_seconds * foreseen_rps))
    return StopRule(requests=max(FEWEST_REQUESTS, min(wanted, int(plan.max_seconds * foreseen_rps))))
