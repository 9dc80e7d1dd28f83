"""What a launch shows, figure by figure: the replicates that a comparison of releases is made of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from experiments.schema.comparison import Arm, LaunchResult
from experiments.schema.load import LoadPlan, Poisson
from experiments.schema.result import PointResult
from experiments.schema.slo import SLO
from tasks.analysis.capacity import capacity, planned_looks
from tasks.analysis.comparison import Series

HIGHER_IS_BETTER = {"output_tokens_per_s": True, "capacity_rps": True}
"""Of every other figure less is better."""

SATURATION = "saturation"
START = "start"
CAPACITY = "capacity"
LATENCIES = ("ttft_ms", "tpot_ms")
PERCENTILES = ("p50", "p95")


@dataclass(frozen=True, slots=True)
class Searched:
    """What each launch looks for beside the loads of all: capacities for these SLOs, by this plan."""

    plan: LoadPlan
    slos: tuple[SLO, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """`at` names the load (saturation, start, capacity, or the fraction of the baseline's saturation rate), `metric`
    bears its unit."""

    workload: str
    at: str
    metric: str

    @property
    def higher_is_better(self) -> bool:
        """Which way is better."""
        return HIGHER_IS_BETTER.get(self.metric.partition("/")[0], False)


def launch_figures(
    launch: LaunchResult, loads: Mapping[str, Mapping[int, str]], searched: Searched | None = None
) -> dict[Figure, float]:
    """The positive figures of one launch; those of an invalid trial are left out.

    `loads` gives by workload which step of the plan stands for which load. GPU-seconds per million output tokens are
    those of all GPUs of the launch's server at saturation; a server without a GPU has the seconds of its machine.
    """
    found: dict[Figure, float] = {Figure("", START, f"{name}_s"): value for name, value in launch.start_s.items()}
    for workload, points in launch.points.items():
        for point in points:
            at = loads.get(workload, {}).get(point.point.step, "")
            if at and point.summary.valid:
                found |= {Figure(workload, at, name): value for name, value in _of_point(point, at, launch.gpus)}
        found |= {Figure(workload, CAPACITY, name): value for name, value in _capacities(points, searched)}
    return {figure: value for figure, value in found.items() if value > 0}


def _capacities(points: Sequence[PointResult], searched: Searched | None) -> Iterator[tuple[str, float]]:
    """The middle, by ratio, of the interval that the launch's own looks leave; absent where it is open on a side: its
    end that is known says how far was looked, not how much is held."""
    if searched is None or searched.plan.capacity is None:
        return
    looks = planned_looks(searched.plan, len(searched.slos))
    for slo in searched.slos:
        found = capacity(slo, points, looks=looks, arrivals=Poisson())
        if found.certified_rps and found.refuted_rps:
            yield f"capacity_rps/{slo.name}", sqrt(found.certified_rps * found.refuted_rps)


def _of_point(point: PointResult, at: str, gpus: int) -> Iterator[tuple[str, float]]:
    summary = point.summary
    if at == SATURATION:
        speed = summary.output_tokens_per_s
        if speed:
            yield "output_tokens_per_s", speed
            whose = "gpu" if gpus else "server"
            yield f"{whose}_seconds_per_million_output_tokens", (gpus or 1) * 1e6 / speed
        return
    for name in LATENCIES:
        for percentile in PERCENTILES:
            value = getattr(summary.latencies.get(name), percentile, None)
            if value is not None:
                yield f"{percentile}_{name}", value


def series_of(
    launches: Sequence[LaunchResult],
    loads: Mapping[str, Mapping[str, Mapping[int, str]]],
    arms: tuple[Arm, Arm] = ("baseline", "candidate"),
    searched: Searched | None = None,
) -> tuple[Series, ...]:
    """Each figure that any launch of the two arms has, with its values in the order of the launches. `loads` is by
    system, then as `launch_figures` takes it."""
    values: dict[tuple[str, Figure], dict[Arm, list[float]]] = {}
    for launch in sorted(launches, key=lambda one: one.number):
        if launch.arm in arms:
            for figure, value in launch_figures(launch, loads[launch.system], searched).items():
                sides = values.setdefault((launch.system, figure), {arm: [] for arm in arms})
                sides[launch.arm].append(value)
    return tuple(_series(system, figure, sides[arms[0]], sides[arms[1]]) for (system, figure), sides in values.items())


def _series(system: str, figure: Figure, baseline: Sequence[float], candidate: Sequence[float]) -> Series:
    return Series(
        cell=f"{system}/{figure.workload}",
        at=figure.at,
        metric=figure.metric,
        group=system,
        higher_is_better=figure.higher_is_better,
        baseline=tuple(baseline),
        candidate=tuple(candidate),
    )
