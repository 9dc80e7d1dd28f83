"""A load point: the trial, its records, its statistics. Plain Python, for the load sweep and for `dyno load` alike."""

import logging
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from experiments.schema.base import METHOD_VERSION
from experiments.schema.load import LoadPoint
from experiments.schema.result import PointResult
from experiments.schema.slo import SLO
from tasks.analysis.trial import summarize_trial
from tasks.campaigns.campaign import write_json
from tasks.loadgen.plan import Progress, TrialPlan
from tasks.loadgen.pool import Pool
from tasks.loadgen.preflight import Preflight
from tasks.loadgen.record import read_records
from tasks.loadgen.trial import run_trial
from tasks.telemetry.scrape import Scraped
from tasks.telemetry.watch import Watched, watching

log = logging.getLogger("dyno.load_sweep")


def measure_point(
    point: LoadPoint,
    plan: TrialPlan,
    preflight: Preflight,
    folder: Path,
    slos: tuple[SLO, ...],
    pool: Pool | None = None,
    watch: Callable[[Progress], None] | None = None,
) -> PointResult:
    """`plan` has the point's load and stop rule. `folder` receives requests.parquet, trial.json and the telemetry.
    `watch` sees the progress, and may raise: then the trial ends there and then, and its records are kept."""

    def follow(progress: Progress) -> None:
        _show(progress)
        if watch is not None:
            watch(progress)

    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    with watching(watched(plan), folder) as beside:
        records = run_trial(plan, preflight, out_dir=folder, on_progress=follow, pool=pool)
    window = (records.window_start_ns, records.window_end_ns)
    summary = summarize_trial(
        read_records(records.parquet),
        window=window,
        load=plan.load,
        workload=plan.workload,
        slos=slos,
        client=asdict(records.client),
        findings=records.findings,
        method_version=METHOD_VERSION,
        overloaded=point.role == "overloaded",
        counters=records.counters,
        counters_reason=records.counters_reason,
        telemetry=beside.telemetry,
        bucket_s=point.bucket_seconds,
    )
    result = PointResult(
        point=point,
        summary=summary,
        directory=folder.name,
        started_at=started_at,
        seed=plan.seed,
        window_ns=window,
        findings=records.findings,
        honoured=records.honoured,
        model=plan.endpoint.model,
        endpoint=plan.workload.endpoint,
        text_overhead_tokens=preflight.text_overhead,
    )
    write_json(folder / "trial.json", result)
    return result


def watched(plan: TrialPlan) -> Watched:
    """What can be seen beside the trial: the launch's GPUs, and the metrics whose names are known."""
    if not plan.metric_names or not plan.metrics_path:
        return Watched(gpus=plan.gpus)
    at = plan.endpoint
    return Watched(
        gpus=plan.gpus,
        engine=Scraped(at.url, plan.metrics_path, plan.metric_names, plan.metrics_dialect, at.api_key_env),
    )


def _show(progress: Progress) -> None:
    """For those who watch; twice a second."""
    log.debug("progress", extra={"progress": progress})
