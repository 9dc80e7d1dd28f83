"""A stored cell measured once more, by its own parameters, on a new launch; and whether it comes out as before."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from engine_adapters import ADAPTERS
from experiments.schema.comparison import LaunchResult
from experiments.schema.load import LoadPlan
from experiments.schema.order import CellOrder, ExperimentOrder
from experiments.schema.replay import ReplayOrder, ReplayResult
from flows.measure_launch import measure_launch
from flows.replaying import differences_of, refuse_another_system
from tasks.analysis.replay import Verdict, basis_of, judge_replay, replayed_points
from tasks.analysis.rounds import rounds_of
from tasks.campaigns.campaign import Campaign
from tasks.campaigns.comparison import launch_spreads
from tasks.campaigns.home import Home
from tasks.campaigns.ledger import Ledger, now
from tasks.campaigns.replays import Replay
from tasks.serve import is_there_already

log = logging.getLogger("dyno.replay")

MEASURING = ("launch", "warm up", "load sweep", "teardown")
"""Stages that ran when the cell was measured: one that fails now is a cell that is not reproduced."""


@flow(name="replay-cell", flow_run_name="{order.id}", persist_result=False)
def replay_cell(order: ReplayOrder) -> State[Any]:
    """The verdict lies in replay.json and in an artifact of this run. Fails where the cell was not reproduced."""
    home = Home(Path(order.home))
    result = replay(order, Replay(home.replays / order.id), home)
    message = f"{result.verdict}: {result.reason}"
    create_markdown_artifact(key="replay", markdown=message, description=result.id)
    return Failed(message=message) if result.verdict == "not reproduced" else Completed(message=message)


def replay(order: ReplayOrder, folder: Replay, home: Home) -> ReplayResult:
    """Measures, judges and keeps. Raises AnotherSystem before anything is measured."""
    cell, started_at = order.cell, now()
    points = list(replayed_points(cell.points))
    gpus = ADAPTERS[cell.variant.engine].launch_spec(cell.variant).gpus
    whose = LaunchResult(
        number=1, round=0, arm="candidate", system=cell.cell_id, variant=cell.variant, gpus=gpus, started_at=started_at
    )
    launch = measure_launch(
        _ledger(order, folder),
        (CellOrder(cell_id=cell.cell_id, workload=cell.workload),),
        whose,
        folder=folder.launch_folder,
        next_point=lambda _workload, done, _rps: next(iter(points[len(done) :]), None),
        approve=lambda provenance: refuse_another_system(order, provenance),
    )
    canaries = launch_spreads(home.canaries, cell.variant.hardware)
    verdict = _judge(order, launch, canaries)
    result = ReplayResult(
        id=order.id,
        cell_id=cell.cell_id,
        experiment=cell.experiment,
        verdict=verdict.verdict,
        reason=verdict.reason,
        level=verdict.level,
        stored_launches=len(rounds_of(cell.points)),
        basis=basis_of(cell.points, canaries),
        figures=verdict.figures,
        differences=differences_of(order, launch.provenance),
        launch=launch,
        started_at=started_at,
        ended_at=now(),
    )
    folder.save(result)
    return result


def _judge(order: ReplayOrder, launch: LaunchResult, canaries: Mapping[str, list[float]]) -> Verdict:
    if not launch.cause:
        return judge_replay(order.cell.points, launch.points.get(order.cell.workload.name, ()), canaries)
    told = f"{launch.stage}: {launch.cause}"
    if launch.stage in MEASURING:
        return Verdict("not reproduced", f"it was measured then, and cannot be now: {told}", None, ())
    return Verdict("undecided", f"nothing could be measured: {told}", None, ())


def _ledger(order: ReplayOrder, folder: Replay) -> Ledger:
    """The seeds of the stored launch: the same prompts, due at the same times. A server that was there before may
    remember those, and gets others."""
    cell = order.cell
    run = ExperimentOrder(
        experiment=cell.experiment,
        campaign=int(cell.campaign.rpartition("-")[2]),
        home=order.home,
        variants=(),
        load_plan=cell.load_plan or LoadPlan(),
        slos=cell.slos,
        seed=cell.seed,
    )
    first = rounds_of(cell.points)[0][0].launch or cell.launch
    launch = 1000 * folder.number + first if is_there_already(cell.variant) else first
    return Ledger(run, cell.variant, Campaign(cell.experiment, folder.folder), launch, str(flow_run.id or ""))
