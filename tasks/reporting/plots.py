"""What the plots show: throughput against latency, latency against rate. How they look is in drawing.py."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from experiments.schema.load import ClosedLoop
from experiments.schema.result import CellResult, Distribution, PointResult
from experiments.schema.slo import SLO, parse_slo
from tasks.reporting.wording import latency_text, slo_text


@dataclass(frozen=True, slots=True)
class Dot:
    """One load point on a plot; `low` and `high` bound its y where n gives bounds."""

    x: float
    y: float
    low: float | None
    high: float | None
    label: str
    is_valid: bool
    is_overloaded: bool


@dataclass(frozen=True, slots=True)
class Line:
    """The points of one variant, in the order of the load; `series` chooses its colour and marker."""

    name: str
    series: int
    dots: tuple[Dot, ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """What is drawn, before anything is."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    is_closed_loop: bool
    limit: tuple[float, str] | None = None


def workload_plots(cells: Sequence[CellResult], names: Mapping[str, str]) -> list[Plot]:
    """Of the cells of one workload: the throughput–latency plane, and each SLO's percentile against the rate."""
    found = [throughput_latency(cells, names)]
    slos = dict.fromkeys(capacity.slo for cell in cells for capacity in cell.capacities)
    shown = {(slo.metric, slo.percentile): slo for slo in map(parse_slo, slos) if f"p{slo.percentile:g}" in _SHOWN}
    found += [latency_against_rate(cells, names, slo) for slo in shown.values()]
    if not shown:
        found.append(latency_against_rate(cells, names, None))
    return [plot for plot in found if any(line.dots for line in plot.lines)]


_SHOWN = ("p50", "p90", "p95", "p99")


def throughput_latency(cells: Sequence[CellResult], names: Mapping[str, str]) -> Plot:
    """Closed loop: each point is a number of users; up is slower for each of them, right is more for all."""

    def dot(point: PointResult) -> Dot | None:
        load, tokens = point.point.load, point.summary.output_tokens_per_s
        if not isinstance(load, ClosedLoop):
            return None
        return _dot(point, tokens, point.summary.latencies.get("e2e_ms"), "p50", str(load.concurrency))

    return Plot(
        title="Throughput and latency, 1, 2, 4 … users",
        x_label="output tokens/s",
        y_label="median end-to-end latency, ms",
        is_closed_loop=True,
        lines=_lines(cells, names, dot),
    )


def latency_against_rate(cells: Sequence[CellResult], names: Mapping[str, str], slo: SLO | None) -> Plot:
    """Open loop: a percentile against the rate offered, and the limit that it is held to."""
    metric, percentile = (slo.metric, f"p{slo.percentile:g}") if slo else ("ttft_response", "p95")

    def dot(point: PointResult) -> Dot | None:
        if isinstance(point.point.load, ClosedLoop):
            return None
        return _dot(point, point.summary.offered_rps, point.summary.latencies.get(f"{metric}_ms"), percentile, "")

    name = latency_text(metric)
    return Plot(
        title=f"{name} against the rate offered",
        x_label="requests/s offered",
        y_label=f"{percentile} {name}, ms",
        is_closed_loop=False,
        lines=_lines(cells, names, dot),
        limit=(slo.bound_ms, slo_text(str(slo))) if slo else None,
    )


def _lines(
    cells: Sequence[CellResult], names: Mapping[str, str], dot: Callable[[PointResult], Dot | None]
) -> tuple[Line, ...]:
    order = list(names)
    found = []
    for cell in cells:
        dots = [made for made in map(dot, cell.points) if made is not None]
        found.append(Line(names[cell.variant.id], order.index(cell.variant.id), tuple(dots)))
    return tuple(found)


def _dot(point: PointResult, x: float | None, latency: Distribution | None, figure: str, label: str) -> Dot | None:
    y = getattr(latency, figure, None)
    if latency is None or x is None or y is None:
        return None
    low, high = latency.intervals.get(figure, (None, None))
    return Dot(x, y, low, high, label, point.summary.valid, point.point.role == "overloaded")
