"""Comparisons on disk: the order, each launch when it is whole, the verdict. A kill costs the launch that ran.

comparisons/ID/order.json, comparison.json, report.md
comparisons/ID/launches/NNN.json, NNN/WORKLOAD/STEP-ROLE/…, NNN.log
"""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from experiments.schema.comparison import ComparisonOrder, ComparisonResult, LaunchResult
from tasks.campaigns.campaign import write_json

LAUNCHES = 4
"""A side, of a canary that does not tell."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The folder of one comparison; its name is the comparison's id."""

    folder: Path

    @property
    def id(self) -> str:
        """NAME-N."""
        return self.folder.name

    @property
    def order_file(self) -> Path:
        """What is compared; written first."""
        return self.folder / "order.json"

    @property
    def result_file(self) -> Path:
        """Written after each look."""
        return self.folder / "comparison.json"

    def order(self) -> ComparisonOrder | None:
        """None where there is none that this version can read."""
        try:
            return ComparisonOrder.model_validate_json(self.order_file.read_bytes())
        except (OSError, ValidationError):
            return None

    def launches(self) -> list[LaunchResult]:
        """Those that are whole, in order."""
        files = sorted((self.folder / "launches").glob("*.json"))
        return [LaunchResult.model_validate_json(file.read_bytes()) for file in files]

    def open_launch(self, number: int) -> Path:
        """An empty folder for a launch's records: what a launch that was killed left goes first."""
        folder = self.launch_folder(number)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def launch_folder(self, number: int) -> Path:
        """The records of a launch."""
        return self.folder / "launches" / f"{number:03}"

    def server_log(self, number: int) -> Path:
        """What its server said."""
        return self.launch_folder(number).with_suffix(".log")

    def save_launch(self, launch: LaunchResult) -> None:
        """From here on it counts."""
        write_json(self.launch_folder(launch.number).with_suffix(".json"), launch)

    def save_result(self, result: ComparisonResult) -> None:
        """Replaces what an earlier look came to."""
        write_json(self.result_file, result)

    def result(self) -> ComparisonResult | None:
        """As far as it got; None before the first look."""
        try:
            return ComparisonResult.model_validate_json(self.result_file.read_bytes())
        except (OSError, ValidationError):
            return None


def open_comparison(root: Path, order: ComparisonOrder) -> Comparison:
    """The comparison of an order whose id is NAME: the one that was interrupted goes on, as NAME-N; what has ended is
    compared anew, as the next N."""
    numbers = [int(path.name.rpartition("-")[2]) for path in root.glob(f"{order.id}-*") if path.is_dir()]
    latest = Comparison(root / f"{order.id}-{max(numbers, default=1)}")
    result = latest.result()
    is_ended = result is not None and bool(result.ended_at)
    comparison = Comparison(root / f"{order.id}-{max(numbers) + 1}") if is_ended else latest
    if not comparison.order_file.exists():
        write_json(comparison.order_file, order)
    return comparison


def all_comparisons(root: Path) -> list[ComparisonResult]:
    """Every one that has a verdict, old to new."""
    results = [Comparison(folder).result() for folder in sorted(root.glob("*")) if folder.is_dir()]
    return sorted((one for one in results if one is not None), key=lambda one: one.started_at)


def remember_canary(
    root: Path, hardware: str, comparison: str, ratios: Mapping[str, Sequence[float]], *, launches: int
) -> None:
    """Appends what the baseline differed from itself by, each over so many launches a side: one line a comparison,
    never twice for one."""
    file = root / f"{hardware}.jsonl"
    if not ratios or any(line.get("comparison") == comparison for line in _lines(file)):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    with file.open("a", encoding="utf-8") as opened:
        told = {"comparison": comparison, "date": date, "launches": launches, "log_ratios": dict(ratios)}
        opened.write(json.dumps(told) + "\n")


def past_canaries(root: Path, hardware: str, *, but: str = "") -> dict[str, list[list[float]]]:
    """By metric, a list of log ratios for each past comparison on this hardware."""
    found: dict[str, list[list[float]]] = {}
    for line in _lines(root / f"{hardware}.jsonl"):
        if line.get("comparison") != but:
            for metric, ratios in line["log_ratios"].items():
                found.setdefault(metric, []).append([float(ratio) for ratio in ratios if math.isfinite(ratio)])
    return found


def launch_spreads(root: Path, hardware: str) -> dict[str, list[float]]:
    """By metric, how far one launch lay from another in the logs, by each past canary: the difference of the means of n
    launches a side, times √(n/2), has the spread of a single launch."""
    found: dict[str, list[float]] = {}
    for line in _lines(root / f"{hardware}.jsonl"):
        of_one = math.sqrt(line.get("launches", LAUNCHES) / 2)
        for metric, ratios in line["log_ratios"].items():
            found.setdefault(metric, []).extend(of_one * float(one) for one in ratios if math.isfinite(one))
    return found


def _lines(file: Path) -> list[dict[str, Any]]:
    """A last line that a kill cut short counts as absent."""
    if not file.exists():
        return []
    whole = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            whole.append(json.loads(line))
        except ValueError:
            continue
    return whole
