"""One launch that measures given load points on each workload: what comparisons and replays are made of."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from experiments.errors import AnotherSystem, hidden_stop
from experiments.schema.comparison import LaunchResult
from experiments.schema.load import LoadPoint
from experiments.schema.order import CellOrder
from experiments.schema.result import PointResult
from flows.measure_variant import prepare_launch, trial_plan
from tasks.campaigns.home import Home
from tasks.campaigns.ledger import Ledger, now
from tasks.diagnose import diagnose
from tasks.download import download_dataset
from tasks.load_sweep import load_sweep
from tasks.loadgen.pool import Pool
from tasks.serve import is_there_already, launched, serve
from tasks.serving.gpus import gpu_facts
from tasks.serving.provenance import machine, software
from tasks.serving.server import Server
from tasks.teardown import teardown
from tasks.warm_up import warm_up

log = logging.getLogger("dyno.launch")

Next = Callable[[str, list[PointResult], float], LoadPoint | None]
"""(workload, points done, rate that the warm-up saw in rps) → the next point; None where the workload is done."""


Approve = Callable[[Mapping[str, Any]], None]
"""Sees the provenance of a server that is ready, before anything is measured; raises AnotherSystem where it is not the
one that is meant."""


def approve_any(_provenance: Mapping[str, Any]) -> None:
    """For a launch that is measured whatever it is."""


def measure_launch(
    ledger: Ledger,
    cells: tuple[CellOrder, ...],
    whose: LaunchResult,
    *,
    folder: Path,
    next_point: Next,
    approve: Approve = approve_any,
) -> LaunchResult:
    """`whose` with what was measured, or with why it could not be. Nothing of it runs afterwards. Raises
    KeyboardInterrupt where it was stopped: such a launch does not count."""
    points: dict[str, tuple[PointResult, ...]] = {}
    start_s: dict[str, float] = {}
    ledger.provenance = {"machine": machine(), "gpus": gpu_facts(), "software": software()}
    try:
        _measure(ledger, cells, points, start_s, folder=folder, next_point=next_point, approve=approve)
    except AnotherSystem:
        raise
    except Exception as error:  # whatever fails becomes a result
        if hidden_stop(error):
            raise KeyboardInterrupt from error
        failed = ledger.failure(cells[0], error, **diagnose(error, ledger.variant, folder.with_suffix(".log")))
        log.error("%s at %s: %s", failed.failure_class, failed.stage, failed.cause)
        why = {name: getattr(failed, name) for name in ("stage", "cause", "failure_class", "log_excerpt")}
        return whose.model_copy(update={"ended_at": now(), "provenance": ledger.provenance, **why})
    told = {"points": points, "start_s": start_s, "provenance": ledger.provenance}
    return whose.model_copy(update={"ended_at": now(), **told})


def _measure(
    ledger: Ledger,
    cells: tuple[CellOrder, ...],
    points: dict[str, tuple[PointResult, ...]],
    start_s: dict[str, float],
    *,
    folder: Path,
    next_point: Next,
    approve: Approve,
) -> None:
    loadable, tokenizer = (None, None) if is_there_already(ledger.variant) else prepare_launch(ledger)
    leases = Home(Path(ledger.run.home)).leases
    ledger.stage = "launch"
    log_file = folder.with_suffix(".log")
    with serve(ledger.variant, loadable=loadable, log_file=log_file, leases=leases) as server:
        ledger.provenance |= launched(ledger.variant, server)
        approve(ledger.provenance)
        if server.process is not None:
            start_s |= {name.removesuffix("_s"): value for name, value in server.timings_s.items()}
        with Pool() as pool:
            for cell in cells:
                points[cell.workload.name] = _sweep(ledger, cell, server, tokenizer, pool, folder, next_point)
        ledger.stage = "teardown"
    teardown(server)


def _sweep(
    ledger: Ledger,
    cell: CellOrder,
    server: Server,
    tokenizer: Path | None,
    pool: Pool,
    folder: Path,
    next_point: Next,
) -> tuple[PointResult, ...]:
    run, here = ledger.run, folder / cell.workload.name
    dataset = download_dataset(cell.workload.prompts, Home(Path(run.home)).artifacts)
    plan = trial_plan(ledger, cell, server, tokenizer, dataset)
    with ledger.during("warm up"):
        preflight, rps = warm_up(plan, here, pool, run.load_plan.warm_up, server.check_alive)
    done: list[PointResult] = []
    with ledger.during("load sweep"):
        while (point := next_point(cell.workload.name, done, rps)) is not None:
            done.append(load_sweep(point, plan, preflight, here, run.slos, server, pool))
    return tuple(done)
