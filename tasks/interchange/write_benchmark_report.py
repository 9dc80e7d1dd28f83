"""Benchmark Report 0.2 (llm-d): one YAML document a trial. What its schema has no room for stands in
`results.profiling.dyno`: validity, intervals, reasons."""

from collections.abc import Sequence
from typing import Any

import yaml

from experiments.redaction import redacted
from experiments.schema.base import content_id
from experiments.schema.length import Distribution as Length
from experiments.schema.length import FromData, LogNormal, Natural, Normal, Uniform
from experiments.schema.load import ClosedLoop
from experiments.schema.result import CellResult, Distribution, PointResult, TrialSummary
from experiments.schema.workload import Workload
from tasks.interchange.point_table import PERCENTILES

VERSION = "0.2"
LATENCIES = {
    "time_to_first_token": ("ttft_ms", "ms"),
    "time_per_output_token": ("tpot_ms", "ms/token"),
    "inter_token_latency": ("itl_ms", "ms/token"),
    "request_latency": ("e2e_ms", "ms"),
}
RATES = {
    "input_token_rate": ("input_tokens_per_s", "tokens/s"),
    "output_token_rate": ("output_tokens_per_s", "tokens/s"),
    "total_token_rate": ("total_tokens_per_s", "tokens/s"),
    "request_rate": ("completed_rps", "queries/s"),
}


def benchmark_reports(cells: Sequence[CellResult]) -> dict[str, str]:
    """YAML by file name: a report a trial of every cell that has trials."""
    return {report_name(cell, point): report_text(cell, point) for cell in cells for point in cell.points}


def report_name(cell: CellResult, point: PointResult) -> str:
    """Tells the trials of a store apart."""
    return f"{cell.campaign}-{cell.cell_id}-{point.launch or cell.launch}-{point.directory}.yaml"


def report_text(cell: CellResult, point: PointResult) -> str:
    """The document."""
    body: Any = redacted(benchmark_report(cell, point))
    return yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=120)


def benchmark_report(cell: CellResult, point: PointResult) -> dict[str, Any]:
    """As the schema of `llmd_benchmark_report` 0.2.1 has it, which reads 0.2 too."""
    run: dict[str, Any] = {
        "uid": f"{cell.campaign}/{cell.cell_id}/{point.launch or cell.launch}/{point.directory}",
        "eid": cell.campaign,
        "description": _description(cell, point),
        "keywords": _keywords(cell, point),
    }
    run["time"] = {"start": point.started_at, "duration": f"PT{point.summary.window_s:.6f}S"}
    results = {
        "request_performance": {"aggregate": _aggregate(point.summary)},
        "profiling": {"dyno": _own(cell, point)},
    }
    return {"version": VERSION, "run": run, "scenario": _scenario(cell, point), "results": results}


def _description(cell: CellResult, point: PointResult) -> str:
    what = f"{cell.variant.label} on {cell.workload.name}, {point.point.role}"
    return what if point.summary.valid else f"{what}. INVALID: {'; '.join(point.summary.invalid_reasons)}"


def _keywords(cell: CellResult, point: PointResult) -> list[str]:
    return ["valid" if point.summary.valid else "invalid", *([f"grade {cell.grade}"] if cell.grade else [])]


def _scenario(cell: CellResult, point: PointResult) -> dict[str, Any]:
    variant = cell.variant
    gpus = cell.cost.gpus if cell.cost else 0
    parallel = {"tp": variant.tensor_parallel, "pp": variant.pipeline_parallel, "ep": variant.expert_parallel}
    engine = {
        "kind": "inference_engine",
        "tool": variant.engine_name,
        "tool_version": variant.engine_version,
        "role": "replica",
        "replicas": 1,
        "model": {"name": variant.model.name},
        "accelerator": {"model": variant.hardware, "count": gpus, "parallelism": parallel},
    }
    native = {
        "args": {"argv": cell.provenance.get("argv", [])},
        "config": variant.model_dump(mode="json", exclude_defaults=True),
    }
    metadata = {"label": variant.engine_name, "cfg_id": variant.id}
    stack = [{"metadata": metadata, "standardized": engine, "native": native}]
    return {"stack": stack, "load": _load(cell, point)}


def _load(cell: CellResult, point: PointResult) -> dict[str, Any]:
    load, workload = point.point.load, cell.workload
    software = cell.provenance.get("software", {})
    told: dict[str, Any] = {
        "tool": "llm-dyno",
        "tool_version": str(software.get("llm-dyno", "unknown")),
        "source": "sampled" if workload.prompts.kind == "dataset" else "random",
        "stage": point.point.step,
        "input_seq_len": _length(workload.prompt_tokens),
    }
    if not workload.ends_by_itself:
        told["output_seq_len"] = _length(workload.output_tokens)
    if isinstance(load, ClosedLoop):
        told["concurrency"] = load.concurrency
    elif load.rate_rps is not None:
        told["rate_qps"] = load.rate_rps
    told |= _sharing(workload)
    native = {"config": {"workload": workload.model_dump(mode="json"), "point": point.point.model_dump(mode="json")}}
    metadata = {"cfg_id": content_id(workload.identity()), "description": workload.name}
    return {"metadata": metadata, "standardized": told, "native": native}


def _sharing(workload: Workload) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if workload.shared_prefix is not None:
        length = {"distribution": "fixed", "value": workload.shared_prefix.tokens}
        groups = workload.shared_prefix.groups
        found["prefix"] = {"prefix_len": length, "num_groups": groups, "num_users_per_group": 1, "num_prefixes": 1}
    if workload.conversation is not None:
        most = {"distribution": "other", "value": workload.conversation.most_turns}
        found["multi_turn"] = {"enabled": True, "max_turns": most}
    return found


def _length(length: int | Length) -> dict[str, Any]:
    """`value` is the mean where there is one, else the longest."""
    match length:
        case int():
            return {"distribution": "fixed", "value": length}
        case Normal():
            return {"distribution": "gaussian", "value": length.mean, "std_dev": length.std}
        case Uniform():
            mean = (length.min + length.max) / 2
            return {"distribution": "uniform", "value": mean, "min": length.min, "max": length.max}
        case LogNormal() | FromData() | Natural():
            return {"distribution": "other", "value": length.longest, "max": length.longest}


def _aggregate(summary: TrialSummary) -> dict[str, Any]:
    """Statistics whose mean is unknown are left out: the schema knows none without."""
    lost = summary.outcomes
    requests = {
        "total": summary.requests,
        "failures": lost.get("failed", 0) + lost.get("timed_out", 0),
        "incomplete": lost.get("cancelled", 0) + lost.get("never_sent", 0),
    }
    latency = {
        name: {"units": unit, **_statistics(told)}
        for name, (ours, unit) in LATENCIES.items()
        if (told := summary.latencies.get(ours, Distribution())).mean is not None
    }
    rates = {name: (getattr(summary, ours), unit) for name, (ours, unit) in RATES.items()}
    throughput = {name: {"units": unit, "mean": value} for name, (value, unit) in rates.items() if value is not None}
    return {"requests": requests, "latency": latency, "throughput": throughput}


def _statistics(told: Distribution) -> dict[str, float]:
    return {what: value for what in ("mean", *PERCENTILES) if (value := getattr(told, what)) is not None}


def _own(cell: CellResult, point: PointResult) -> dict[str, Any]:
    summary = point.summary
    return {
        "cell_id": cell.cell_id,
        "grade": cell.grade,
        "valid": summary.valid,
        "invalid_reasons": list(summary.invalid_reasons),
        "method_version": summary.method_version,
        "samples": {name: told.n for name, told in summary.latencies.items()},
        "intervals_95_percent": {
            name: {what: list(ends) for what, ends in told.intervals.items()}
            for name, told in summary.latencies.items()
            if told.intervals
        },
        "absent": summary.reasons
        | {f"{name}.{what}": why for name, told in summary.latencies.items() for what, why in told.reasons.items()},
    }
