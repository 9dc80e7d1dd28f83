"""The load plan as a pure function: from the points done to the next one. Resuming is calling it again."""

from collections.abc import Sequence
from math import ceil

from experiments.schema.load import ClosedLoop, LoadPlan, LoadPoint, OpenLoop, StopRule
from experiments.schema.result import PointResult
from experiments.schema.slo import SLO
from tasks.analysis.goodput import ALPHA
from tasks.analysis.intervals import certification_requests

FEWEST_REQUESTS = 8
"""However slow the engine: below that a point shows nothing."""

FEWEST_USERS = 8
"""Saturation is not believed before so many: an engine may gain nothing from two users and a third from eight, once its
batches fill."""

WAVES = 6
"""Requests a user at least: while the last ones end, fewer users are at work, which costs up to 1/(2 · WAVES) of the
throughput."""


def next_point(
    plan: LoadPlan, done: Sequence[PointResult], *, slos: Sequence[SLO] = (), warm_up_rps: float | None = None
) -> LoadPoint | None:
    """Synchronous, then saturation at 2, 4, 8 …, then the open-loop rates; None when the cell is whole.

    `warm_up_rps` is the rate that the warm-up saw one request at a time, where it is known: it sizes the first point.
    Open-loop points get the requests that certifying each of `slos` takes with none over the limit.
    A synchronous point in which nothing completed ends the cell.
    """
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
    return _open_loop_point(plan, done, step, slos)


def saturation_point(done: Sequence[PointResult]) -> PointResult | None:
    """The closed-loop point of the highest output throughput: the ceiling. Invalid points count only where no point is
    valid; one without a count of tokens is compared by its requests."""
    closed = [p for p in _of_role(done, "synchronous", "saturation") if p.summary.completed_rps]
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
    """The next fraction of λ_max, the completed rate at the saturation point. A trace has a rate of its own."""
    ceiling = saturation_point(done)
    index = len(_of_role(done, "open_loop", "overloaded"))
    is_trace = plan.open_loop.arrivals.kind == "trace"
    fractions = (1.0,) if is_trace else plan.open_loop.fractions
    if ceiling is None or not ceiling.summary.completed_rps or index >= len(fractions):
        return None
    rate = fractions[index] * ceiling.summary.completed_rps
    return LoadPoint(
        step=step,
        role="overloaded" if fractions[index] > 1 else "open_loop",
        load=OpenLoop(arrivals=plan.open_loop.arrivals, rate_rps=None if is_trace else rate),
        stop=stop_rule(plan, rate, at_least=_to_certify(slos, looks=sum(f <= 1 for f in fractions))),
    )


def _to_certify(slos: Sequence[SLO], *, looks: int) -> int:
    return max((certification_requests(slo.percentile, 0, ALPHA / max(looks, 1)) for slo in slos), default=0)


def stop_rule(plan: LoadPlan, foreseen_rps: float | None, *, at_least: int = 0) -> StopRule:
    """Requests for `requests_per_point` and for `min_seconds` at the rate foreseen, within `max_seconds` of it."""
    wanted = max(plan.requests_per_point, at_least)
    if foreseen_rps is None:
        return StopRule(requests=wanted)
    wanted = max(wanted, ceil(plan.min_seconds * foreseen_rps))
    return StopRule(requests=max(FEWEST_REQUESTS, min(wanted, int(plan.max_seconds * foreseen_rps))))
