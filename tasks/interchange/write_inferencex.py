"""Rows as InferenceX publishes them: one a closed-loop point, latencies in seconds, throughput a GPU.

The keys are those of its utils/process_result.py at commit 00e51cc and of the aggregates that it publishes today.
Ours begin with `dyno_`; `dyno_absent` says why a key is null."""

import json
from collections.abc import Sequence
from typing import Any

from experiments.redaction import redacted
from experiments.schema.load import ClosedLoop
from experiments.schema.result import CellResult, Distribution, PointResult
from tasks.interchange.table import Value

LATENCIES = {"ttft": "ttft_ms", "tpot": "tpot_ms", "itl": "itl_ms", "e2el": "e2e_ms"}
STATISTICS = {"mean": "mean", "median": "p50", "p90": "p90", "p95": "p95", "p99": "p99"}
THROUGHPUT = {
    "tput_per_gpu": "total_tokens_per_s",
    "input_tput_per_gpu": "input_tokens_per_s",
    "output_tput_per_gpu": "output_tokens_per_s",
}
UNITS = {"ttft": "s", "tpot": "s/token", "itl": "s", "e2el": "s", "intvty": "tokens/s", "tput_per_gpu": "tokens/s/GPU"}


def inferencex_text(cells: Sequence[CellResult]) -> str:
    """A JSON list of rows."""
    return json.dumps(redacted(inferencex_rows(cells)), indent=1, ensure_ascii=False) + "\n"


def inferencex_rows(cells: Sequence[CellResult]) -> list[dict[str, Any]]:
    """Of closed-loop points only: its rows have a concurrency and no rate."""
    return [_row(cell, point) for cell in cells for point in cell.points if isinstance(point.point.load, ClosedLoop)]


def _row(cell: CellResult, point: PointResult) -> dict[str, Any]:
    figures = _throughput(cell, point) | _latencies(point)
    own = {
        "dyno_cell_id": cell.cell_id,
        "dyno_campaign": cell.campaign,
        "dyno_grade": cell.grade,
        "dyno_valid": point.summary.valid,
        "dyno_invalid_reasons": list(point.summary.invalid_reasons),
        "dyno_units": UNITS,
        "dyno_absent": {name: why for name, (value, why) in figures.items() if value is None},
    }
    return _identity(cell, point) | {name: value for name, (value, _) in figures.items()} | own


def _identity(cell: CellResult, point: PointResult) -> dict[str, Any]:
    variant, workload, load = cell.variant, cell.workload, point.point.load
    return {
        "hw": variant.hardware,
        "conc": load.concurrency if isinstance(load, ClosedLoop) else None,
        "image": f"{variant.engine_name}:{variant.engine_version}",
        "model": variant.model.name,
        "framework": variant.engine_name,
        "precision": variant.quantization.value,
        "spec_decoding": variant.speculative_method or "none",
        "disagg": False,
        "is_multinode": False,
        "isl": workload.prompt_tokens if isinstance(workload.prompt_tokens, int) else None,
        "osl": workload.output_tokens if isinstance(workload.output_tokens, int) else None,
        "tp": variant.tensor_parallel,
        "pp": variant.pipeline_parallel,
        "ep": variant.expert_parallel,
        "dp_attention": False,
    }


Figures = dict[str, tuple[Value, str]]


def _throughput(cell: CellResult, point: PointResult) -> Figures:
    gpus = cell.cost.gpus if cell.cost else 0
    no_gpu = f"{cell.variant.hardware} has no GPU, or it is not known how many"
    found: Figures = {}
    for name, ours in THROUGHPUT.items():
        value = getattr(point.summary, ours)
        each = value / gpus if gpus and value is not None else None
        found[name] = (each, point.summary.reasons.get(ours, "it was not measured") if gpus else no_gpu)
    return found


def _latencies(point: PointResult) -> Figures:
    found: Figures = {}
    for name, ours in LATENCIES.items():
        told = point.summary.latencies.get(ours, Distribution())
        for what, figure in STATISTICS.items():
            value, why = getattr(told, figure), told.reasons.get(figure, "it was not measured")
            found[f"{what}_{name}"] = (None if value is None else value / 1000, why)
            if name == "tpot":
                found[f"{what}_intvty"] = (1000 / value if value else None, why)
    return found
