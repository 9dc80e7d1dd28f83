"""What a reader without JavaScript gets: one picture, and a table of every cell."""

from collections.abc import Sequence
from itertools import groupby

from experiments.schema.result import CellResult, CellState
from tasks.reporting.drawing import legend, svg
from tasks.reporting.markup import Markup, element, join
from tasks.reporting.plots import workload_plots
from tasks.reporting.wording import FLAGGED, capacity_text, cell_names, number, outcome_text, slo_text

MOST_LINES = 6
"""On one picture; more cannot be told apart."""
MOST_ROWS = 250
HEADERS = (
    "engine",
    "model",
    "hardware",
    "workload",
    "outcome",
    "grade",
    "capacity, requests/s",
    "saturation, tokens/s",
)


def still(cells: Sequence[CellResult]) -> Markup:
    """The workload with the most measured cells as a picture, then the table."""
    return join([_picture(cells), _table(cells)])


def _picture(cells: Sequence[CellResult]) -> Markup | None:
    measured = sorted((cell for cell in cells if cell.state is CellState.MEASURED and cell.points), key=_system)
    groups = [list(group) for _, group in groupby(measured, key=_system)]
    if not groups:
        return None
    shown = max(groups, key=len)[:MOST_LINES]
    plots = workload_plots(shown, cell_names(shown))[:1]
    if not plots:
        return None
    first = shown[0]
    caption = f"{first.variant.model.name} on {first.variant.hardware}, {first.workload.name}: {plots[0].title}."
    return element("figure", Markup(svg(plots[0], in_page=True)), legend(plots), element("figcaption", caption))


def _system(cell: CellResult) -> tuple[str, str, str]:
    return cell.variant.model.name, cell.variant.hardware, cell.workload.name


def _table(cells: Sequence[CellResult]) -> Markup:
    rows = [element("tr", [element("td", text) for text in _row(cell)]) for cell in cells[:MOST_ROWS]]
    more = len(cells) - MOST_ROWS
    caption = f"All {len(cells)} cells" if more <= 0 else f"The first {MOST_ROWS} of {len(cells)} cells"
    head = element("tr", [element("th", text, scope="col") for text in HEADERS])
    table = element(
        "table", element("caption", caption), element("thead", head), element("tbody", rows), class_="plain"
    )
    return element("div", table, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _row(cell: CellResult) -> tuple[str, ...]:
    variant = cell.variant
    capacities = [f"{capacity_text(one)} with {slo_text(one.slo)}" for one in cell.capacities]
    saturation = cell.headlines.get("saturation_output_tokens_per_s")
    return (
        f"{variant.engine_name} {variant.engine_version}",
        f"{variant.model.name} {variant.quantization.value}",
        variant.hardware,
        cell.workload.name,
        f"{outcome_text(cell)}, {FLAGGED}" if cell.quality and cell.quality.is_flagged else outcome_text(cell),
        cell.grade or "–",
        "; ".join(capacities) or cell.cause or "–",
        number(saturation) if saturation is not None else "–",
    )
