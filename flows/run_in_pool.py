"""One invocation on the workers of a pool: each variant a run of its own, and its results gathered through MLflow."""

import logging
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from experiments.errors import PublishError
from experiments.schema.failure import FailureClass
from experiments.schema.order import CellOrder, ExperimentOrder, VariantOrder
from experiments.schema.result import CellResult, CellState
from flows.fan_out import fan_out
from flows.measure_variant import campaign_of
from tasks.campaigns.campaign import Campaign
from tasks.campaigns.home import Home
from tasks.campaigns.ledger import now
from tasks.gather import gather, gathered
from tasks.show_results import link_mlflow, link_report, show_results
from tasks.track import link_invocation

log = logging.getLogger("dyno.pool")


@flow(name="run-in-pool", flow_run_name="{run.experiment} campaign {run.campaign} in {pool}", persist_result=False)
def run_in_pool(run: ExperimentOrder, pool: str, attempts: int) -> State[Any]:
    """Every cell ends with a result in this store, or is named in the state as not arrived."""
    link_invocation(run, str(flow_run.id or ""))
    home, campaign = Home(Path(run.home)), campaign_of(run)
    before = {cell.cell_id: _end_of(campaign, cell) for one in run.variants for cell in one.cells}
    left = tuple(one for one in run.variants if not _is_there(one, campaign, home, before))
    lost = fan_out(run.model_copy(update={"variants": left}), pool, attempts=attempts, before=before) if left else {}
    for one in left:
        for cell in one.cells:
            _arrive(run, one, cell, home, before[cell.cell_id], lost.get(one.variant.id, ""))
    return _concluded(run, campaign, home, before)


def _end_of(campaign: Campaign, cell: CellOrder) -> str:
    result = campaign.result(cell.cell_id)
    return result.ended_at if result is not None else ""


def _is_there(order: VariantOrder, campaign: Campaign, home: Home, before: dict[str, str]) -> bool:
    """Whether all its cells were measured meanwhile: for an invocation that did not live to gather them."""
    try:
        found = [gathered(cell.cell_id, campaign, home, before[cell.cell_id]) for cell in order.cells]
    except PublishError:
        return False
    return all(result is not None and result.state is not CellState.INTERRUPTED for result in found)


def _arrive(run: ExperimentOrder, order: VariantOrder, cell: CellOrder, home: Home, before: str, lost: str) -> None:
    """What does not arrive is said; where its runs were lost, that is the cell's result."""
    about = f"{order.variant.label} on {cell.workload.name}"
    try:
        if gather(cell.cell_id, campaign_of(run), home, before) is not None:
            return
    except PublishError as error:
        log.warning("%s: %s", about, error)
        return
    if lost:
        campaign_of(run).save(_lost(run, order, cell, lost))
    log.error("%s: %s", about, lost or "its run has ended, and MLflow does not know it: `dyno sync` on its host")


def _lost(run: ExperimentOrder, order: VariantOrder, cell: CellOrder, why: str) -> CellResult:
    return CellResult(
        cell_id=cell.cell_id,
        experiment=run.experiment,
        campaign=campaign_of(run).name,
        launch=0,
        variant=order.variant,
        workload=cell.workload,
        state=CellState.FAILED,
        stage="launch",
        failure_class=FailureClass.KILLED,
        cause=why,
        started_at=now(),
        ended_at=now(),
        prefect_run_id=str(flow_run.id or ""),
    )


def _concluded(run: ExperimentOrder, campaign: Campaign, home: Home, before: dict[str, str]) -> State[Any]:
    results = [result for cell in before if (result := campaign.result(cell)) is not None]
    show_results(results, campaign)
    link_report(campaign.folder / "report.html")
    if run.invocation_run_id:
        try:
            link_mlflow(home, run.invocation_run_id)
        except PublishError as error:
            log.warning("%s", error)
    whole = [one for one in results if one.ended_at != before[one.cell_id] and one.state is not CellState.FAILED]
    if len(whole) < len(before):
        return Failed(message=f"{len(before) - len(whole)} of {len(before)} cells failed or did not arrive")
    return Completed(message=f"{len(before)} cells measured")
