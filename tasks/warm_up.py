"""Stage: the pre-flight, and load until two consecutive windows agree."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from experiments.errors import InputError
from experiments.schema.conversation import Conversation
from experiments.schema.load import ClosedLoop, StopRule, WarmUp
from experiments.schema.result import WarmUpResult
from experiments.schema.workload import Workload
from tasks.analysis.warm import is_steady, tokens_per_window
from tasks.artifacts.model_files import context_length
from tasks.campaigns.campaign import write_json
from tasks.loadgen.plan import TrialPlan
from tasks.loadgen.pool import Pool
from tasks.loadgen.preflight import Preflight, run_preflight
from tasks.loadgen.record import read_records
from tasks.loadgen.trial import run_trial

log = logging.getLogger("dyno.warm_up")

FOLDER, FILE = "warm-up", "warm-up.json"


@task(name="warm up", task_run_name="warm up {plan.workload.name}", cache_policy=NO_CACHE)
def warm_up(
    plan: TrialPlan, folder: Path, pool: Pool, how: WarmUp, check_alive: Callable[[], None] = lambda: None
) -> tuple[Preflight, float]:
    """What the server honours, and the rate that it answered at, in rps, once its throughput was steady or the time
    was spent. Raises InputError where the model is not made for so long a request: some engines answer all the same;
    and what `check_alive` raises after a round in which the server has ended."""
    if plan.tokenizer is not None:
        check_context(plan.workload, context_length(plan.tokenizer))
    preflight = run_preflight(plan)
    for finding in preflight.findings:
        log.warning("pre-flight: %s", finding)
    alone = plan.workload.model_copy(update={"conversation": None})  # nobody thinks while an engine warms up
    windows: list[int] = []
    started, rate_rps = time.monotonic(), 0.0
    while not (enough := _is_enough(windows, how)) and time.monotonic() < started + how.max_seconds:
        round_plan = replace(
            plan,
            workload=alone,
            load=ClosedLoop(concurrency=1),
            stop=StopRule(seconds=how.window_seconds),
            seed=_seed(plan, windows),
        )
        records = run_trial(round_plan, preflight, out_dir=folder / FOLDER, pool=pool)
        check_alive()
        table = read_records(records.parquet)
        window = (records.window_start_ns, records.window_end_ns)
        windows += tokens_per_window(table, window, seconds=how.window_seconds)
        rate_rps = table.num_rows / how.window_seconds
    if enough:
        log.info("%s: steady after %d windows of %g s", plan.workload.name, len(windows), how.window_seconds)
    else:
        log.warning("%s: not steady after %g s; measured all the same", plan.workload.name, how.max_seconds)
    seconds = round(time.monotonic() - started, 3)
    write_json(
        folder / FOLDER / FILE, WarmUpResult(is_steady=enough, seconds=seconds, tokens_per_window=tuple(windows))
    )
    return preflight, slowed(rate_rps, plan.workload.conversation)


def _is_enough(windows: list[int], how: WarmUp) -> bool:
    return len(windows) >= how.windows and is_steady(windows)


def warm_up_result(folder: Path, launch: int) -> WarmUpResult | None:
    """How a launch was warmed up, from its folder; None where it was not."""
    file = folder / FOLDER / FILE
    if not file.exists():
        return None
    return WarmUpResult.model_validate_json(file.read_bytes()).model_copy(update={"launch": launch})


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
