"""What lies in a worker's store and MLflow does not know yet: told to it, as `dyno sync` does."""

import logging
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from experiments.schema.requests import PublishRequest
from tasks.campaigns.campaign import Campaign, all_campaigns
from tasks.campaigns.home import open_home
from tasks.publish import sync
from tasks.reporting.report import write_report
from tasks.show_results import link_report
from tasks.timelines import cell_timelines

log = logging.getLogger("dyno.publish")

EVERYTHING = PublishRequest()


@flow(name="publish", flow_run_name="tell MLflow what it lacks", persist_result=False)
def publish_results(request: PublishRequest = EVERYTHING) -> State[Any]:
    """Raises PublishError, and may be run again, where MLflow is out of reach.

    Args:
        request: what is published
    """
    home = open_home().make()
    published = sync(home)
    latest = {campaign.experiment: campaign for campaign in all_campaigns(home.campaigns)} if request.reports else {}
    for campaign in latest.values():
        _report(campaign)
    return Completed(message=f"{published} results published, {len(latest)} reports written")


def _report(campaign: Campaign) -> None:
    results = list(campaign.results())
    timelines = {result.cell_id: cell_timelines(campaign, result) for result in results}
    file = campaign.folder / "report.html"
    write_report(file, experiment=campaign.experiment, description="", cells=results, timelines=timelines)
    link_report(file, key=f"report-{campaign.experiment.lower().replace('_', '-').replace('.', '-')}")
