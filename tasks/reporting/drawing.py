"""How plots look: SVG by matplotlib without pyplot's global state, in the colours of a page or of a file."""

import io
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from experiments.schema.result import CellResult
from tasks.reporting.markup import Markup, element
from tasks.reporting.plots import Line, Plot, workload_plots
from tasks.reporting.wording import cell_names

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
MARKERS = ("o", "s", "^", "D", "v", "P", "p", "h")
GLYPHS = (
    "M8 3a5 5 0 1 0 .01 0z", "M3.5 3.5h9v9h-9z", "M8 2.5 13.5 13h-11z", "M8 2l6 6-6 6-6-6z", "M8 13.5 2.5 3h11z",
    "M6 2h4v4h4v4h-4v4H6v-4H2V6h4z", "M8 2l6 4.5L11.7 14H4.3L2 6.5z", "M8 1.5l5.5 3.2v6.6L8 14.5l-5.5-3.2V4.7z",
)  # fmt: skip
"""The markers once more, in a box of 16, for the legend of a page."""
LOG_FROM = 15
"""A wider range than this is drawn on a logarithmic axis."""


def legend(plots: Sequence[Plot]) -> Markup:
    """Of all plots of a workload, once."""
    lines = {line.series: line.name for plot in plots for line in plot.lines}
    dots = [dot for plot in plots for line in plot.lines for dot in line.dots]
    entries = [(_glyph(GLYPHS[series % 8], f"var(--series-{series % 8})"), name) for series, name in lines.items()]
    if any(dot.is_overloaded for dot in dots):
        entries.append((_glyph(GLYPHS[0], "none", "var(--muted)"), "overloaded"))
    if not all(dot.is_valid for dot in dots):
        entries.append((_glyph("M3 3l10 10M13 3 3 13", "none", "var(--muted)"), "invalid"))
    return element("ul", [element("li", glyph, name) for glyph, name in entries], class_="legend")


def _glyph(path: str, fill: str, stroke: str = "none") -> Markup:
    shape = element("path", d=path, fill=fill, stroke=stroke, stroke_width="1.5")
    return element("svg", shape, viewBox="0 0 16 16", width="12", height="12", aria_hidden="true")


def svg(plot: Plot, *, in_page: bool) -> str:
    """One plot. In a page its colours are CSS variables and its text is the page's; as a file it stands alone."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings = {"svg.fonttype": "none", "svg.hashsalt": plot.title, "font.family": "sans-serif", "font.size": 10}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(5.6, 4.0), layout="constrained")
        axes = figure.add_subplot()
        _draw(axes, plot, with_legend=not in_page)
        out = io.StringIO()
        FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _coloured(out.getvalue(), plot.title, in_page)


def _draw(axes: Any, plot: Plot, *, with_legend: bool) -> None:
    axes.set_facecolor("none")
    axes.figure.patch.set_facecolor(PAPER)
    for line in plot.lines:
        _draw_line(axes, line)
    _draw_limit(axes, plot)
    _scale(axes, plot)
    _furnish(axes, plot)
    if with_legend:
        _add_legend(axes, plot)


def _draw_line(axes: Any, line: Line) -> None:
    colour, marker = SERIES[line.series % 8], MARKERS[line.series % 8]
    axes.plot(
        [dot.x for dot in line.dots], [dot.y for dot in line.dots], color=colour, linewidth=1.6, marker=marker,
        markersize=0, label=None, zorder=2,
    )  # fmt: skip
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
                xytext=(-6, 4),
                ha="right",
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
    from matplotlib.ticker import LogLocator, NullLocator

    heights = [dot.y for line in plot.lines for dot in line.dots if dot.y > 0]
    if plot.limit is not None:
        heights.append(plot.limit[0])
    if heights and max(heights) > LOG_FROM * min(heights):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylabel(f"{plot.y_label} (log)")
    else:
        axes.set_ylim(0, _highest(plot) * 1.08)
        axes.set_ylabel(plot.y_label)
    axes.set_xlim(left=0)
    axes.margins(x=0.08)


def _highest(plot: Plot) -> float:
    """Bars and the limit included."""
    tops = [dot.high if dot.high is not None else dot.y for line in plot.lines for dot in line.dots]
    return max([*tops, plot.limit[0] if plot.limit else 0.0])


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


def _add_legend(axes: Any, plot: Plot) -> None:
    """A file stands alone: its legend lies above it."""
    for line in plot.lines:
        colour, marker = SERIES[line.series % 8], MARKERS[line.series % 8]
        axes.plot([], [], color=colour, marker=marker, markersize=6, linewidth=1.6, label=line.name)
    dots = [dot for line in plot.lines for dot in line.dots]
    if any(dot.is_overloaded for dot in dots):
        axes.plot([], [], color=MUTED, marker="o", markerfacecolor=PAPER, linestyle="none", label="overloaded")
    if not all(dot.is_valid for dot in dots):
        axes.plot([], [], color=MUTED, marker="x", linestyle="none", label="invalid")
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, frameon=False, fontsize=9, labelcolor=INK, handlelength=1.6
    )


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
    for index, plot in enumerate(workload_plots([cell], cell_names([cell]))):
        path = folder / ("throughput_latency.svg" if index == 0 else f"latency_against_rate_{index}.svg")
        aside = path.with_suffix(".partial")
        aside.write_text(svg(plot, in_page=False), encoding="utf-8")
        written.append(aside.rename(path))
    return written
