"""The loads that both sides of a comparison get: the same rates, found once on a pilot launch of the baseline."""

from collections.abc import Sequence

from experiments.schema.load import ClosedLoop, LoadPlan, LoadPoint, OpenLoop, OpenLoopPoints, Poisson
from experiments.schema.result import PointResult
from experiments.schema.slo import SLO
from tasks.analysis.launch_figures import SATURATION
from tasks.analysis.search import next_look
from tasks.analysis.sweep import WAVES, concurrency_of, next_point, saturation_point, stop_rule

FRACTIONS = (0.3, 0.6, 0.85)
"""Of the baseline's saturation rate."""

LOADS = {0: SATURATION} | {step: f"{fraction:g}" for step, fraction in enumerate(FRACTIONS, start=1)}
"""Step of a launch → the load's name."""


def next_pilot_point(plan: LoadPlan, done: Sequence[PointResult], warm_up_rps: float | None) -> LoadPoint | None:
    """One request at a time, then more at once until the ceiling is found; nothing open loop."""
    point = next_point(plan, done, warm_up_rps=warm_up_rps)
    return point if point is not None and point.load.kind == "closed_loop" else None


def comparison_points(plan: LoadPlan, pilot: Sequence[PointResult]) -> tuple[LoadPoint, ...]:
    """The ceiling's own load, then FRACTIONS of its rate; none where the pilot shows no ceiling."""
    ceiling = saturation_point(pilot)
    if ceiling is None or not ceiling.summary.completed_rps:
        return ()
    users, most_rps = concurrency_of(ceiling), ceiling.summary.completed_rps
    saturated = LoadPoint(
        step=0,
        role="saturation",
        load=ClosedLoop(concurrency=users),
        stop=stop_rule(plan, most_rps, at_least=WAVES * users),
    )
    rates = [fraction * most_rps for fraction in FRACTIONS]
    return saturated, *(_at_rate(plan, step, rate) for step, rate in enumerate(rates, start=1))


def next_compared_point(
    plan: LoadPlan, fixed: Sequence[LoadPoint], done: Sequence[PointResult], slos: Sequence[SLO]
) -> LoadPoint | None:
    """The fixed points, which are the same for both sides; then, where the plan searches for capacities, the launch's
    own looks for them."""
    if len(done) < len(fixed):
        return fixed[len(done)]
    return next_look(compared_plan(plan), done, slos) if fixed else None


def compared_plan(plan: LoadPlan) -> LoadPlan:
    """The plan of a launch of a comparison: what its looks for a capacity share their α over."""
    open_loop = OpenLoopPoints(fractions=FRACTIONS, arrivals=(Poisson(),))
    return plan.model_copy(update={"open_loop": open_loop})


def _at_rate(plan: LoadPlan, step: int, rate_rps: float) -> LoadPoint:
    load = OpenLoop(arrivals=Poisson(), rate_rps=rate_rps)
    return LoadPoint(step=step, role="open_loop", load=load, stop=stop_rule(plan, rate_rps))
