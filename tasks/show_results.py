"""What a run shows in Prefect's UI: the table of results, the report, and the way to MLflow."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast
from uuid import UUID

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from experiments.schema.result import CellResult
from tasks.campaigns.campaign import Campaign
from tasks.campaigns.home import Home
from tasks.patience import shown
from tasks.reporting.tables import result_rows
from tasks.track import tracking_store


class Progress:
    """A bar of the run that it is told in; made when it is first told."""

    def __init__(self) -> None:
        self._artifact: UUID | None = None

    def tell(self, percent: float, text: str) -> None:
        """How far it is, and of what."""
        shown(lambda: self._show(percent, text))

    def _show(self, percent: float, text: str) -> None:
        if self._artifact is None:
            self._artifact = cast(UUID, create_progress_artifact(percent, key="progress", description=text))
        else:
            update_progress_artifact(self._artifact, percent, description=text)


def show_results(results: Sequence[CellResult], campaign: Campaign) -> None:
    """The results of a campaign as a table; every number stands in MLflow, and in the report."""
    table = [{name: _plain(value) for name, value in row.items()} for row in result_rows(results)]
    told = f"Campaign {campaign.name}: {len(results)} cells. Report: `{campaign.folder / 'report.html'}`"
    shown(lambda: create_table_artifact(key="results", table=table, description=told))


def link_mlflow(home: Home, run_id: str, key: str = "mlflow") -> None:
    """A link where MLflow is a server; where it is a file, how to see it. Raises PublishError."""
    url = tracking_store(home).run_url(run_id)
    if url:
        shown(lambda: create_link_artifact(key=key, link=url, link_text=f"MLflow run {run_id}"))
    else:
        shown(lambda: create_markdown_artifact(key=key, markdown=f"MLflow run `{run_id}`; `dyno ui` shows it."))


def link_report(report: Path, key: str = "report") -> None:
    """Where the report lies: Prefect shows no files."""
    told = f"The report is `{report}`, and an artifact of the MLflow run."
    shown(lambda: create_markdown_artifact(key=key, markdown=told))


def _plain(value: object) -> object:
    return value if isinstance(value, (str, int, float, type(None))) else str(value)
