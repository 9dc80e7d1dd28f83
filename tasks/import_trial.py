"""A trial that another tool measured: its statistics by our definitions, and what its file lacks. Plain Python."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.errors import InputError
from experiments.schema.base import METHOD_VERSION
from experiments.schema.load import LoadPoint, StopRule
from experiments.schema.result import Distribution, PointResult, SLOAttainment, TrialSummary
from experiments.schema.slo import SLO
from tasks.analysis.distributions import absent
from tasks.analysis.trial import summarize_trial
from tasks.analysis.trial_json import trial_json
from tasks.campaigns.campaign import write_json
from tasks.interchange.imported import Imported
from tasks.interchange.reading import read_trials
from tasks.loadgen.record import write_records

log = logging.getLogger("dyno.load")

_COLD = "a cold workload"
"""How the reason begins that presumes a cache policy: the file has none."""


def import_file(path: Path, slos: Sequence[SLO], out: Path | None) -> list[PointResult]:
    """The trials of the file, in order. `out` receives requests.parquet and trial.json; where the file has several
    trials, in a folder each. Raises InputError for a file that cannot be read."""
    trials = read_trials(path)
    folders = [_folder(out, index, len(trials)) for index in range(len(trials))]
    return [
        _kept(trial, index, slos, folder) for index, (trial, folder) in enumerate(zip(trials, folders, strict=True))
    ]


def import_json(results: Sequence[PointResult]) -> dict[str, Any]:
    """The document of a measured trial beside `imported_from` and `unknown`; several trials stand under `trials`."""
    documents = [
        {
            "imported_from": result.imported_from.model_dump() if result.imported_from else None,
            "load": result.point.load.model_dump(mode="json"),
            **trial_json(result.summary),
            "unknown": list(result.unknown),
        }
        for result in results
    ]
    return documents[0] if len(documents) == 1 else {"trials": documents}


def _folder(out: Path | None, index: int, trials: int) -> Path | None:
    return out / str(index) if out is not None and trials > 1 else out


def _kept(trial: Imported, index: int, slos: Sequence[SLO], folder: Path | None) -> PointResult:
    load = trial.load
    role = "open_loop" if load.kind == "open_loop" else "saturation"
    result = PointResult(
        point=LoadPoint(step=index, role=role, load=load, stop=StopRule(requests=trial.table.num_rows)),
        summary=summarize_import(trial, slos),
        directory=folder.name if folder else "",
        started_at=trial.started_at,
        window_ns=trial.window,
        imported_from=trial.source,
        unknown=trial.unknown,
    )
    if folder is not None:
        _write(trial, result, folder)
    return result


def _write(trial: Imported, result: PointResult, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_records(folder / "requests.parquet", trial.table)
        write_json(folder / "trial.json", result)
    except OSError as error:
        raise InputError(f"--out {folder}: cannot be written: {error.strerror}") from error


def summarize_import(trial: Imported, slos: Sequence[SLO]) -> TrialSummary:
    """By the definitions of a measured trial, less the figures that its file does not hold. Never valid: whether the
    other tool's client distorted what it measured cannot be established from its file."""
    told = [slo for slo in slos if f"{slo.metric}_ms" not in trial.absent]
    summary = summarize_trial(
        trial.table,
        window=trial.window,
        load=trial.load,
        workload=trial.workload,
        slos=told,
        client={},
        findings=(_why_invalid(trial),),
        method_version=METHOD_VERSION,
        test_drift=False,  # its tests need due times and every chunk
    )
    return _less(summary, trial.absent).model_copy(update=_slos(summary, slos, trial.absent))


def _why_invalid(trial: Imported) -> str:
    tool = {"guidellm": "GuideLLM", "vllm": "vllm bench serve"}[trial.source.tool]
    return (
        f"imported from {tool}: that its client did not distort what it measured cannot be verified, "
        "since its file does not hold what would show it (its CPU, its delays, how it took its times)"
    )


def _less(summary: TrialSummary, why: Mapping[str, str]) -> TrialSummary:
    """Without the figures named in `why`, each of which becomes a reason."""
    scalars = {name: None for name in why if name in TrialSummary.model_fields and name != "lateness_ms"}
    latencies = {name: absent(why[name]) if name in why else value for name, value in summary.latencies.items()}
    return summary.model_copy(
        update={
            **scalars,
            "latencies": latencies,
            "per_user_tokens_per_s": None if "tpot_ms" in why else summary.per_user_tokens_per_s,
            "lateness_ms": _lateness(summary, why),
            "reasons": summary.reasons | {name: why[name] for name in scalars} | {"drift": "drift was not tested"},
            "invalid_reasons": tuple(r for r in summary.invalid_reasons if not r.startswith(_COLD)),
        }
    )


def _lateness(summary: TrialSummary, why: Mapping[str, str]) -> Distribution:
    return absent(why["lateness_ms"]) if "lateness_ms" in why else summary.lateness_ms


def _slos(summary: TrialSummary, slos: Sequence[SLO], why: Mapping[str, str]) -> dict[str, Any]:
    """Every SLO in the order asked; goodput and attainment need them all."""
    held = {slo.slo: slo for slo in summary.slos}
    every = tuple(held[str(slo)] if str(slo) in held else _not_held(slo, why[f"{slo.metric}_ms"]) for slo in slos)
    if len(held) == len({str(slo) for slo in slos}):
        return {"slos": every}
    return {"slos": every, "goodput_rps": None, "attainment": None}


def _not_held(slo: SLO, reason: str) -> SLOAttainment:
    return SLOAttainment(slo=str(slo), attainment=None, goodput_rps=None, verdict="unknown", reason=reason)
