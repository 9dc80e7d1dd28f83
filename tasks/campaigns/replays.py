"""Replays on disk: what was asked, and what came of it. One launch each: what was stopped is begun anew.

replays/CELL-N/order.json, replay.json, launch.log, launch/WORKLOAD/STEP-ROLE/…
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from experiments.schema.replay import ReplayOrder, ReplayResult
from tasks.campaigns.campaign import write_json


@dataclass(frozen=True, slots=True)
class Replay:
    """The folder of one replay; its name is the replay's id."""

    folder: Path

    @property
    def id(self) -> str:
        """CELL-N."""
        return self.folder.name

    @property
    def number(self) -> int:
        """How manieth of its cell."""
        return int(self.folder.name.rpartition("-")[2])

    @property
    def launch_folder(self) -> Path:
        """The records of its launch."""
        return self.folder / "launch"

    @property
    def result_file(self) -> Path:
        """Written when it has ended."""
        return self.folder / "replay.json"

    def save(self, result: ReplayResult) -> None:
        """Written aside and renamed."""
        write_json(self.result_file, result)

    def result(self) -> ReplayResult | None:
        """None before it has ended."""
        try:
            return ReplayResult.model_validate_json(self.result_file.read_bytes())
        except (OSError, ValidationError):
            return None


def open_replay(root: Path, order: ReplayOrder) -> tuple[Replay, ReplayOrder]:
    """The next replay of a cell, and the order that bears its id."""
    numbers = [Replay(path).number for path in root.glob(f"{order.cell.cell_id}-*") if path.is_dir()]
    replay = Replay(root / f"{order.cell.cell_id}-{max(numbers, default=0) + 1}")
    named = order.model_copy(update={"id": replay.id})
    replay.launch_folder.mkdir(parents=True)
    write_json(replay.folder / "order.json", named)
    return replay, named
