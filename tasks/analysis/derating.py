"""What an arrival process costs: the same server at the same rate, and how much less of it certifiably holds an SLO."""

from collections.abc import Sequence

from experiments.schema.load import ArrivalProcess, Constant, LoadPlan, OpenLoop
from experiments.schema.result import Derating, PointResult
from experiments.schema.slo import SLO
from tasks.analysis.capacity import capacity, is_under, planned_looks

LATENCY = "ttft_response_p95_ms"


def deratings(points: Sequence[PointResult], slos: Sequence[SLO], plan: LoadPlan) -> tuple[Derating, ...]:
    """Of every process that the plan names beside constant arrivals: p95 of TTFT from due at the highest stationary
    rate that both have, and each SLO's capacity."""
    processes = plan.open_loop.arrivals
    if Constant() not in processes:
        return ()
    others = [process for process in processes if process.kind != "constant"]
    found = [_of_latency(points, process) for process in others]
    return (*found, *(_of_capacity(points, slo, process, plan, len(slos)) for process in others for slo in slos))


def arrivals_name(process: ArrivalProcess) -> str:
    """poisson, constant, gamma-0.5: as it may stand in a metric's name."""
    return f"gamma-{process.shape:g}" if process.kind == "gamma" else process.kind


def _of_latency(points: Sequence[PointResult], process: ArrivalProcess) -> Derating:
    here, constant = _p95_by_rate(points, process), _p95_by_rate(points, Constant())
    shared = [(rate, round_rate) for rate in here for round_rate in constant if abs(rate / round_rate - 1) < 1e-6]
    name = arrivals_name(process)
    if not shared:
        return Derating(arrivals=name, figure=LATENCY, reason="no rate has a valid stationary point under both")
    rate, other = max(shared)
    value, against = here[rate], constant[other]
    return Derating(arrivals=name, figure=LATENCY, rate_rps=rate, value=value, constant=against, ratio=value / against)


def _p95_by_rate(points: Sequence[PointResult], process: ArrivalProcess) -> dict[float, float]:
    found = {}
    for point in points:
        load, latency = point.point.load, point.summary.latencies.get("ttft_response_ms")
        is_asked = point.point.role == "open_loop" and point.summary.valid and is_under(point, process)
        if is_asked and isinstance(load, OpenLoop) and load.rate_rps and latency and latency.p95:
            found[load.rate_rps] = latency.p95
    return found


def _of_capacity(
    points: Sequence[PointResult], slo: SLO, process: ArrivalProcess, plan: LoadPlan, slos: int
) -> Derating:
    """Of the certified rates; the last launch speaks."""
    own = [point for point in points if point.launch == points[-1].launch] if points else []
    found, constant = (
        capacity(slo, own, looks=planned_looks(plan, slos), arrivals=one, known=points) for one in (process, Constant())
    )
    name, figure = arrivals_name(process), f"capacity_rps/{slo.name}"
    missing = next(((one, c) for one, c in ((name, found), ("constant", constant)) if c.certified_rps is None), None)
    if missing is not None:
        return Derating(arrivals=name, figure=figure, reason=f"{missing[0]}: {missing[1].verdict}: {missing[1].reason}")
    value, against = found.certified_rps or 0.0, constant.certified_rps or 1.0
    return Derating(arrivals=name, figure=figure, value=value, constant=against, ratio=value / against)
