"""Stage: one load point on one launch. Never retried, never cached: that would hide the failure that we came to see."""

import logging
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from experiments.errors import WrongAnswer
from experiments.schema.base import METHOD_VERSION, content_id
from experiments.schema.load import LoadPoint
from experiments.schema.result import PointResult
from experiments.schema.slo import SLO
from tasks.analysis.trial import summarize_trial
from tasks.campaigns.campaign import write_json
from tasks.loadgen.plan import Progress, TrialPlan, TrialRecords
from tasks.loadgen.pool import Pool
from tasks.loadgen.preflight import Preflight
from tasks.loadgen.record import Outcome, read_records
from tasks.loadgen.trial import run_trial
from tasks.reporting.console import point_line
from tasks.serving.server import Server

log = logging.getLogger("dyno.load_sweep")


@task(name="load sweep", task_run_name="{point.role} {point.step}", retries=0, cache_policy=NO_CACHE)
def load_sweep(
    point: LoadPoint,
    plan: TrialPlan,
    preflight: Preflight,
    folder: Path,
    slos: tuple[SLO, ...],
    server: Server,
    pool: Pool,
) -> PointResult:
    """Raises ServerDied, or WrongAnswer where no request succeeded, after the records are on disk."""
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    directory = f"{point.step:02}-{point.role}"
    trial = replace(plan, load=point.load, stop=point.stop, seed=trial_seed(plan.seed, point.step))
    records = run_trial(trial, preflight, out_dir=folder / directory, on_progress=show_progress, pool=pool)
    result = _result(point, trial, records, directory, started_at, slos)
    write_json(folder / directory / "trial.json", result)
    server.check_alive()
    log.log(logging.INFO if result.summary.valid else logging.WARNING, "%s", point_line(result))
    if not result.summary.outcomes.get(Outcome.COMPLETED, 0):
        raise WrongAnswer(f"no request of {result.summary.requests} succeeded: {_common_error(records)}")
    return result


def trial_seed(seed: int, step: int) -> int:
    """Another for each point, so that no prompt is sent twice to one launch."""
    return int(content_id("trial", seed, step)[:8], 16)


def _result(
    point: LoadPoint, trial: TrialPlan, records: TrialRecords, directory: str, started_at: str, slos: tuple[SLO, ...]
) -> PointResult:
    window = (records.window_start_ns, records.window_end_ns)
    summary = summarize_trial(
        read_records(records.parquet),
        window=window,
        load=point.load,
        workload=trial.workload,
        slos=slos,
        client=asdict(records.client),
        findings=records.findings,
        method_version=METHOD_VERSION,
        overloaded=point.role == "overloaded",
    )
    return PointResult(
        point=point,
        summary=summary,
        directory=directory,
        started_at=started_at,
        seed=trial.seed,
        window_ns=window,
        findings=records.findings,
        honoured=records.honoured,
    )


def _common_error(records: TrialRecords) -> str:
    errors = [error for error in read_records(records.parquet).column("error").to_pylist() if error]
    return max(set(errors), key=errors.count) if errors else "no error was recorded"


def show_progress(progress: Progress) -> None:
    """For those who watch; twice a second."""
    log.debug("progress", extra={"progress": progress})
