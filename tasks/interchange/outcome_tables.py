"""A row a capacity, and a row a cell that came to nothing."""

from collections.abc import Iterator, Sequence

from experiments.redaction import redacted
from experiments.schema.result import Capacity, CellResult, CellState
from experiments.schema.slo import parse_slo
from tasks.interchange.table import Column, Row, Table, explained, figure, make_table, text


def _capacity_columns() -> Iterator[Column]:
    yield text("cell", "the row of the table cells")
    yield text("cell_id", "the cell's id")
    yield text("slo", "the objective, as written in the experiment")
    yield text("name", "the objective, as it stands in metric names")
    yield text("latency", "the latency that is bounded")
    yield Column("percentile", "number", "the percentile that is bounded", "%")
    yield Column("bound_ms", "number", "the bound", "ms")
    yield text("verdict", "certified, refuted or unknown")
    yield text("reason", "what the verdict rests on")
    yield figure("certified_rps", "highest rate at which the objective was shown to hold", "requests/s")
    yield figure("refuted_rps", "lowest rate at which it was shown not to hold", "requests/s")
    yield figure("low_rps", "low end of the 95 % interval of certified_rps between launches", "requests/s")
    yield figure("high_rps", "high end of that interval", "requests/s")
    yield figure("device_seconds_per_million_tokens", "of all tokens at certified_rps", "s")


def capacity_table(cells: Sequence[tuple[str, CellResult]]) -> Table:
    """Of cells with their keys."""
    rows = [_capacity(key, cell, capacity) for key, cell in cells for capacity in cell.capacities]
    meaning = "a row an objective of a cell: the highest load that still meets it"
    return make_table("capacities", meaning, _capacity_columns(), rows, parent="cell")


def _capacity(key: str, cell: CellResult, told: Capacity) -> Row:
    slo = parse_slo(told.slo)
    row: Row = {"cell": key, "cell_id": cell.cell_id, "slo": told.slo, "name": told.name, "latency": slo.metric}
    row |= {"percentile": slo.percentile, "bound_ms": slo.bound_ms, "verdict": told.verdict, "reason": told.reason}
    rates = {"certified_rps": told.certified_rps, "refuted_rps": told.refuted_rps}
    cost = cell.cost.capacities.get(told.name) if cell.cost else None
    between = cell.between_launches.get(f"capacity_rps/{told.name}")
    ends = {"low_rps": between.low if between else None, "high_rps": between.high if between else None}
    why = f"{told.verdict}: {told.reason}"
    row |= explained(rates, {"certified_rps": why, "refuted_rps": "no rate was shown to break it"}, why)
    row |= explained(ends, {}, "an interval between launches needs two launches that were certified")
    costs = {"device_seconds_per_million_tokens": cost.total if cost else None}
    return row | explained(costs, {}, "no rate is certified, or no device's time is known")


def _failure_columns() -> Iterator[Column]:
    yield text("cell", "the row of the table cells")
    yield text("cell_id", "the cell's id")
    for name in ("engine", "engine_version", "model", "quantization", "hardware", "workload"):
        yield text(name, f"the cell's {name.replace('_', ' ')}")
    yield text("state", "failed, invalid, unsupported or interrupted")
    yield text("stage", "where it ended")
    yield text("failure_class", "what kind of failure it was")
    yield Column("may_be_retried", "flag", "whether the same may come out otherwise on another launch")
    yield text("cause", "what happened")
    yield text("reasons", "what was wrong with what was measured")
    yield text("log_excerpt", "what the log said last")


def failure_table(cells: Sequence[tuple[str, CellResult]]) -> Table:
    """Of cells with their keys: those that were not measured."""
    rows = [_failure(key, cell) for key, cell in cells if cell.state is not CellState.MEASURED]
    return make_table("failures", "a row a cell that came to nothing, and why", _failure_columns(), rows, parent="cell")


def _failure(key: str, cell: CellResult) -> Row:
    variant = cell.variant
    row: Row = {name: getattr(variant, name) for name in ("engine", "engine_version", "hardware")}
    row |= {"cell": key, "cell_id": cell.cell_id, "model": variant.model.name, "workload": cell.workload.name}
    row |= {"quantization": variant.quantization.value, "state": cell.state.value, "stage": cell.stage}
    if cell.failure_class is not None:
        row |= {"failure_class": cell.failure_class.value, "may_be_retried": cell.failure_class.may_be_retried}
    said = {"cause": cell.cause, "reasons": "; ".join(cell.reasons), "log_excerpt": cell.log_excerpt}
    return row | {name: str(redacted(value)) for name, value in said.items()}
