"""report.html: one page that stands alone, on a phone, on paper, without a network."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.schema.result import CellResult, CellState
from experiments.schema.timeline import Timeline
from tasks.reporting.cell_section import cell_section
from tasks.reporting.cold_start_section import cold_start_section
from tasks.reporting.drawing import legend, svg
from tasks.reporting.headlines import caveat, findings, title
from tasks.reporting.markup import Content, Markup, element, join
from tasks.reporting.plots import Plot, workload_plots
from tasks.reporting.quality_section import quality_section
from tasks.reporting.summary_table import summary_table
from tasks.reporting.wording import (
    STAND_IN_NOTE,
    SYNTHETIC_NOTE,
    cell_names,
    common_label,
    is_stand_in,
    is_synthetic,
    outcome_text,
)

ONE_LAUNCH = """
Each figure is of one launch of its server: differences below 3 % between variants say nothing, and a claim about a
variant needs three launches or more.
"""

CLOSED_CAPTION = """
Closed loop. Each point is a number of users, who send a request as soon as their last one is answered: to the right
more for all of them, upwards slower for each. Bars are 95 % intervals.
"""

OPEN_CAPTION = """
Open loop: requests come at this rate whatever became of the earlier ones. Bars are 95 % intervals; hollow points
are beyond saturation, where no percentile is stationary.
"""

HOW_TO_READ = """
TTFT: first byte of the request sent to first token. TPOT: time per output token after the first. Percentiles are
interpolated over the completed requests due in the window, with 95 % intervals by order statistics; a p99 needs 459
requests. Certified and refuted hold with 99 % confidence, shared by the rates that were looked at: ≥ 20 means
certified at 20 with nothing refuted above, < 20 refuted at 20 with nothing certified below. Invalid points are
shown and left out of every comparison.
"""

Timelines = Mapping[str, Mapping[str, Timeline]]
"""By cell and by the point's directory."""


def write_report(
    path: Path,
    *,
    experiment: str,
    cells: Sequence[CellResult],
    description: str = "",
    written_at: str = "",
    links: Mapping[str, str] | None = None,
    timelines: Timelines | None = None,
) -> None:
    """`links` are lines of label and text, such as where MLflow is; an address becomes a link. Written aside and
    renamed."""
    page = report_html(
        experiment, cells, description=description, written_at=written_at, links=links or {}, timelines=timelines or {}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".partial")
    aside.write_text(page, encoding="utf-8")
    os.replace(aside, path)


def report_html(
    experiment: str,
    cells: Sequence[CellResult],
    *,
    description: str,
    written_at: str,
    links: Mapping[str, str],
    timelines: Timelines,
) -> str:
    """The whole page."""
    names = cell_names(cells)
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{experiment} · LLM Dyno"),
        element("style", Markup(style)),
    )
    main = element(
        "main",
        _opening(experiment, cells, description, written_at),
        summary_table(cells, names),
        [_workload(cells, workload, names) for workload in _workloads(cells)],
        quality_section(cells, names),
        cold_start_section(cells, names),
        _failures(cells, names),
        _cells(cells, names, timelines),
        _closing(cells, links),
    )
    return f"<!doctype html>\n{element('html', head, element('body', main), lang='en')}\n"


def _workloads(cells: Sequence[CellResult]) -> list[str]:
    return list(dict.fromkeys(cell.workload.name for cell in cells))


def _opening(experiment: str, cells: Sequence[CellResult], description: str, written_at: str) -> Markup:
    measured = sum(cell.state is CellState.MEASURED for cell in cells)
    day = next((cell.ended_at[:10] for cell in cells if cell.ended_at), written_at[:10])
    eyebrow = " · ".join(part for part in ("LLM Dyno", experiment, day) if part)
    what = common_label(cell.variant for cell in cells)
    lede = f"{measured} of {len(cells)} cells measured{f': {what}' if what else ''}{_machine(cells)}. {ONE_LAUNCH}"
    return join(
        [
            element("p", eyebrow, class_="eyebrow"),
            element("h1", f"{title(cells)}."),
            element("p", lede, class_="lede"),
            element("p", description) if description else None,
            element("p", caveat(cells), class_="caution") if caveat(cells) else None,
            element("p", STAND_IN_NOTE, class_="caution") if any(map(is_stand_in, cells)) else None,
            element("p", SYNTHETIC_NOTE, class_="caution") if any(map(is_synthetic, cells)) else None,
        ]
    )


def _machine(cells: Sequence[CellResult]) -> str:
    """ ", on PROCESSOR, 2 cores" where the launches recorded it."""
    found = [cell.provenance["machine"] for cell in cells if isinstance(cell.provenance.get("machine"), dict)]
    machine: dict[str, object] = found[0] if found else {}
    cores = f", {machine['cpu_cores']} cores" if machine.get("cpu_cores") else ""
    return f", on {machine['cpu']}{cores}" if machine.get("cpu") else ""


def _workload(cells: Sequence[CellResult], workload: str, names: Mapping[str, str]) -> Markup:
    on_it = [cell for cell in cells if cell.workload.name == workload]
    asked = on_it[0].workload
    plots = workload_plots([cell for cell in on_it if cell.points], names)
    figures = [
        element("figure", Markup(svg(plot, in_page=True)), element("figcaption", caption))
        for plot, caption in zip(plots, _captions(plots), strict=True)
    ]
    return element(
        "section",
        element("h2", workload),
        element(
            "p", f"{asked.prompt_tokens} tokens in, {asked.output_tokens} out, {asked.cache} cache", class_="quiet"
        ),
        element("ul", [element("li", sentence) for sentence in findings(cells, workload)], class_="findings"),
        [legend(plots), element("div", figures, class_="plots")] if figures else None,
    )


def _captions(plots: Sequence[Plot]) -> list[str]:
    """Each kind of load is explained where it comes first."""
    said: list[str] = []
    for plot in plots:
        caption = CLOSED_CAPTION if plot.is_closed_loop else OPEN_CAPTION
        said.append(f"The same rates, seen as {plot.y_label.removesuffix(', ms')}." if caption in said else caption)
    return said


def _failures(cells: Sequence[CellResult], names: Mapping[str, str]) -> Content:
    failed = [cell for cell in cells if cell.state not in (CellState.MEASURED, CellState.INVALID)]
    if not failed:
        return None
    return element("section", element("h2", "What was not measured"), [_failure(cell, names) for cell in failed])


def _failure(cell: CellResult, names: Mapping[str, str]) -> Markup:
    outcome = outcome_text(cell).capitalize()
    where = f"{outcome} at {cell.stage}" if cell.stage else outcome
    return element(
        "div",
        element("p", element("b", f"{names[cell.variant.id]}, {cell.workload.name}")),
        element("p", f"{where}: {cell.cause or '; '.join(cell.reasons) or 'no cause was recorded'}"),
        element("pre", cell.log_excerpt) if cell.log_excerpt else None,
        class_="failure",
    )


def _cells(cells: Sequence[CellResult], names: Mapping[str, str], timelines: Timelines) -> Markup:
    return element(
        "section",
        element("h2", "Every cell, point by point"),
        element("p", "The records behind each row are in requests.parquet: every figure can be recomputed from them."),
        [cell_section(cell, names[cell.variant.id], timelines.get(cell.cell_id, {})) for cell in cells],
    )


def _closing(cells: Sequence[CellResult], links: Mapping[str, str]) -> Markup:
    versions = sorted({point.summary.method_version for cell in cells for point in cell.points})
    method = f"Method version {', '.join(versions)}. " if versions else ""
    return element(
        "footer",
        element("dl", [_link(label, text) for label, text in links.items()]) if links else None,
        element("p", f"{method}{HOW_TO_READ}"),
    )


def _link(label: str, text: str) -> Markup:
    is_address = text.startswith(("http://", "https://"))
    return join([element("dt", label), element("dd", element("a", text, href=text) if is_address else text)])
