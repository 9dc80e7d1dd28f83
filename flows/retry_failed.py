"""Failed cells of the latest campaigns measured once more: by failure class, with growing delays, and not for ever."""

import logging
from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from experiments.errors import EXIT_OK
from experiments.schema.experiment import Experiment
from experiments.schema.requests import RetryRequest
from flows.fleet import fleet_experiments, minded_by_fleet
from flows.invocation import POOL_ATTEMPTS, measure_in_pool
from tasks.campaigns.campaign import Campaign
from tasks.campaigns.home import open_home
from tasks.campaigns.planning import plan_cells
from tasks.campaigns.retries import Retried, count_retries, looked_over, read_retries
from tasks.campaigns.slots import pool_campaign

log = logging.getLogger("dyno.retry")

EVERYTHING = RetryRequest()


@flow(name="retry-failed", flow_run_name="retry what may pass", persist_result=False)
def retry_failed(request: RetryRequest = EVERYTHING) -> State[Any]:
    """Retries what is due of each experiment's latest campaign of a pool; the artifact `retries` says why the rest is
    left.

    Args:
        request: what is retried, how often, and after how long
    """
    home, rows, bad = open_home().make(), [], []
    for experiment in fleet_experiments(request.experiments):
        campaign = pool_campaign(home.campaigns, experiment.name, now=datetime.now(UTC))
        found = _of_experiment(looked_over(campaign.results(), read_retries(campaign), request), experiment)
        due = {one.cell_id for one in found if one.is_due(datetime.now(UTC))}
        rows += [_row(one, campaign, is_due=one.cell_id in due) for one in found]
        if due and _retried(experiment, campaign, due, request) != EXIT_OK:
            bad.append(campaign.name)
    create_table_artifact(key="retries", table=rows, description=f"{len(rows)} cells that are not whole")
    if bad:
        return Failed(message=f"there are failed cells still in {', '.join(bad)}")
    return Completed(message=f"{sum(row['retried'] == 'now' for row in rows)} of {len(rows)} cells retried")


def _of_experiment(found: list[Retried], experiment: Experiment) -> list[Retried]:
    """Cells that the file no longer asks for are left."""
    asked = {cell.id for cell in experiment.cells()}
    return [one for one in found if one.cell_id in asked]


def _retried(experiment: Experiment, campaign: Campaign, due: set[str], request: RetryRequest) -> int:
    count_retries(campaign, due)
    planned = plan_cells(experiment, campaign, retry="what may pass")
    log.info("%s: retrying %d cells", campaign.name, len(due))
    with minded_by_fleet():
        return measure_in_pool(experiment, campaign, planned, request.pool, attempts=POOL_ATTEMPTS, only=due)


def _row(one: Retried, campaign: Campaign, *, is_due: bool) -> dict[str, object]:
    due_at = one.due_at.isoformat(timespec="seconds") if one.due_at else "never"
    when = "now" if is_due else due_at
    return {
        "campaign": campaign.name,
        "cell": one.cell_id,
        "retries before": one.retries,
        "retried": when,
        "why not": one.reason,
    }
