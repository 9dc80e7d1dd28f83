"""Stage: one load point on one launch. Never retried, never cached: that would hide the failure that we came to see."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from experiments.errors import WrongAnswer
from experiments.schema.base import content_id
from experiments.schema.failure import FailureClass
from experiments.schema.load import LoadPoint
from experiments.schema.result import PointResult
from experiments.schema.slo import SLO
from tasks.load_point import measure_point
from tasks.loadgen.plan import Progress, TrialPlan
from tasks.loadgen.pool import Pool
from tasks.loadgen.preflight import Preflight
from tasks.loadgen.record import Outcome, read_records
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
    """Raises ServerDied, or WrongAnswer where no request succeeded or the server hangs; its records are on disk."""
    here = folder / f"{point.step:02}-{point.role}"
    trial = replace(plan, load=point.load, stop=point.stop, seed=trial_seed(plan.seed, point.step))
    watch = Watch(server, plan.timeout_s)
    result = measure_point(point, trial, preflight, here, slos, pool, watch.look)
    server.check_alive()
    log.log(logging.INFO if result.summary.valid else logging.WARNING, "%s", point_line(result))
    if not result.summary.outcomes.get(Outcome.COMPLETED, 0):
        timed_out = result.summary.outcomes.get(Outcome.TIMED_OUT, 0) == result.summary.requests
        raise WrongAnswer(
            f"no request of {result.summary.requests} succeeded: {_common_error(here)}",
            failure_class=FailureClass.TIMEOUT if timed_out else None,
        )
    return result


@dataclass(slots=True)
class Watch:
    """Ends a trial early where going on is of no use: its server is gone, or hangs. A trial of a hundred requests, each
    of which times out, would take hours."""

    server: Server
    timeout_s: float
    alive_at_s: float = 0.0
    errors: int = 0

    def look(self, progress: Progress) -> None:
        """Raises ServerDied, or WrongAnswer where for the time of a request and a half no token came of those in
        flight, and some gave up meanwhile."""
        if self.server.process is not None:
            self.server.check_alive()
        if progress.chunks_per_s > 0 or not progress.in_flight:
            self.alive_at_s, self.errors = progress.elapsed_s, progress.errors
        silent_s = progress.elapsed_s - self.alive_at_s
        if silent_s > 1.5 * self.timeout_s and progress.errors > self.errors:
            raise WrongAnswer(
                f"no token came for {silent_s:.0f} s, and {progress.errors - self.errors} requests gave up after "
                f"{self.timeout_s:g} s",
                failure_class=FailureClass.TIMEOUT,
            )


def trial_seed(seed: int, step: int) -> int:
    """Another for each point, so that no prompt is sent twice to one launch."""
    return int(content_id("trial", seed, step)[:8], 16)


def _common_error(folder: Path) -> str:
    errors = [error for error in read_records(folder / "requests.parquet").column("error").to_pylist() if error]
    return max(set(errors), key=errors.count) if errors else "no error was recorded"
