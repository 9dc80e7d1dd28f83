"""Stage: a cell's configs, metrics and artifacts are in MLflow. The results are on disk before, and stay."""

import functools
import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import pyarrow as pa
from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from experiments.errors import PublishError
from experiments.schema.order import ExperimentOrder
from experiments.schema.result import CellResult
from tasks.campaigns.campaign import Campaign
from tasks.campaigns.home import Home
from tasks.patience import shown
from tasks.reporting.drawing import write_plots
from tasks.serving.server import files_beside
from tasks.telemetry.record import read_telemetry
from tasks.telemetry.series import Series, telemetry_series
from tasks.tracking.mlflow_store import TrackingStore

log = logging.getLogger("dyno.track")


@functools.cache
def tracking_store(home: Home) -> TrackingStore:
    """MLFLOW_TRACKING_URI, or the SQLite file of the store; opened when it is first used."""
    return TrackingStore(home.tracking_uri, home.root)


@task(name="track", task_run_name="track {result.workload.name}", cache_policy=NO_CACHE)
def track(result: CellResult, run: ExperimentOrder, campaign: Campaign) -> CellResult:
    """With the id of its run; without, and with a warning, where MLflow is out of reach."""
    try:
        tracked = publish_cell(result, Home(Path(run.home)), campaign, run.invocation_run_id)
    except PublishError as error:
        log.warning("%s", error)
        return result
    about = f"{result.variant.label} on {result.workload.name}"
    told = f"Cell `{result.cell_id}`: {result.state}. MLflow run `{tracked.mlflow_run_id}`."
    shown(lambda: create_markdown_artifact(key="mlflow-run", description=about, markdown=told))
    return tracked


def link_invocation(run: ExperimentOrder, flow_run_id: str) -> None:
    """Prefect's flow run and the invocation's MLflow run name one another."""
    if not run.invocation_run_id:
        return
    try:
        tracking_store(Home(Path(run.home))).tag_run(run.invocation_run_id, {"prefect.flow_run_id": flow_run_id})
    except PublishError as error:
        log.warning("%s", error)
    told = f"MLflow run `{run.invocation_run_id}`"
    shown(lambda: create_markdown_artifact(key="mlflow-invocation", markdown=told))


def publish_cell(result: CellResult, home: Home, campaign: Campaign, invocation_run_id: str) -> CellResult:
    """Publishing again what is there changes nothing. Raises PublishError."""
    plots = campaign.cell_folder(result.cell_id) / "plots"
    write_plots(plots, result)
    launches = sorted({point.launch for point in result.points} - {0} | {result.launch})
    records = {f"points/launch-{launch}": campaign.launch_folder(result.cell_id, launch) for launch in launches}
    candidates = {
        "build.log": campaign.build_log(result.variant.id, result.launch),
        "server-files": files_beside(campaign.server_log(result.variant.id, result.launch)),
        "server.log": campaign.server_log(result.variant.id, result.launch),
    }
    run_id = tracking_store(home).publish_cell(
        result,
        invocation_run_id=invocation_run_id,
        files=_existing(candidates),
        records=_existing({"plots": plots, "quality": campaign.quality_folder(result.variant.id), **records}),
        series=cell_series(campaign, result),
    )
    tracked = result.model_copy(update={"mlflow_run_id": run_id})
    campaign.save(tracked)
    return tracked


def _existing(files: Mapping[str, Path]) -> dict[str, Path]:
    return {name: path for name, path in files.items() if path.exists()}


def cell_series(campaign: Campaign, cell: CellResult) -> Series:
    """What machine and engine did over time while the cell's points were measured; empty where nobody looked."""
    found: dict[str, list[tuple[int, float]]] = {}
    for point in sorted(cell.points, key=lambda point: point.started_at):
        folder = campaign.launch_folder(cell.cell_id, point.launch or cell.launch) / point.directory
        try:
            told = telemetry_series(read_telemetry(folder), datetime.fromisoformat(point.started_at))
        except (OSError, ValueError, pa.ArrowException) as error:
            log.warning("%s: no series of its telemetry: %s", folder, error)
            continue
        for name, samples in told.items():
            found.setdefault(name, []).extend(samples)
    return found
