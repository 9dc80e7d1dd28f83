"""Experiments measured whole, on schedule: one campaign per slot, one run per variant on the workers of a pool."""

import logging
from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from experiments.errors import EXIT_OK
from experiments.schema.requests import MatrixRequest
from flows.fleet import fleet_experiments, minded_by_fleet
from flows.invocation import measure_in_pool
from tasks.campaigns.home import open_home
from tasks.campaigns.planning import plan_cells
from tasks.campaigns.slots import slot_campaign

log = logging.getLogger("dyno.matrix")

EVERYTHING = MatrixRequest()


def matrix_run_name() -> str:
    """The slot, and what is measured in it."""
    request = MatrixRequest.model_validate(flow_run.parameters.get("request") or {})
    return f"{_slot():%Y-%m-%d %H:%M} {', '.join(request.experiments) or 'the fleet’s experiments'}"


@flow(name="full-matrix", flow_run_name=matrix_run_name, persist_result=False)
def full_matrix(request: MatrixRequest = EVERYTHING) -> State[Any]:
    """Measures whole experiments in a new campaign per slot; run again, it goes on in the same.

    Args:
        request: what is measured, and where
    """
    home, bad = open_home().make(), []
    with minded_by_fleet():
        for experiment in fleet_experiments(request.experiments):
            campaign = slot_campaign(home.campaigns, experiment.name, _slot())
            planned = plan_cells(experiment, campaign)
            log.info("%s: campaign %s", experiment.name, campaign.name)
            if measure_in_pool(experiment, campaign, planned, request.pool, attempts=request.attempts) != EXIT_OK:
                bad.append(campaign.name)
    if bad:
        return Failed(message=f"cells failed in {', '.join(bad)}; retry-failed takes those that may pass")
    return Completed(message="all is measured")


def _slot() -> datetime:
    """When the run was due: a run that is late, or run again, belongs to the same slot."""
    due = flow_run.scheduled_start_time
    return due.astimezone(UTC) if isinstance(due, datetime) else datetime.now(UTC)
