"""Campaigns: within one, what was measured is kept. A result is one cell.json, written aside and renamed.

campaigns/EXPERIMENT/NUMBER/CELL/cell.json
campaigns/EXPERIMENT/NUMBER/CELL/launch-N/STEP-ROLE/requests.parquet, trial.json, point.json once the point counts
campaigns/EXPERIMENT/NUMBER/servers/VARIANT-N.log, VARIANT-N.start.json
campaigns/EXPERIMENT/NUMBER/quality/VARIANT/quality.parquet, answers.json
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from experiments.schema.experiment import Cell
from experiments.schema.failure import FailureClass
from experiments.schema.result import CellResult, CellState, PointResult

KEPT = frozenset({CellState.MEASURED, CellState.STAND_IN, CellState.INVALID, CellState.FAILED})
POINT = "point.json"
BEGUN = "begun-with-launch"

Retry = Literal["", "what may pass", "all"]
"""Which failed cells are due again: none; those whose class says that another launch may come out otherwise; every."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """One round of measurements of one experiment; `folder`'s name is its number."""

    experiment: str
    folder: Path

    @property
    def name(self) -> str:
        """As it stands in tags: EXPERIMENT-NUMBER."""
        return f"{self.experiment}-{self.folder.name}"

    def result(self, cell_id: str) -> CellResult | None:
        """What became of a cell; None where nothing is known, or what is there was not written by this version."""
        try:
            return CellResult.model_validate_json((self.cell_folder(cell_id) / "cell.json").read_bytes())
        except (OSError, ValidationError):
            return None

    def results(self) -> Iterator[CellResult]:
        """All that can be read."""
        for file in sorted(self.folder.glob("*/cell.json")):
            result = self.result(file.parent.name)
            if result is not None:
                yield result

    def save(self, result: CellResult) -> None:
        """Replaces the cell's result."""
        write_json(self.cell_folder(result.cell_id) / "cell.json", result)

    def cell_folder(self, cell_id: str) -> Path:
        """Where a cell's result and records lie."""
        return self.folder / cell_id

    def launch_folder(self, cell_id: str, launch: int) -> Path:
        """The records of a cell on one launch."""
        return self.cell_folder(cell_id) / f"launch-{launch}"

    def keep_point(self, cell_id: str, result: PointResult) -> None:
        """What is kept here is not measured again, whatever becomes of its launch."""
        write_json(self.launch_folder(cell_id, result.launch) / result.directory / POINT, result)

    def kept_points(self, cell_id: str) -> tuple[PointResult, ...]:
        """Of every launch since the cell was begun, in the order in which they were measured."""
        begun = self._begun(cell_id)
        files = self.cell_folder(cell_id).glob(f"launch-*/*/{POINT}")
        points = [point for file in files if (point := _read_point(file)) is not None and point.launch >= begun]
        return tuple(sorted(points, key=lambda point: (point.round, point.point.step)))

    def begin_anew(self, cell_id: str, launch: int) -> None:
        """What launches before this one measured of the cell stays on disk, and is no part of it any more."""
        folder = self.cell_folder(cell_id)
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f"{BEGUN}.partial"
        aside.write_text(str(launch), encoding="utf-8")
        aside.rename(folder / BEGUN)

    def _begun(self, cell_id: str) -> int:
        file = self.cell_folder(cell_id) / BEGUN
        return int(file.read_text(encoding="utf-8")) if file.exists() else 0

    def server_log(self, variant_id: str, launch: int) -> Path:
        """What the server of a launch said."""
        folder = self.folder / "servers"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{variant_id}-{launch}.log"

    def build_log(self, variant_id: str, launch: int) -> Path:
        """What the tools said that compiled the engine of a launch; there is none where nothing was compiled."""
        return self.folder / "builds" / f"{variant_id}-{launch}.log"

    def quality_folder(self, variant_id: str) -> Path:
        """What scoring a variant left."""
        return self.folder / "quality" / variant_id

    def cold_log(self, variant_id: str, launch: int) -> Path:
        """What the server said that was started cold on purpose before a launch."""
        folder = self.folder / "servers" / "cold"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{variant_id}-{launch}.log"

    def start_record(self, variant_id: str, launch: int) -> Path:
        """How the server of a launch started, and one that was started cold before it."""
        return self.folder / "servers" / f"{variant_id}-{launch}.start.json"

    def next_launch(self, variant_id: str) -> int:
        """A number that no launch of this variant had: the log of each is kept."""
        logs = (self.folder / "servers").glob(f"{variant_id}-*.log")
        return 1 + max((int(log.stem.rpartition("-")[2]) for log in logs), default=0)


def _read_point(file: Path) -> PointResult | None:
    """None where this version cannot read it: then the point is measured again."""
    try:
        return PointResult.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None


def open_campaign(root: Path, experiment: str, *, new: bool = False) -> Campaign:
    """The latest campaign of an experiment, or a new one. Nothing is made on disk."""
    numbers = _numbers(root / experiment)
    number = max(numbers, default=0) + 1 if new or not numbers else max(numbers)
    return Campaign(experiment, root / experiment / str(number))


def all_campaigns(root: Path) -> Iterator[Campaign]:
    """Every campaign of a store, those of an experiment from old to new."""
    for experiment in sorted(path.name for path in root.glob("*") if path.is_dir()):
        for number in sorted(_numbers(root / experiment)):
            yield Campaign(experiment, root / experiment / str(number))


def all_results(root: Path) -> Iterator[CellResult]:
    """Every result of a store, the campaigns of an experiment from old to new."""
    for campaign in all_campaigns(root):
        yield from campaign.results()


def to_measure(campaign: Campaign, cells: tuple[Cell, ...], *, retry: Retry = "", launches: int = 1) -> list[Cell]:
    """The cells that have no result to be kept, and those measured on fewer launches than are asked for; with `retry`,
    those that were tried and are to be tried again."""
    results = [(cell, campaign.result(cell.id)) for cell in cells]
    if retry:
        return [cell for cell, result in results if result is not None and is_retried(result, retry)]
    return [cell for cell, result in results if result is None or not _is_kept(result, launches)]


def _is_kept(result: CellResult, launches: int) -> bool:
    is_short = result.state is CellState.MEASURED and rounds_measured(result) < launches
    return result.state in KEPT and not is_short


def is_retried(result: CellResult, retry: Retry) -> bool:
    """Invalid and interrupted cells always. A failure that was kept before failures had classes counts as unknown."""
    if result.state is CellState.FAILED:
        return retry == "all" or (result.failure_class or FailureClass.UNKNOWN).may_be_retried
    return result.state in (CellState.INVALID, CellState.INTERRUPTED)


def rounds_measured(result: CellResult) -> int:
    """Ways through the load plan; results of before there were several have one."""
    return max(1, len({point.round for point in result.points}))


def write_json(path: Path, body: BaseModel) -> None:
    """Written aside, synced, renamed: a reader, or a kill, never meets half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".partial")
    with aside.open("w", encoding="utf-8") as file:
        file.write(body.model_dump_json(indent=1))
        file.flush()
        os.fsync(file.fileno())
    aside.rename(path)


def _numbers(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.glob("*") if path.name.isdigit() and path.is_dir()]
