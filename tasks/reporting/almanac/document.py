"""What the page knows: one JSON document of every cell, its points, the comparisons, and what could be measured.

`schema` names the form; its parts are described in this folder's README.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments.redaction import redacted
from experiments.schema.cold_start import ColdStart
from experiments.schema.comparison import ComparisonResult
from experiments.schema.facets import dataset_name, workload_facets
from experiments.schema.prompts import Dataset
from experiments.schema.quality import QualityResult
from experiments.schema.result import CellResult, LaunchSummary
from experiments.schema.variant import Variant
from experiments.schema.workload import Workload
from tasks.reporting.almanac.columns import as_columns, each_of, point_columns, short
from tasks.reporting.wording import STAND_IN_NOTE, SYNTHETIC_NOTE

SCHEMA = "dyno almanac 1"
LONGEST_EXCERPT = 1_500
NAMED = frozenset(
    {
        "engine",
        "engine_version",
        "model",
        "quantization",
        "hardware",
        "runtime",
        "endpoint_url",
        "api_key_env",
        "env",
        "stand_in",
    }
)
"""Fields of a variant that stand in a column of their own, or in none."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a person may ask for, measured or not: names of models, hardware and workloads, engines with the version
    that an experiment would name, and the GPUs of each hardware."""

    models: Sequence[str] = ()
    hardware: Mapping[str, int] = field(default_factory=dict)
    engines: Mapping[str, str] = field(default_factory=dict)
    workloads: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def almanac_document(
    cells: Sequence[CellResult],
    comparisons: Sequence[ComparisonResult] = (),
    offer: Offer | None = None,
    *,
    commands: Mapping[str, str] | None = None,
    written_at: str = "",
    notice: str = "",
) -> dict[str, Any]:
    """`commands` are launch commands by the id of the cell; `notice` stands at the top of the page. Secrets are taken
    out: a launch command or a log may hold one."""
    offer, commands = offer or Offer(), commands or {}
    body = {
        "schema": SCHEMA,
        "written_at": written_at,
        "notice": notice,
        "notes": {"synthetic": SYNTHETIC_NOTE, "stand_in": STAND_IN_NOTE},
        "offer": {
            "models": list(offer.models),
            "hardware": dict(offer.hardware),
            "engines": dict(offer.engines),
            "workloads": {name: list(lengths) for name, lengths in offer.workloads.items()},
        },
        "sources": sources(cells),
        "cells": as_columns([_row(cell, offer, commands) for cell in cells]),
        "points": point_columns(cells),
        "changes": as_columns([row for result in comparisons for row in change_rows(result)]),
    }
    clean = redacted(body)
    assert isinstance(clean, dict)
    return clean


def sources(cells: Sequence[CellResult]) -> dict[str, Any]:
    """Where each model's weights come from, by its name: an experiment that no catalog helps needs it."""
    return {cell.variant.model.name: cell.variant.model.source.model_dump(mode="json") for cell in cells}


def _row(cell: CellResult, offer: Offer, commands: Mapping[str, str]) -> dict[str, Any]:
    return {**cell_row(cell, offer.hardware), "command": commands.get(cell.cell_id, "")}


def cell_row(cell: CellResult, gpus: Mapping[str, int]) -> dict[str, Any]:
    """One cell without its points."""
    return {
        "id": cell.cell_id,
        "experiment": cell.experiment,
        "campaign": cell.campaign,
        "state": cell.state.value,
        "grade": cell.grade,
        "reasons": [*_quality_flags(cell), *cell.reasons],
        "quality": cell.quality.model_dump(mode="json") if cell.quality else None,
        "stage": cell.stage,
        "cause": cell.cause,
        "failure_class": cell.failure_class.value if cell.failure_class else None,
        "log_excerpt": cell.log_excerpt[-LONGEST_EXCERPT:],
        **_variant(cell.variant),
        "gpus": gpus.get(cell.variant.hardware, 0),
        **_workload(cell.workload),
        "each": each_of(cell).removesuffix("_ms"),
        "launches": max(1, len(cell.launches) or len({point.round for point in cell.points})),
        "capacities": [_capacity(one.model_dump(mode="json")) for one in cell.capacities],
        "by_launch": [_by_launch(one) for one in cell.launches],
        "headlines": {name: short(value) for name, value in cell.headlines.items()},
        "headline_reasons": dict(cell.headline_reasons),
        **_money(cell),
        "bounds": _bounds(cell),
        **_quality_and_start(cell),
        "stages_s": {name: short(value, 3) for name, value in cell.stages_s.items()},
        "started_at": cell.started_at,
        "ended_at": cell.ended_at,
        "mlflow_run_id": cell.mlflow_run_id,
        **_provenance(cell),
    }


def _quality_flags(cell: CellResult) -> list[str]:
    return [f"quality flagged: {flag}" for flag in (cell.quality.flags if cell.quality else ())]


def _variant(variant: Variant) -> dict[str, Any]:
    """`flags` are the fields that are not the default, each as `name value`."""
    plain = variant.model_dump(mode="json", exclude=set(NAMED))
    defaults = {name: info.get_default(call_default_factory=True) for name, info in type(variant).model_fields.items()}
    flags = [f"{name} {_said(value)}" for name, value in plain.items() if value not in (defaults[name], [], None)]
    return {
        "variant": variant.id,
        "engine": variant.engine_name,
        "engine_version": variant.engine_version,
        "model": variant.model.name,
        "model_source": variant.model.source.kind,
        "stand_in": variant.stand_in,
        "quantization": variant.quantization.value,
        "hardware": variant.hardware,
        "runtime": variant.runtime,
        "flags": flags,
    }


def _said(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _workload(workload: Workload) -> dict[str, Any]:
    """Facets by the names that they have in tags; `in` names a dataset, whose prompts have lengths of their own."""
    facets = workload_facets(workload)
    is_data = isinstance(workload.prompts, Dataset)
    return {
        "workload": workload.name,
        "in": dataset_name(workload) if is_data else facets.pop("input_tokens"),
        "out": facets.pop("output_tokens"),
        "turns": "one" if facets.pop("turns") is None else "conversations",
        **{name: facets[name] for name in ("dataset", "endpoint", "system_prompt", "prompt_cache", "answers")},
    }


def _capacity(body: dict[str, Any]) -> dict[str, Any]:
    rates = {name: short(body[name]) for name in ("certified_rps", "refuted_rps")}
    return {"slo": body["slo"], "verdict": body["verdict"], "reason": body["reason"], **rates}


def _by_launch(launch: LaunchSummary) -> dict[str, Any]:
    return {
        "launches": list(launch.launches),
        "headlines": {name: short(value) for name, value in launch.headlines.items()},
    }


def _money(cell: CellResult) -> dict[str, Any]:
    cost = cell.cost
    return {
        "usd_per_hour": list(cost.usd_per_hour) if cost and cost.usd_per_hour else None,
        "price_source": cost.price_source if cost else "",
    }


def _bounds(cell: CellResult) -> dict[str, Any] | None:
    if cell.bounds is None:
        return None
    kept = ("latency_floor_ms", "critical_batch", "largest_batch", "prefill_ms")
    body = cell.bounds.model_dump()
    return {name: short(body[name], 4) for name in kept}


def _quality_and_start(cell: CellResult) -> dict[str, Any]:
    """The variant's quality against its reference, and the start that tells most: a cold one, else the latest."""
    starts = cell.cold_starts
    start = next((one for one in starts if one.cold), starts[-1] if starts else None)
    return {
        "quality": _quality(cell.quality) if cell.quality else None,
        "cold_start": _start(start) if start else None,
    }


def _quality(found: QualityResult) -> dict[str, Any]:
    against = found.comparison.model_dump(mode="json") if found.comparison else {}
    kept = ("reference", "reference_is", "perplexity_ratio", "perplexity_ratio_interval", "agreement")
    return {
        "perplexity": short(found.perplexity),
        **{name: against.get(name) for name in (*kept, "agreement_interval", "greedy_agreement")},
        "accuracy": found.task.accuracy if found.task else None,
        "questions": found.task.questions if found.task else None,
        "flags": list(found.flags),
    }


def _start(start: ColdStart) -> dict[str, Any]:
    phases = {name: short(seconds, 3) for name, seconds in start.phases().items() if seconds is not None}
    return {"cold": start.cold, "how_known": start.how_known, **phases}


def _provenance(cell: CellResult) -> dict[str, Any]:
    """The facts that tell one machine, and one start, from another."""
    facts = cell.provenance
    machine, software = _mapping(facts.get("machine")), _mapping(facts.get("software"))
    said = {
        "processor": machine.get("cpu"),
        "cores": machine.get("cpu_cores"),
        "memory_gib": machine.get("memory_gib"),
        "kernel": machine.get("kernel"),
        "gpus": "; ".join(str(_mapping(one).get("name", one)) for one in facts.get("gpus") or ()) or None,
        "image": _mapping(facts.get("image")).get("digest") or None,
        "dyno": software.get("git_revision") or software.get("llm-dyno"),
        "checkpoint": _mapping(facts.get("checkpoint")).get("key"),
        "bits_per_weight": _mapping(facts.get("checkpoint")).get("bits_per_weight"),
    }
    method = next((point.summary.method_version for point in cell.points), None)
    phases = {name.removesuffix("_s"): short(value, 3) for name, value in _mapping(facts.get("launch_s")).items()}
    return {
        "provenance": {name: value for name, value in {**said, "method": method}.items() if value is not None},
        "start_s": phases,
    }


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def change_rows(result: ComparisonResult) -> list[dict[str, Any]]:
    """The figures of one comparison of releases, each with its verdict."""
    return [
        {
            "comparison": result.id,
            "engine": result.engine,
            "from": result.from_version,
            "to": result.to_version,
            "day": result.ended_at[:10] or result.started_at[:10],
            "overall": result.verdict.value,
            "system": change.system,
            "workload": change.workload,
            "at": change.at,
            "metric": change.metric,
            "higher_is_better": change.higher_is_better,
            "verdict": change.verdict.value,
            "change": short(change.change),
            "low": short(change.interval[0]) if change.interval else None,
            "high": short(change.interval[1]) if change.interval else None,
            "margin": short(change.margin),
            "launches": change.launches,
            "reason": change.reason,
        }
        for change in result.cells
    ]
