"""From a campaign's folders to timelines."""

from pathlib import Path

import pytest

from experiments.schema.base import METHOD_VERSION
from experiments.schema.load import ClosedLoop, LoadPoint, StopRule
from experiments.schema.result import CellResult, CellState, PointResult, TrialSummary
from experiments.schema.variant import Variant
from experiments.schema.workload import Workload
from tasks.campaigns.campaign import Campaign
from tasks.loadgen.record import Outcome, RequestRecord, TokenSource, records_table, write_records
from tasks.telemetry.record import Telemetry, engine_table, write_telemetry
from tasks.timelines import cell_timelines

START_NS = 77_000_000_000


def record(index: int) -> RequestRecord:
    sent = START_NS + index * 100_000_000
    at = [sent + 20_000_000, sent + 60_000_000]
    return RequestRecord(
        index=index, due_at_ns=sent, sent_at_ns=sent, first_byte_at_ns=at[0], last_token_at_ns=at[1], end_at_ns=at[1],
        chunk_at_ns=at, chunk_tokens=[1, 1], chunk_is_answer=[True, True], prompt_tokens_asked=8, prompt_tokens=8,
        output_tokens_asked=2, output_tokens=2, output_tokens_source=TokenSource.USAGE, cached_tokens=0,
        finish_reason="length", status=200, outcome=Outcome.COMPLETED, error=None, in_window=True, process=0,
        connection_reused=True, stamp="kernel",
    )  # fmt: skip


@pytest.fixture
def cell(variant: Variant, tmp_path: Path) -> CellResult:
    """One point whose records are there, one whose are gone, one whose are broken."""
    summary = TrialSummary(method_version=METHOD_VERSION, requests=9, outcomes={}, valid=True, window_s=1.0)
    points = [
        PointResult(
            point=LoadPoint(step=step, role="saturation", load=ClosedLoop(concurrency=1), stop=StopRule(requests=9)),
            summary=summary, directory=f"0{step}-saturation", started_at="", window_ns=(START_NS, START_NS + 10**9),
        )
        for step in range(3)
    ]  # fmt: skip
    return CellResult(
        cell_id="c1", experiment="e", campaign="e-1", launch=2, variant=variant, state=CellState.MEASURED,
        workload=Workload(name="w", prompt_tokens=8, output_tokens=2), points=tuple(points),
    )  # fmt: skip


def test_points_whose_records_are_there_have_a_timeline(cell: CellResult, tmp_path: Path) -> None:
    campaign = Campaign("e", tmp_path)
    launch = campaign.launch_folder(cell.cell_id, cell.launch)
    for step in (0, 2):
        (launch / f"0{step}-saturation").mkdir(parents=True)
    write_records(launch / "00-saturation" / "requests.parquet", records_table([record(i) for i in range(9)]))
    samples = [(START_NS + i * 10**8, {"requests_running": float(i)}) for i in range(8)]
    write_telemetry(launch / "00-saturation", Telemetry(engine=engine_table(samples)))
    (launch / "02-saturation" / "requests.parquet").write_bytes(b"half a file")
    timelines = cell_timelines(campaign, cell)
    assert list(timelines) == ["00-saturation"]
    (running,) = (track.curves[0] for track in timelines["00-saturation"].tracks if track.subject == "Engine")
    assert running.values == tuple(float(i) for i in range(8))
    assert running.at_s == pytest.approx([0.1 * i for i in range(8)])
