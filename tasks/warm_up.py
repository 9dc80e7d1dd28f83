"""Stage: the pre-flight, and load until two consecutive windows agree."""

import logging
import time
from dataclasses import replace
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from experiments.errors import InputError
from experiments.schema.conversation import Conversation
from experiments.schema.load import ClosedLoop, StopRule
from experiments.schema.workload import Workload
from tasks.analysis.warm import is_steady, tokens_per_window
from tasks.artifacts.model_files import context_length
from tasks.loadgen.plan import TrialPlan
from tasks.loadgen.pool import Pool
from tasks.loadgen.preflight import Preflight, run_preflight
from tasks.loadgen.record import read_records
from tasks.loadgen.trial import run_trial

log = logging.getLogger("dyno.warm_up")

ROUND_S = 1.0


@task(name="warm up", task_run_name="warm up {plan.workload.name}", cache_policy=NO_CACHE)
def warm_up(plan: TrialPlan, folder: Path, pool: Pool, *, max_seconds: float) -> tuple[Preflight, float]:
    """What the server honours, and the rate that it answered at, in rps, once its throughput was steady or the time
    was spent. Raises InputError where the model is not made for so long a request: some engines answer all the same."""
    if plan.tokenizer is not None:
        check_context(plan.workload, context_length(plan.tokenizer))
    preflight = run_preflight(plan)
    for finding in preflight.findings:
        log.warning("pre-flight: %s", finding)
    alone = plan.workload.model_copy(update={"conversation": None})  # nobody thinks while an engine warms up
    windows: list[int] = []
    limit, rate_rps = time.monotonic() + max_seconds, 0.0
    while not is_steady(windows) and time.monotonic() < limit:
        round_plan = replace(
            plan,
            workload=alone,
            load=ClosedLoop(concurrency=1),
            stop=StopRule(seconds=ROUND_S),
            seed=_seed(plan, windows),
        )
        records = run_trial(round_plan, preflight, out_dir=folder / "warm-up", pool=pool)
        table = read_records(records.parquet)
        windows += tokens_per_window(table, (records.window_start_ns, records.window_end_ns))
        rate_rps = table.num_rows / ROUND_S
    if is_steady(windows):
        log.info("%s: steady after %d s", plan.workload.name, len(windows))
    else:
        log.warning("%s: not steady after %.0f s; measured all the same", plan.workload.name, max_seconds)
    return preflight, slowed(rate_rps, plan.workload.conversation)


def check_context(workload: Workload, room: int | None) -> None:
    """`room`: tokens, or None where nobody knows."""
    needed = workload.context_tokens
    if room is not None and needed > room:
        raise InputError(f"{workload.name} needs {needed} tokens of context, and the model is made for {room}")


def slowed(rate_rps: float, conversation: Conversation | None) -> float:
    """What one user who thinks makes of a rate: what follows is planned by it."""
    if conversation is None or rate_rps == 0:
        return rate_rps
    return 1 / (1 / rate_rps + conversation.mean_think_s)


def _seed(plan: TrialPlan, windows: list[int]) -> int:
    """Another for each round: no prompt is sent twice."""
    return (plan.seed + 1 + len(windows)) % 2**32
