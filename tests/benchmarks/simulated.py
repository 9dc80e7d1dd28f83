"""Stands in for `measure-variant`: sleeps instead of measuring, and tells MLflow as it would. For bench_matrix."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from experiments.schema.order import ExperimentOrder, VariantOrder
from experiments.schema.result import CellResult, CellState
from tasks.campaigns.campaign import Campaign
from tasks.campaigns.home import open_home
from tasks.track import track

SECONDS = "DYNO_SIMULATED_SECONDS"


@task(cache_policy=NO_CACHE)
def stand_in_measurement(seconds: float) -> None:
    time.sleep(seconds)


@flow(name="measure-simulated", persist_result=False)
def measure_simulated(run: ExperimentOrder, order: VariantOrder) -> State[Any]:
    """One task that sleeps, and a result of each cell without a load point."""
    home = open_home().make()
    campaign = Campaign(run.experiment, home.campaigns / run.experiment / str(run.campaign))
    began = datetime.now(UTC).isoformat(timespec="seconds")
    stand_in_measurement(float(os.environ.get(SECONDS, "5")))
    for cell in order.cells:
        result = CellResult(
            cell_id=cell.cell_id,
            experiment=run.experiment,
            campaign=campaign.name,
            launch=1,
            variant=order.variant,
            workload=cell.workload,
            state=CellState.MEASURED,
            reasons=("simulated: nothing was measured",),
            headlines={"saturation_rps": float(order.variant.max_num_seqs or 0)},
            started_at=began,
            ended_at=datetime.now(UTC).isoformat(timespec="seconds"),
            prefect_run_id=str(flow_run.id or ""),
        )
        campaign.save(result)
        track(result, run.model_copy(update={"home": str(Path(home.root))}), campaign)
    return Completed(message="simulated")
