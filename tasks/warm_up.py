"""Stage: the pre-flight, and load until two consecutive windows agree."""

import logging
import time
from dataclasses import replace
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from experiments.schema.load import ClosedLoop, StopRule
from tasks.analysis.warm import is_steady, tokens_per_window
from tasks.loadgen.plan import TrialPlan
from tasks.loadgen.preflight import Preflight, run_preflight
from tasks.loadgen.record import read_records
from tasks.loadgen.trial import run_trial

log = logging.getLogger("dyno.warm_up")

ROUND_S = 1.0
CONCURRENCY = 2


@task(name="warm up", task_run_name="warm up {plan.workload.name}", cache_policy=NO_CACHE)
def warm_up(plan: TrialPlan, folder: Path, *, max_seconds: float) -> Preflight:
    """What the server honours, once it is warm; its throughput is what it will be, or the time is spent."""
    preflight = run_preflight(plan)
    for finding in preflight.findings:
        log.warning("pre-flight: %s", finding)
    limit, windows = time.monotonic() + max_seconds, []
    while not is_steady(windows) and time.monotonic() < limit:
        seed = plan.seed + len(windows)
        load, stop = ClosedLoop(concurrency=CONCURRENCY), StopRule(seconds=ROUND_S)
        records = run_trial(replace(plan, load=load, stop=stop, seed=seed), preflight, out_dir=folder / "warm-up")
        table = read_records(records.parquet)
        windows += tokens_per_window(table, (records.window_start_ns, records.window_end_ns))
    if is_steady(windows):
        log.info("%s: steady", plan.workload.name)
    else:
        log.warning("%s: not steady after %.0f s; measured all the same", plan.workload.name, max_seconds)
    return preflight
