"""What of a cell's folders goes to the tracking store, and how telemetry becomes its series."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from experiments.schema.load import ClosedLoop, LoadPoint, StopRule
from experiments.schema.model import Model, SyntheticSource
from experiments.schema.result import CellResult, CellState, PointResult, TrialSummary
from experiments.schema.variant import Quantization, Variant
from experiments.schema.workload import Workload
from tasks import track
from tasks.campaigns.campaign import Campaign
from tasks.campaigns.home import Home
from tasks.telemetry.record import Telemetry, engine_table, write_telemetry

BEGAN_MS = 1_795_255_200_000


class _Told:
    """Stands where the tracking store does, and records what it was told."""

    def __init__(self) -> None:
        self.files: Mapping[str, Path] = {}
        self.records: Mapping[str, Path] = {}
        self.series: Mapping[str, Any] = {}

    def publish_cell(self, _cell: CellResult, **told: Any) -> str:
        self.files, self.records, self.series = told["files"], told["records"], told["series"]
        return "r" * 32


def point(launch: int, minute: int) -> PointResult:
    trial: dict[str, Any] = {"method_version": "2", "requests": 1, "outcomes": {}, "valid": True, "window_s": 1.0}
    where = LoadPoint(step=minute, role="saturation", load=ClosedLoop(concurrency=1), stop=StopRule(requests=1))
    return PointResult(
        point=where, summary=TrialSummary(**trial), directory=f"0{minute}-saturation", launch=launch,
        started_at=f"2026-11-21T10:0{minute}:00+00:00",
    )  # fmt: skip


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return Campaign("e", tmp_path / "campaigns/e/1")


@pytest.fixture
def cell(campaign: Campaign) -> CellResult:
    """Points of two launches; the engine told its metrics beside each but the last."""
    points = (point(1, 0), point(2, 1), point(2, 2))
    for number, one in enumerate(points):
        folder = campaign.launch_folder("c0ffee", one.launch) / one.directory
        folder.mkdir(parents=True)
        if number < 2:
            samples = [(5_000 + 1_000_000_000 * n, {"running_requests": 10.0 * number + n}) for n in range(2)]
            write_telemetry(folder, Telemetry(engine=engine_table(samples)))
    model = Model(name="tiny", source=SyntheticSource(kind="synthetic"))
    return CellResult(
        cell_id="c0ffee", experiment="e", campaign="e-1", launch=2, state=CellState.MEASURED, points=points,
        variant=Variant(engine="vllm", engine_version="1.0", model=model, quantization=Quantization.BF16),
        workload=Workload(name="w", prompt_tokens=8, output_tokens=8),
    )  # fmt: skip


def test_each_launch_has_a_folder_of_its_own_among_the_records(
    cell: CellResult, campaign: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = _Told()
    monkeypatch.setattr(track, "tracking_store", lambda _home: told)
    campaign.server_log(cell.variant.id, 2).write_text("ready\n")
    tracked = track.publish_cell(cell, Home(tmp_path), campaign, "")
    launches = {name: path for name, path in told.records.items() if name != "plots"}
    assert launches == {f"points/launch-{n}": campaign.launch_folder("c0ffee", n) for n in (1, 2)}
    assert list(told.files) == ["server.log"]
    assert tracked.mlflow_run_id == "r" * 32


def test_series_of_all_points_stand_one_after_the_other(cell: CellResult, campaign: Campaign) -> None:
    assert track.cell_series(campaign, cell) == {
        "system/engine_running_requests": [
            (BEGAN_MS, 0.0), (BEGAN_MS + 1000, 1.0), (BEGAN_MS + 60_000, 10.0), (BEGAN_MS + 61_000, 11.0),
        ]
    }  # fmt: skip


def test_telemetry_that_cannot_be_read_costs_only_itself(cell: CellResult, campaign: Campaign) -> None:
    broken = campaign.launch_folder("c0ffee", 1) / "00-saturation" / "engine_metrics.parquet"
    broken.write_bytes(b"no parquet")
    (series,) = track.cell_series(campaign, cell).values()
    assert [value for _, value in series] == [10.0, 11.0]
