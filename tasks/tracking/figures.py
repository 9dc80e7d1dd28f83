"""A cell as the tracking store holds it: params, metrics by step, headlines, tags, a description. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence

from experiments.redaction import redacted
from experiments.schema.length import described
from experiments.schema.load import ClosedLoop
from experiments.schema.result import RATES, CellResult, CellState, PointResult, TrialSummary
from experiments.schema.slo import parse_slo

PARAM_LIMIT = 6000
TAG_LIMIT = 5000
FIGURES = ("mean", "p50", "p90", "p95", "p99")
QUANTIZE_FIGURES = ("quantize_seconds", "quantize_peak_bytes", "quantize_peak_gpu_bytes", "bits_per_weight")
POINT_FIGURES = (*RATES, "window_s", "requests")


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
    found["valid"] = float(summary.valid)
    found |= {f"gpu/{name}": value for name, value in summary.gpu.items()}
    found |= {f"engine/{name}": value for name, value in summary.engine.items()}
    if point.bound is not None:
        found |= {"share_of_bound": point.bound.share, "bound_output_tokens_per_s": point.bound.bound_tokens_per_s}
    return {name: float(value) for name, value in (found | _latencies(summary)).items() if value is not None}


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
        "dyno.stage": cell.stage,
        "stage": cell.stage,
        "failure_class": cell.failure_class or "",
        "dyno.cause": cell.cause,
        "dyno.reasons": "; ".join(cell.reasons),
        "engine": variant.engine_name,
        "stand_in": "true" if variant.stand_in else "",
        "engine_version": variant.engine_version,
        "engine_backend": variant.engine_backend or "",
        "model": variant.model.name,
        "quantization": variant.quantization.value,
        "hardware": variant.hardware,
        "workload": cell.workload.name,
        "prefect.flow_run_id": cell.prefect_run_id,
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


def cell_description(cell: CellResult) -> str:
    """Markdown for the run's page."""
    workload = cell.workload
    asked = f"{described(workload.prompt_tokens)} tokens in, {described(workload.output_tokens)} out"
    lines = [f"**{cell.variant.label}** on **{workload.name}** ({asked})", "", *_outcome(cell)]
    for name, value in cell.headlines.items():
        lines.append(f"- `{name}`: {value:.4g}")
    for name, reason in cell.headline_reasons.items():
        lines.append(f"- `{name}`: none: {reason}")
    lines += [f"- {c.slo}: {c.verdict}: {c.reason}" for c in cell.capacities]
    if cell.prefect_run_id:
        lines += ["", f"Prefect flow run `{cell.prefect_run_id}`."]
    return str(redacted("\n".join(lines)))


def _outcome(cell: CellResult) -> list[str]:
    grade = f", grade {cell.grade}" if cell.grade else ""
    lines = [f"{cell.state.value.capitalize()}{grade}, launch {cell.launch} of campaign `{cell.campaign}`.", ""]
    if cell.cause:
        named = f"**{cell.failure_class}** at stage" if cell.failure_class else "Stage"
        lines += [f"{named} **{cell.stage}**: {cell.cause}", ""]
    if cell.log_excerpt:
        lines += ["```", cell.log_excerpt, "```", ""]
    return lines + [f"- {reason}" for reason in cell.reasons]


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
