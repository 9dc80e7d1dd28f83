"""The timelines of a cell's points, from the raw records on disk. Plain Python, for the report."""

import logging
from pathlib import Path

import pyarrow as pa

from experiments.schema.result import CellResult, PointResult
from experiments.schema.timeline import Timeline
from tasks.analysis.timeline import trial_timeline
from tasks.campaigns.campaign import Campaign
from tasks.loadgen.record import read_records
from tasks.telemetry.record import read_telemetry

log = logging.getLogger("dyno.report")


def cell_timelines(campaign: Campaign, cell: CellResult) -> dict[str, Timeline]:
    """By the point's directory; without those whose records are gone, or hold no time."""
    launch = campaign.launch_folder(cell.cell_id, cell.launch)
    found = {point.directory: _timeline(launch / point.directory, point) for point in cell.points}
    return {directory: timeline for directory, timeline in found.items() if timeline is not None}


def _timeline(folder: Path, point: PointResult) -> Timeline | None:
    start, stop = point.window_ns
    if stop <= start:
        return None
    try:
        return trial_timeline(read_records(folder / "requests.parquet"), read_telemetry(folder), point.window_ns)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException) as error:
        log.warning("%s: no timeline: %s", folder, error)
        return None
