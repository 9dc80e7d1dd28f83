"""Stage: the invocation's run in MLflow, what was not tracked before, and the report."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from experiments.errors import PublishError
from experiments.schema.order import ExperimentOrder
from experiments.schema.result import CellResult, CellState
from tasks.campaigns.campaign import Campaign, all_campaigns
from tasks.campaigns.home import Home
from tasks.publish_comparison import sync_comparisons
from tasks.reporting.report import write_report
from tasks.score import with_quality
from tasks.timelines import cell_timelines
from tasks.track import publish_cell, tracking_store

log = logging.getLogger("dyno.publish")


def open_invocation(order: ExperimentOrder, home: Home, campaign: Campaign) -> str:
    """The run that is the parent of the cells that this invocation measures. Raises PublishError."""
    store = tracking_store(home)
    for run_id in store.sweep_dead_invocations():
        log.warning("MLflow run %s was left running by a dyno that was killed: it now says so", run_id)
    return store.open_invocation(
        order.experiment,
        campaign=campaign.name,
        config=order.model_dump(mode="json", exclude={"home", "invocation_run_id"}),
        description=order.description,
    )


def publish(order: ExperimentOrder, home: Home, campaign: Campaign, results: Sequence[CellResult]) -> bool:
    """Writes the report, and tells MLflow what it does not know yet; False where MLflow is out of reach.

    Where no invocation could be opened before, or none was needed, it is opened now."""
    report = campaign.folder / "report.html"
    results = _with_quality(order, campaign, results)
    timelines = {result.cell_id: cell_timelines(campaign, result) for result in results}
    write_report(report, experiment=order.experiment, description=order.description, cells=results, timelines=timelines)
    log.info("report: %s", report)
    try:
        run_id = order.invocation_run_id or open_invocation(order, home, campaign)
        order = order.model_copy(update={"invocation_run_id": run_id})
        tracked = [_tracked(result, home, campaign, order.invocation_run_id) for result in results]
        close_invocation(order, home, tracked, status="FINISHED", report=report)
    except PublishError as error:
        log.warning("%s", error)
        return False
    return True


def _with_quality(order: ExperimentOrder, campaign: Campaign, results: Sequence[CellResult]) -> list[CellResult]:
    """What became known since a cell was tracked, once its reference was scored too, is saved, and published again."""
    found = []
    for before, after in zip(results, with_quality(results, order.quality, campaign), strict=True):
        if after.quality != before.quality:
            after = after.model_copy(update={"mlflow_run_id": ""})
            campaign.save(after)
        found.append(after)
    return found


def close_invocation(
    order: ExperimentOrder,
    home: Home,
    results: Sequence[CellResult],
    *,
    status: Literal["FINISHED", "FAILED", "KILLED"],
    report: Path | None = None,
) -> None:
    """Ends the invocation's run, which lists the cells measured now and those kept. Raises PublishError."""
    if not order.invocation_run_id:
        return
    tracking_store(home).close_invocation(
        order.invocation_run_id,
        status=status,
        measured=[result for result in results if result.cell_id not in order.kept],
        kept=[result for result in results if result.cell_id in order.kept],
        files={"report.html": report} if report else {},
        description=order.description,
    )


def sync(home: Home, parents: Mapping[str, str] = MappingProxyType({})) -> int:
    """Tells MLflow of every result and comparison that it does not know yet, and returns how many those were. `parents`
    are the runs of invocations by campaign, where they are known.

    Raises PublishError where it is out of reach."""
    waiting = [
        (campaign, result)
        for campaign in all_campaigns(home.campaigns)
        for result in campaign.results()
        if not result.mlflow_run_id and result.state != CellState.INTERRUPTED
    ]
    for campaign, result in waiting:
        publish_cell(result, home, campaign, parents.get(campaign.name, ""))
        log.info("%s: %s on %s", campaign.name, result.variant.label, result.workload.name)
    return len(waiting) + sync_comparisons(home)


def _tracked(result: CellResult, home: Home, campaign: Campaign, invocation_run_id: str) -> CellResult:
    return result if result.mlflow_run_id else publish_cell(result, home, campaign, invocation_run_id)
