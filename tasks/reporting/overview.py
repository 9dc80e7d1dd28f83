"""Everything measured, in rows: what `dyno report --text` shows, and its `--json` prints. Figures bear their units."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from experiments.redaction import redacted
from experiments.schema.comparison import ComparisonResult
from experiments.schema.result import CellResult, CellState
from tasks.reporting.standings import (
    Standing,
    by_capacity,
    interval,
    latest,
    launches_of,
    objectives,
    standings,
    witnesses,
)

GRADES = {
    "A": "every point is valid; every objective is certified or refuted",
    "B": "every point is valid; something is left open",
    "C": "a point is invalid that no headline rests on",
    "D": "a point that the headlines rest on is invalid or absent",
    "E": "half of the points or more are invalid",
    "F": "no point is valid",
}
HEADLINES = ("saturation_rps", "saturation_output_tokens_per_s", "floor_ttft_p50_ms")


def overview(cells: Sequence[CellResult], comparisons: Sequence[ComparisonResult] = ()) -> dict[str, Any]:
    """`cells` from old to new: of each the latest counts. One JSON document."""
    current = latest(cells)
    standing = standings(current)
    body = {
        "cells": len(current),
        "states": dict(Counter(cell.state.value for cell in current)),
        "best": [row for one in standing if (row := _best(one))],
        "capacities": [row for one in standing for row in _capacities(one)],
        "grades": _grades(current),
        "failures": [_failure(cell) for cell in current if cell.state is not CellState.MEASURED],
        "comparisons": [_comparison(one) for one in comparisons],
    }
    clean: Any = redacted(body)
    return dict(clean)


def _best(standing: Standing) -> dict[str, Any] | None:
    cell, next_one = standing.best, standing.runner_up
    if cell is None:
        return None
    figures = {name: cell.headlines.get(name) for name in HEADLINES}
    reasons = {name: cell.headline_reasons.get(name, "") for name, value in figures.items() if value is None}
    ratio = cell.headlines["saturation_rps"] / next_one.headlines["saturation_rps"] if next_one else None
    return {
        **_question(standing),
        "variant": standing.name(cell),
        "cell_id": cell.cell_id,
        **figures,
        "reasons": reasons,
        "saturation_rps_interval": interval(cell, "saturation_rps"),
        "launches": launches_of(cell),
        "grade": cell.grade,
        "compared": len(standing.ranked),
        "level_with": [standing.name(other) for other in standing.level],
        "runner_up": standing.name(next_one) if next_one else None,
        "times_runner_up": ratio,
    }


def _question(standing: Standing) -> dict[str, Any]:
    asked = standing.question
    return {"model": asked.model, "hardware": asked.hardware, "workload": asked.workload}


def _capacities(standing: Standing) -> Iterator[dict[str, Any]]:
    for slo in objectives(standing):
        for cell, told in by_capacity(standing, slo):
            yield {
                **_question(standing),
                "slo": slo,
                "variant": standing.name(cell),
                "cell_id": cell.cell_id,
                "verdict": told.verdict,
                "certified_rps": told.certified_rps,
                "refuted_rps": told.refuted_rps,
                "interval_rps": interval(cell, f"capacity_rps/{told.name}"),
                "n": witnesses(cell, told),
                "launches": launches_of(cell),
                "grade": cell.grade,
                "reason": told.reason,
            }


def _grades(cells: Sequence[CellResult]) -> list[dict[str, Any]]:
    counted = Counter(str(cell.grade) for cell in cells if cell.grade is not None)
    return [{"grade": grade, "cells": counted[grade], "means": GRADES[grade]} for grade in GRADES if counted[grade]]


def _failure(cell: CellResult) -> dict[str, Any]:
    return {
        "state": cell.state.value,
        "failure_class": cell.failure_class.value if cell.failure_class else None,
        "stage": cell.stage,
        "cell": f"{cell.variant.label} on {cell.workload.name}, {cell.variant.hardware}",
        "cell_id": cell.cell_id,
        "cause": cell.cause or _first(cell.reasons),
        "may_be_retried": cell.failure_class.may_be_retried if cell.failure_class else None,
    }


def _first(reasons: Sequence[str]) -> str:
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return f"{reasons[0]}{more}" if reasons else ""


def _comparison(one: ComparisonResult) -> dict[str, Any]:
    counted = Counter(figure.verdict.value for figure in one.cells)
    return {
        "id": one.id,
        "engine": one.engine,
        "from": one.from_version,
        "to": one.to_version,
        "experiment": one.experiment,
        "verdict": one.verdict.value,
        "reason": one.reason,
        "figures": dict(counted),
        "ended_at": one.ended_at,
    }
