"""A trial's records become its summary: every published figure comes from here, and from the Parquet alone."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from experiments.schema.load import Load
from experiments.schema.result import Distribution, TrialSummary
from experiments.schema.slo import SLO
from experiments.schema.workload import Workload
from tasks.analysis.buckets import buckets
from tasks.analysis.columns import Columns, read_columns
from tasks.analysis.distributions import absent, distribution, independent_at, latency_distributions
from tasks.analysis.drift import Drift, drift
from tasks.analysis.energy import GpuFigures, gpu_figures
from tasks.analysis.engine import engine_figures
from tasks.analysis.goodput import joint_attainment, slo_attainments
from tasks.analysis.throughput import engine_cache_hit_ratio, throughput
from tasks.analysis.turns import turn_summaries
from tasks.analysis.validity import error_share, invalid_reasons, lateness_ms
from tasks.loadgen.record import Outcome
from tasks.telemetry.record import Telemetry


def summarize_trial(
    table: pa.Table,
    *,
    window: tuple[int, int],
    load: Load,
    workload: Workload,
    slos: Sequence[SLO],
    client: Mapping[str, Any],
    findings: Sequence[str] = (),
    method_version: str,
    overloaded: bool = False,
    test_drift: bool = True,
    counters: Mapping[str, float] | None = None,
    counters_reason: str = "",
    telemetry: Telemetry | None = None,
    bucket_s: float | None = None,
) -> TrialSummary:
    """The statistics of measurement.md. `window` is W in CLOCK_MONOTONIC ns, `client` a ClientReport as a dict,
    `findings` the instrument's own reasons of invalidity, `counters` the growth of the engine's counters. An
    `overloaded` point is not stationary: it is not tested for drift, and certifies nothing. `test_drift` is False where
    the records do not hold what the test needs. `telemetry` is what was seen beside the trial. With `bucket_s` the
    trial is told in stretches of so many seconds too."""
    columns = read_columns(table, window)
    beside = telemetry or Telemetry()
    gpu, engine = gpu_figures(beside, window), engine_figures(beside, window)
    drifted = drift(columns, load) if test_drift and not overloaded else None
    reasons = invalid_reasons(columns, load=load, workload=workload, client=client, findings=findings, drifted=drifted)
    reasons += gpu.invalid_reasons + engine.invalid_reasons
    rates = asdict(throughput(columns, open_loop=load.kind == "open_loop"))
    latencies = latency_distributions(columns)
    goodput = joint_attainment(columns, slos)
    engine_hits, why_no_hits = engine_cache_hit_ratio(counters or {}, counters_reason)
    per_token, why_no_ratio = _joules_per_token(gpu, rates, columns.window_s)
    absent_reasons = _reasons(
        engine_cache_hit_ratio=why_no_hits, energy_j=gpu.reason, joules_per_output_token=why_no_ratio,
        engine=engine.reason,
    )  # fmt: skip
    return TrialSummary(
        method_version=method_version,
        requests=len(columns),
        outcomes={outcome.value: int((columns.outcome == outcome.value).sum()) for outcome in Outcome},
        valid=not reasons,
        invalid_reasons=reasons,
        window_s=columns.window_s,
        **{**rates, "reasons": rates["reasons"] | _untested(drifted) | absent_reasons},
        engine_cache_hit_ratio=engine_hits,
        energy_j=gpu.energy_j,
        joules_per_output_token=per_token,
        gpu=gpu.figures,
        engine=engine.figures,
        per_user_tokens_per_s=_per_user(latencies["tpot_ms"].p50),
        goodput_rps=goodput[0] if goodput else None,
        attainment=goodput[1] if goodput else None,
        error_share=error_share(columns),
        latencies=latencies,
        lateness_ms=_lateness(columns),
        client=dict(client),
        slos=slo_attainments(columns, slos, overloaded=overloaded),
        turns=turn_summaries(columns),
        buckets=buckets(columns, bucket_s) if bucket_s is not None else (),
    )


def _reasons(**reasons: str) -> dict[str, str]:
    return {name: reason for name, reason in reasons.items() if reason}


def _joules_per_token(gpu: GpuFigures, rates: Mapping[str, Any], window_s: float) -> tuple[float | None, str]:
    """The energy of W over the output tokens that arrived in W, or why there is none."""
    if gpu.energy_j is None:
        return None, gpu.reason
    tokens = (rates["output_tokens_per_s"] or 0.0) * window_s
    return (gpu.energy_j / tokens, "") if tokens else (None, "it is not known how many tokens arrived in the window")


def _untested(drifted: Drift | None) -> dict[str, str]:
    return {"drift": drifted.reason} if drifted and drifted.reason else {}


def _per_user(tpot_p50_ms: float | None) -> float | None:
    """Of the median user: 1000 / TPOT."""
    return 1000 / tpot_p50_ms if tpot_p50_ms else None


def _lateness(columns: Columns) -> Distribution:
    late = lateness_ms(columns)
    if not len(late):
        return absent("no request due in the window was sent")
    return distribution(late, independent=independent_at(late))
