"""A cell as the tracking store holds it: params, metrics by step, headlines, tags, a description. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence

from experiments.redaction import redacted
from experiments.schema.facets import load_facets, workload_facets
from experiments.schema.load import ClosedLoop
from experiments.schema.result import RATES, CellResult, CellState, PointResult, TrialSummary, TurnSummary
from experiments.schema.slo import parse_slo

PARAM_LIMIT = 6000
TAG_LIMIT = 5000
FIGURES = ("mean", "p50", "p90", "p95", "p99")
QUANTIZE_FIGURES = ("quantize_seconds", "quantize_peak_bytes", "quantize_peak_gpu_bytes", "bits_per_weight")
POINT_FIGURES = (*RATES, "window_s", "requests")
TURNS_TOLD = 16
"""Turns of a conversation that have metrics of their own; trial.json has them all."""

DIFFERS_EACH_TIME = frozenset({"argv", "launch_s", "load_average_1min", "packages", "served_model"})
"""What of the provenance would show as a difference between any two launches: it is in environment.json only."""


def params(config: Mapping[str, object]) -> dict[str, str]:
    """Every leaf of a configuration under its key path; a list is one JSON text. Secrets are redacted, and what is too
    long for a param is cut: the JSON artifact holds it whole."""
    clean = redacted(config)
    return {path: text[:PARAM_LIMIT] for path, text in _leaves("", clean)}


def _leaves(path: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(f"{path}.{key}" if path else str(key), item)
    else:
        yield path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def comparable_params(cell: CellResult) -> dict[str, str]:
    """What two runs may differ in for a reason: facets under their plain names, the variant, the workload, and of the
    provenance what does not differ each time."""
    variant = cell.variant
    plain = {
        "engine": variant.engine,
        "engine_version": variant.engine_version,
        "model": variant.model.name,
        "quantization": variant.quantization.value,
        "hardware": variant.hardware,
        **facets(cell),
    }
    return params(plain | cell_config(cell) | {"provenance": _steady(cell.provenance)})


def _steady(value: Mapping[str, object]) -> dict[str, object]:
    return {
        key: _steady(inner) if isinstance(inner, Mapping) else inner
        for key, inner in value.items()
        if key not in DIFFERS_EACH_TIME
    }


def facets(cell: CellResult) -> dict[str, str]:
    """What its workload and its loads are filtered by; what does not apply is left out."""
    found = workload_facets(cell.workload) | load_facets(point.point.load for point in cell.points)
    return {name: str(value) for name, value in found.items() if value not in (None, "")}


def cell_config(cell: CellResult) -> dict[str, object]:
    """What was asked, and on what it ran."""
    return {
        "variant": cell.variant.model_dump(mode="json"),
        "workload": cell.workload.model_dump(mode="json"),
        "provenance": cell.provenance,
    }


def point_metrics(point: PointResult) -> dict[str, float]:
    """Of one load point, its step being the point's. An absent figure is left out: it is no number."""
    summary = point.summary
    found = {name: getattr(summary, name) for name in POINT_FIGURES}
    load = point.point.load
    found["concurrency"] = load.concurrency if isinstance(load, ClosedLoop) else None
    found["rate_rps"] = summary.completed_rps if isinstance(load, ClosedLoop) else load.rate_rps or summary.offered_rps
    found["valid"] = float(summary.valid)
    found |= {f"gpu/{name}": value for name, value in summary.gpu.items()}
    found |= {f"engine/{name}": value for name, value in summary.engine.items()}
    if point.bound is not None:
        found |= {"share_of_bound": point.bound.share, "bound_output_tokens_per_s": point.bound.bound_tokens_per_s}
    found |= _latencies(summary)
    for turn in summary.turns[:TURNS_TOLD]:
        found |= _turn(turn)
    return {name: float(value) for name, value in found.items() if value is not None}


def _turn(turn: TurnSummary) -> dict[str, float | None]:
    """Turns count from 1 as in the report: turn_02/ttft_p50_ms."""
    name = f"turn_{turn.turn + 1:02}"
    figures: dict[str, float | None] = {f"{name}/requests": turn.requests}
    figures[f"{name}/cache_hit_ratio"] = turn.cache_hit_ratio
    for figure in ("ttft_ms", "tpot_ms", "e2e_ms", "prompt_tokens"):
        told = turn.figures.get(figure)
        what, _, unit = figure.rpartition("_")
        figures |= {f"{name}/{what}_{p}_{unit}": getattr(told, p) for p in ("p50", "p95") if told is not None}
    return figures


def cost_metrics(cell: CellResult) -> dict[str, float]:
    """What a million tokens take in time and money: at saturation, and at the certified rate of each SLO."""
    cost = cell.cost
    if cost is None or cost.unit is None:
        return {}
    name = f"{cost.unit.lower().replace('-', '_')}_per_million_tokens"
    found: dict[str, float | None] = {f"{name}/{slo}": each.total for slo, each in cost.capacities.items()}
    if cost.saturation is not None:
        found[f"{name}/saturation"] = cost.saturation.total
        low, high = cost.saturation.usd_total or (None, None)
        found |= {"usd_per_million_tokens/saturation/low": low, "usd_per_million_tokens/saturation/high": high}
    return {name: value for name, value in found.items() if value is not None}


def checkpoint_metrics(cell: CellResult) -> dict[str, float]:
    """What the weights that were served are on disk, and what making them took when they were made. Those that are
    used as they come took nothing, and have no such figures."""
    found = cell.provenance.get("checkpoint")
    said = found if isinstance(found, Mapping) else {}
    figures = {"checkpoint_bytes": said.get("bytes"), **{name: said.get(name) for name in QUANTIZE_FIGURES}}
    return {name: float(value) for name, value in figures.items() if isinstance(value, (int, float))}


BUILD_FIGURES = ("seconds", "tool_seconds", "peak_memory_bytes", "tool_peak_memory_bytes", "bytes")


def build_metrics(cell: CellResult) -> dict[str, float]:
    """What compiling its engine took and gave; empty where nothing was compiled."""
    build = cell.provenance.get("build", {})
    return {f"build/{name}": float(build[name]) for name in BUILD_FIGURES if build.get(name) is not None}


def quality_metrics(cell: CellResult) -> dict[str, float]:
    """Its quality, with the interval of each figure as /low and /high; empty where none was asked for."""
    found = cell.quality
    if found is None:
        return {}
    figures: dict[str, tuple[float | None, tuple[float, float] | None]] = {
        "perplexity": (found.perplexity, found.perplexity_interval)
    }
    if found.task is not None:
        figures["task_accuracy"] = (found.task.accuracy, found.task.interval)
    if (against := found.comparison) is not None:
        figures |= {name: (getattr(against, name), getattr(against, f"{name}_interval")) for name in COMPARED}
    told = {name: value for name, value in figures.items() if value[0] is not None}
    ends = {
        f"quality/{name}/{end}": interval[place]
        for name, (_, interval) in told.items()
        if interval is not None
        for place, end in enumerate(("low", "high"))
    }
    counts = {"quality/tokens": float(found.tokens), "quality/flagged": float(found.is_flagged)}
    return {f"quality/{name}": float(value[0] or 0.0) for name, value in told.items()} | ends | counts


def quality_flag(cell: CellResult) -> str:
    """Which limits its quality is past, `none`, or why that is not known; "" where none was asked for."""
    found = cell.quality
    if found is None:
        return ""
    if found.comparison is None:
        return "; ".join(found.flags) or f"unknown: {found.reasons.get('comparison', 'not compared yet')}"
    reason = found.comparison.reasons.get("agreement")
    return "; ".join(found.flags) or (f"unknown: {reason}" if reason else "none")


COMPARED = ("perplexity_ratio", "agreement", "greedy_agreement")


def cold_start_metrics(cell: CellResult) -> dict[str, float]:
    """Of the last start of each kind: cold_start/…, warm_start/…, in seconds."""
    found: dict[str, float] = {}
    for start in cell.cold_starts:
        kind = "cold_start" if start.cold else "warm_start"
        found |= {f"{kind}/{name}": value for name, value in start.phases().items() if value is not None}
    return found


def _latencies(summary: TrialSummary) -> dict[str, float | None]:
    """ttft_ms.p95 becomes ttft_p95_ms."""
    distributions = {**summary.latencies, "lateness_ms": summary.lateness_ms}
    found = {
        f"{name.removesuffix('_ms')}_{figure}_ms": getattr(distribution, figure)
        for name, distribution in distributions.items()
        for figure in FIGURES
    }
    return found | {f"attainment/{parse_slo(slo.slo).name}": slo.attainment for slo in summary.slos}


def between_metrics(cell: CellResult) -> dict[str, float]:
    """The ends of the intervals between launches, and of each SLO's capacity: the rate from which on it is refuted."""
    found = {f"{name}/low": figure.low for name, figure in cell.between_launches.items()}
    found |= {f"{name}/high": figure.high for name, figure in cell.between_launches.items()}
    found |= {f"capacity_refuted_rps/{capacity.name}": capacity.refuted_rps for capacity in cell.capacities}
    return {name: value for name, value in found.items() if value is not None}


def tags(cell: CellResult) -> dict[str, str]:
    """What people filter by. Empty values are left out."""
    variant = cell.variant
    found = {
        "dyno.cell_id": cell.cell_id,
        "dyno.variant_id": variant.id,
        "dyno.campaign": cell.campaign,
        "dyno.state": cell.state.value,
        "dyno.grade": cell.grade or "",
        "state": cell.state.value,
        "grade": cell.grade or "",
        "dyno.stage": cell.stage,
        "stage": cell.stage,
        "failure_class": cell.failure_class or "",
        "dyno.cause": cell.cause,
        "dyno.ended_at": cell.ended_at,
        "dyno.reasons": "; ".join(cell.reasons),
        "engine": variant.engine_name,
        "stand_in": "true" if variant.stand_in else "",
        "engine_version": variant.engine_version,
        "engine_backend": variant.engine_backend or "",
        "quality_flag": quality_flag(cell),
        "model": variant.model.name,
        "quantization": variant.quantization.value,
        "hardware": variant.hardware,
        "workload": cell.workload.name,
        "prefect.flow_run_id": cell.prefect_run_id,
        **facets(cell),
    }
    return {name: str(redacted(value))[:TAG_LIMIT] for name, value in found.items() if value}


def run_status(state: CellState) -> str:
    """An invalid or unsupported cell is a result; a failed or interrupted one is not."""
    return {CellState.FAILED: "FAILED", CellState.INTERRUPTED: "KILLED"}.get(state, "FINISHED")


def run_name(cell: CellResult) -> str:
    """What differs from cell to cell comes first: the UI cuts long names."""
    variant = cell.variant
    engine = " ".join(filter(None, (variant.engine_name, variant.engine_version, variant.engine_backend)))
    return " · ".join((variant.quantization.value, cell.workload.name, variant.model.name, engine))


def cell_row(cell: CellResult, *, kept: bool) -> dict[str, object]:
    """One line of an invocation's list."""
    return {
        "cell_id": cell.cell_id,
        "variant": cell.variant.label,
        "workload": cell.workload.name,
        "state": cell.state.value,
        "grade": cell.grade,
        "campaign": cell.campaign,
        "launch": cell.launch,
        "kept": kept,
        "run_id": cell.mlflow_run_id,
        "headlines": dict(cell.headlines),
        "failure_class": cell.failure_class,
        "stage": cell.stage,
        "cause": cell.cause,
    }


def invocation_description(text: str, rows: Sequence[Mapping[str, object]], experiment_id: str) -> str:
    """Markdown with a link to the run of each cell, measured now or kept from before."""
    lines = [text, "", "| variant | workload | state | grade | when | run |", "|---|---|---|---|---|---|"]
    for row in rows:
        run = row["run_id"]
        link = f"[{str(run)[:8]}](#/experiments/{experiment_id}/runs/{run})" if run else "not published"
        kept = "kept" if row["kept"] else "measured now"
        lines.append(
            f"| {row['variant']} | {row['workload']} | {row['state']} | {row['grade'] or '–'} | {kept} | {link} |"
        )
    return "\n".join(lines)
