"""The table at the end of a run: variant × workload, and its rows as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from experiments.redaction import redacted
from experiments.schema.result import CellResult, CellState
from tasks.reporting.wording import (
    NONE,
    STAND_IN_NOTE,
    SYNTHETIC_NOTE,
    capacity_text,
    cell_names,
    common_label,
    is_stand_in,
    is_synthetic,
    number,
    outcome_text,
    quality_text,
)

HEADLINES = {
    "floor_ttft_p50_ms": "floor TTFT\np50 ms",
    "saturation_rps": "saturation\nrps",
    "saturation_output_tokens_per_s": "saturation\ntokens/s",
}
GRADE_STYLES = {"A": "green", "B": "green", "C": "yellow", "D": "yellow", "E": "red", "F": "red"}


def result_rows(cells: Sequence[CellResult]) -> list[dict[str, Any]]:
    """One row a cell, every figure present: null where it is absent, `reasons` saying why under its name."""
    return [_row(cell) for cell in cells]


def _row(cell: CellResult) -> dict[str, Any]:
    row: dict[str, Any] = {
        "cell_id": cell.cell_id,
        "variant": cell.variant.label,
        "engine": cell.variant.engine_name,
        "stand_in": cell.variant.stand_in,
        "engine_version": cell.variant.engine_version,
        "model": cell.variant.model.name,
        "quantization": cell.variant.quantization.value,
        "hardware": cell.variant.hardware,
        "workload": cell.workload.name,
        "state": cell.state.value,
        "grade": cell.grade,
        "launch": cell.launch,
        **{name: cell.headlines.get(name) for name in HEADLINES},
        "capacities": [capacity.model_dump(mode="json") for capacity in cell.capacities],
        "launches": sorted({point.launch for point in cell.points}),
        "between_launches": {name: b.model_dump(mode="json") for name, b in cell.between_launches.items()},
        "deratings": [derating.model_dump(mode="json") for derating in cell.deratings],
        "bounds": cell.bounds.model_dump(mode="json") if cell.bounds else {"reason": _no_bound(cell)},
        "cost": cell.cost.model_dump(mode="json") if cell.cost else None,
        "quality": cell.quality.model_dump(mode="json") if cell.quality else None,
        "quality_flagged": cell.quality.is_flagged if cell.quality else None,
        "cold_starts": [start.model_dump(mode="json") for start in cell.cold_starts],
        "validity": list(cell.reasons),
        "failure_class": cell.failure_class,
        "stage": cell.stage,
        "cause": cell.cause,
        "log_excerpt": cell.log_excerpt,
        "mlflow_run_id": cell.mlflow_run_id,
        "prefect_run_id": cell.prefect_run_id,
    }
    absent = {name: cell.headline_reasons.get(name) or _why(cell) for name in HEADLINES if row[name] is None}
    clean: dict[str, Any] = dict(redacted(row | {"reasons": absent}))  # type: ignore[call-overload]
    return clean


def _no_bound(cell: CellResult) -> str:
    return cell.bound_reason or (_why(cell) if cell.cause else "no bound is known")


def _why(cell: CellResult) -> str:
    """Why a cell has no figure at all."""
    if cell.cause:
        return f"{outcome_text(cell)} at {cell.stage or 'an unknown stage'}: {cell.cause}"
    return "; ".join(cell.reasons) or f"the cell is {cell.state.value}"


def result_table(cells: Sequence[CellResult]) -> RenderableType:
    """For a terminal of 100 columns: what all have in common, the table, and a line for whatever is not grade A."""
    names = cell_names(cells)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("variant", overflow="fold")
    table.add_column("workload", overflow="fold")
    for title in [*HEADLINES.values(), *_slo_titles(cells).values()]:
        table.add_column(title, justify="right", overflow="fold")
    table.add_column("validity", overflow="fold")
    for cell in cells:
        table.add_row(*_table_row(cell, names[cell.variant.id], list(_slo_titles(cells))))
    return Group(Text(common_label(cell.variant for cell in cells), style="dim"), table, *_notes(cells, names))


def _slo_titles(cells: Sequence[CellResult]) -> dict[str, str]:
    """By the SLO's text: the column's title, over two lines."""
    slos = dict.fromkeys(capacity.slo for cell in cells for capacity in cell.capacities)
    return {slo: "capacity rps\n" + slo.replace(":", " ").replace("<", " < ") for slo in slos}


def _table_row(cell: CellResult, name: str, slos: Sequence[str]) -> list[Text]:
    if not cell.headlines and cell.state is not CellState.MEASURED:
        blanks = [Text(NONE, style="dim") for _ in (*HEADLINES, *slos)]
        return [Text(name), Text(cell.workload.name), *blanks, _validity(cell)]
    figures = [cell.headlines.get(name) for name in HEADLINES]
    capacities = {capacity.slo: capacity_text(capacity) for capacity in cell.capacities}
    return [
        Text(name),
        Text(cell.workload.name),
        *(Text(number(value) if value is not None else "absent") for value in figures),
        *(Text(capacities.get(slo, "unknown")) for slo in slos),
        _validity(cell),
    ]


def _validity(cell: CellResult) -> Text:
    if cell.state is CellState.MEASURED and cell.grade is not None:
        return Text(f"grade {cell.grade}", style=GRADE_STYLES[cell.grade])
    return Text(outcome_text(cell), style="red" if cell.state is not CellState.UNSUPPORTED else "yellow")


def _notes(cells: Sequence[CellResult], names: Mapping[str, str]) -> list[RenderableType]:
    """Failures first, then what keeps a cell from grade A."""
    lines = []
    for cell in sorted(cells, key=lambda cell: cell.state is CellState.MEASURED):
        if cell.state is not CellState.MEASURED or cell.grade != "A":
            lines.append(f"{names[cell.variant.id]}, {cell.workload.name}: {_note(cell)}")
    lines += _quality_notes(cells, names)
    if any(is_stand_in(cell) for cell in cells):
        lines.append(STAND_IN_NOTE)
    if any(is_synthetic(cell) for cell in cells):
        lines.append(SYNTHETIC_NOTE)
    texts = [Padding(Text(str(redacted(line)), style="dim"), (0, 0, 0, 2)) for line in lines]
    return [Text(), *texts] if texts else []


def _quality_notes(cells: Sequence[CellResult], names: Mapping[str, str]) -> list[str]:
    """A line a variant: how it stands against the reference, or which limit it is past."""
    scored = {cell.variant.id: cell.quality for cell in cells if cell.quality is not None}
    return [f"{names[id_]}: {quality_text(found)}" for id_, found in scored.items()]


def _note(cell: CellResult) -> str:
    if cell.cause or not cell.reasons:
        return _why(cell)
    more = f" (and {len(cell.reasons) - 1} more in the report)" if len(cell.reasons) > 1 else ""
    return f"grade {cell.grade or NONE}: {cell.reasons[0]}{more}"
