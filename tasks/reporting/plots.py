"""Plots as SVG without pyplot's global state: throughput against latency, latency against rate."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from experiments.schema.load import ClosedLoop
from experiments.schema.result import CellResult, Distribution, PointResult
from experiments.schema.slo import SLO, parse_slo
from tasks.reporting.wording import variant_names

INK, MUTED, GRID, PAPER = "#0a0a01", "#0a0a02", "#0a0a03", "#0a0a04"
SERIES = tuple(f"#0b0b{index:02d}" for index in range(8))
"""Stand-ins: in a page they become CSS variables, so that a plot follows light and dark; in a file, light colours."""

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#56a0d3", "#b8860b", "#332288", "#882255")
"""Told apart with any colour vision; each variant has a marker of its own as well."""

LIGHT = {
    INK: "#1f1d1a", MUTED: "#6f6a61", GRID: "#e4dfd5", PAPER: "#ffffff", **dict(zip(SERIES, PALETTE, strict=True)),
}  # fmt: skip
VARIABLES = {
    INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)", PAPER: "var(--paper)",
    **{colour: f"var(--series-{index})" for index, colour in enumerate(SERIES)},
}  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
LOG_FROM = 15
"""A wider range than this is drawn on a logarithmic axis."""


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
    """The points of one variant, in the order of x."""

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
        lines=_lines(cells, names, dot),
    )


def latency_against_rate(cells: Sequence[CellResult], names: Mapping[str, str], slo: SLO | None) -> Plot:
    """Open loop: a percentile against the rate offered, and the limit that it is held to."""
    metric, percentile = (slo.metric, f"p{slo.percentile:g}") if slo else ("ttft_response", "p95")

    def dot(point: PointResult) -> Dot | None:
        if isinstance(point.point.load, ClosedLoop):
            return None
        return _dot(point, point.summary.offered_rps, point.summary.latencies.get(f"{metric}_ms"), percentile, "")

    name = metric.upper().replace("_RESPONSE", " (from due time)")
    return Plot(
        title=f"{name} against the rate offered",
        x_label="requests/s offered",
        y_label=f"{percentile} {name}, ms",
        lines=_lines(cells, names, dot),
        limit=(slo.bound_ms, str(slo)) if slo else None,
    )


def _lines(
    cells: Sequence[CellResult], names: Mapping[str, str], dot: Callable[[PointResult], Dot | None]
) -> tuple[Line, ...]:
    order = list(names)
    found = []
    for cell in cells:
        dots = [made for made in map(dot, cell.points) if made is not None]
        series = order.index(cell.variant.id) % len(SERIES)
        found.append(Line(names[cell.variant.id], series, tuple(sorted(dots, key=lambda made: made.x))))
    return tuple(found)


def _dot(point: PointResult, x: float | None, latency: Distribution | None, figure: str, label: str) -> Dot | None:
    y = getattr(latency, figure, None)
    if latency is None or x is None or y is None:
        return None
    low, high = latency.intervals.get(figure, (None, None))
    return Dot(x, y, low, high, label, point.summary.valid, point.point.role == "overloaded")


def svg(plot: Plot, *, in_page: bool) -> str:
    """One plot. In a page its colours are CSS variables and its text is the page's; as a file it stands alone."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings = {"svg.fonttype": "none", "svg.hashsalt": plot.title, "font.family": "sans-serif", "font.size": 10}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(5.6, 4.0), layout="constrained")
        axes = figure.add_subplot()
        _draw(axes, plot)
        out = io.StringIO()
        FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _coloured(out.getvalue(), plot.title, in_page)


def _draw(axes: Any, plot: Plot) -> None:
    axes.set_facecolor("none")
    axes.figure.patch.set_facecolor(PAPER)
    for line in plot.lines:
        _draw_line(axes, line)
    _draw_limit(axes, plot)
    _scale(axes, plot)
    _furnish(axes, plot)


def _draw_line(axes: Any, line: Line) -> None:
    colour, marker = SERIES[line.series], MARKERS[line.series]
    axes.plot(
        [dot.x for dot in line.dots], [dot.y for dot in line.dots], color=colour, linewidth=1.6, marker=marker,
        markersize=0, label=None, zorder=2,
    )  # fmt: skip
    axes.plot([], [], color=colour, marker=marker, markersize=6, linewidth=1.6, label=line.name)
    for dot in line.dots:
        fill = PAPER if dot.is_overloaded or not dot.is_valid else colour
        shape = marker if dot.is_valid else "x"
        axes.plot([dot.x], [dot.y], marker=shape, markersize=6, color=colour, markerfacecolor=fill, zorder=3)
        low, high = dot.low if dot.low is not None else dot.y, dot.high if dot.high is not None else dot.y
        axes.vlines(dot.x, low, high, color=colour, linewidth=1.0, alpha=0.65, zorder=1)
        if dot.label:
            axes.annotate(
                dot.label,
                (dot.x, dot.y),
                textcoords="offset points",
                xytext=(0, 7),
                ha="center",
                fontsize=8,
                color=MUTED,
            )


def _draw_limit(axes: Any, plot: Plot) -> None:
    if plot.limit is not None:
        at, text = plot.limit
        axes.axhline(at, color=INK, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
        axes.annotate(
            text, (0, at), xycoords=("axes fraction", "data"), textcoords="offset points", xytext=(4, 4), fontsize=8,
            color=INK,
        )  # fmt: skip


def _scale(axes: Any, plot: Plot) -> None:
    """Zero is in the picture, or the axis is logarithmic and says so."""
    heights = [dot.y for line in plot.lines for dot in line.dots if dot.y > 0]
    if plot.limit is not None:
        heights.append(plot.limit[0])
    if heights and max(heights) > LOG_FROM * min(heights):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axes.yaxis.set_minor_formatter("")
        axes.set_ylabel(f"{plot.y_label} (log)")
    else:
        axes.set_ylim(0, max(heights, default=1) * 1.15)
        axes.set_ylabel(plot.y_label)
    axes.set_xlim(left=0)
    axes.margins(x=0.08)


def _furnish(axes: Any, plot: Plot) -> None:
    axes.set_xlabel(plot.x_label, color=MUTED)
    axes.yaxis.label.set_color(MUTED)
    axes.tick_params(colors=MUTED, length=0, labelsize=9)
    axes.tick_params(which="minor", length=0)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    dots = [dot for line in plot.lines for dot in line.dots]
    if any(dot.is_overloaded for dot in dots):
        axes.plot([], [], color=MUTED, marker="o", markerfacecolor=PAPER, linestyle="none", label="overloaded")
    if not all(dot.is_valid for dot in dots):
        axes.plot([], [], color=MUTED, marker="x", linestyle="none", label="invalid")
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, frameon=False, fontsize=9, labelcolor=INK,
        borderaxespad=0.2, handlelength=1.6, columnspacing=1.2,
    )  # fmt: skip


def _coloured(text: str, title: str, in_page: bool) -> str:
    for stand_in, colour in (VARIABLES if in_page else LIGHT).items():
        text = text.replace(stand_in, colour)
    if not in_page:
        return text
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Ids of groups repeat from plot to plot; nothing refers to them.
    text = re.sub(r'<g id="[A-Za-z.]+[_\d]*">', "<g>", text)
    text = re.sub(
        r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1), count=1
    )
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)


def write_plots(folder: Path, cell: CellResult) -> list[Path]:
    """The plots of one cell as files, for the tracking store."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for index, plot in enumerate(workload_plots([cell], variant_names([cell.variant]))):
        path = folder / ("throughput_latency.svg" if index == 0 else f"latency_against_rate_{index}.svg")
        aside = path.with_suffix(".partial")
        aside.write_text(svg(plot, in_page=False), encoding="utf-8")
        written.append(aside.rename(path))
    return written
