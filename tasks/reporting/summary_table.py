"""The table at the head of the page: variant × workload, the best of each column in bold."""

from collections.abc import Mapping, Sequence

from experiments.schema.result import Capacity, CellResult, CellState
from tasks.reporting.markup import Markup, element
from tasks.reporting.wording import capacity_text, is_stand_in, number, slo_text

COLUMNS = {
    "floor_ttft_p50_ms": ("Floor TTFT", "p50, ms"),
    "saturation_rps": ("Saturation", "requests/s"),
    "saturation_output_tokens_per_s": ("Saturation", "output tokens/s"),
}
GRADE_CLASSES = {"A": "good", "B": "good", "C": "fair", "D": "fair", "E": "bad", "F": "bad"}


def summary_table(cells: Sequence[CellResult], names: Mapping[str, str]) -> Markup:
    """Grouped by workload, in the order measured."""
    slos = list(dict.fromkeys(capacity.slo for cell in cells for capacity in cell.capacities))
    titles = [*COLUMNS.values(), *(("Capacity, requests/s", slo_text(slo)) for slo in slos)]
    head = [
        element("th", "Workload", scope="col"),
        element("th", "Variant", scope="col"),
        [element("th", title, element("br"), unit, scope="col", class_="number") for title, unit in titles],
        element("th", "Validity", scope="col"),
    ]
    rows = [
        _row(cell, names, slos, cells, is_first=index == 0)
        for workload in dict.fromkeys(cell.workload.name for cell in cells)
        for index, cell in enumerate(cell for cell in cells if cell.workload.name == workload)
    ]
    table = element("table", element("thead", element("tr", head)), element("tbody", rows))
    return element("div", table, class_="scroll", tabindex="0", role="region", aria_label="Summary")


def _row(
    cell: CellResult, names: Mapping[str, str], slos: Sequence[str], cells: Sequence[CellResult], *, is_first: bool
) -> Markup:
    capacities = {capacity.slo: capacity for capacity in cell.capacities}
    return element(
        "tr",
        element("th", cell.workload.name if is_first else "", scope="row"),
        element("td", names[cell.variant.id]),
        [_figure(cell, name, cells) for name in COLUMNS],
        [_capacity(cell, capacities.get(slo)) for slo in slos],
        element("td", *_validity(cell)),
        class_="group" if is_first else None,
    )


def _figure(cell: CellResult, name: str, cells: Sequence[CellResult]) -> Markup:
    value = cell.headlines.get(name)
    if value is None:
        reason = cell.headline_reasons.get(name) or cell.cause or cell.state.value
        return element("td", element("span", "absent", title=reason), class_="number absent")
    compared = [c for c in cells if c.workload.name == cell.workload.name and not is_stand_in(c)]
    rivals = [c.headlines[name] for c in compared if name in c.headlines]
    best = (min if name.endswith("_ms") else max)(rivals, default=value)
    return element("td", number(value), class_="number best" if value == best and len(rivals) > 1 else "number")


def _capacity(cell: CellResult, capacity: Capacity | None) -> Markup:
    if capacity is None:
        return element("td", element("span", "absent", title=cell.cause or cell.state.value), class_="number absent")
    refuted = capacity.refuted_rps
    beyond = f"refuted at {number(refuted)}" if capacity.certified_rps is not None and refuted is not None else ""
    bounds = element("span", beyond, class_="bounds") if beyond else None
    text = element("span", capacity_text(capacity), title=capacity.reason)
    return element("td", text, bounds, class_="number absent" if capacity.verdict == "unknown" else "number")


def _validity(cell: CellResult) -> list[Markup]:
    if cell.state is CellState.MEASURED and cell.grade is not None:
        return [element("span", f"Grade {cell.grade}", class_=GRADE_CLASSES[cell.grade])]
    stage = f" at {cell.stage}" if cell.stage else ""
    return [element("span", f"{cell.state.value.replace('_', '-').capitalize()}{stage}", class_="bad")]
