"""The cold-start ledger in the report: each start once, its phases as they follow one another."""

import pytest

from experiments.schema.cold_start import ColdStart
from experiments.schema.result import CellResult
from tasks.reporting.cold_start_section import SEGMENTS, cold_start_section, segments
from tasks.reporting.wording import cell_names
from tasks.tracking.figures import cold_start_metrics

COLD = ColdStart(
    launch=1, cold=True, how_known="nothing was in memory", on_purpose=True, environment_s=2.0, weights_s=3.0,
    compile_s=5.0, healthy_s=10.0, first_token_s=11.5, reasons={"capture_s": "no line tells it", "pull_s": "no image"},
)  # fmt: skip
WARM = ColdStart(launch=1, cold=False, how_known="all was in memory", environment_s=2.0, healthy_s=4.0, first_token_s=5)


@pytest.fixture
def started(cells: list[CellResult]) -> list[CellResult]:
    return [cell.model_copy(update={"cold_starts": (COLD, WARM)}) for cell in cells[:2]]


def test_a_start_is_its_phases_one_after_the_other() -> None:
    found = dict(zip(SEGMENTS, segments(COLD), strict=True))
    assert found["rest of the start"] == 10.0 - 3.0 - 5.0
    assert found["first token"] == 1.5
    assert sum(found.values()) == 2.0 + 11.5
    assert sum(segments(WARM)) == 7.0


def test_each_start_stands_once_though_cells_share_it(started: list[CellResult]) -> None:
    shown = str(cold_start_section(started, cell_names(started)))
    assert shown.count("launch 1, cold (made cold before it)<") == 2  # in the table and beside its bar
    assert shown.count("launch 1, warm<") == 2


def test_absent_phases_have_their_reasons(started: list[CellResult]) -> None:
    shown = str(cold_start_section(started, cell_names(started)))
    for text in ("no line tells it", "no image", "nothing was in memory", "all was in memory"):
        assert text in shown


def test_bars_are_to_one_scale(started: list[CellResult]) -> None:
    shown = str(cold_start_section(started, cell_names(started)))
    assert f"width: {100 * 5 / 13.5:.2f}%" in shown
    assert "compile 5.00 s" in shown


def test_where_nothing_was_started_there_is_no_section(cells: list[CellResult]) -> None:
    assert cold_start_section(cells, cell_names(cells)) is None


def test_the_tracking_store_is_told_cold_and_warm_apart(started: list[CellResult]) -> None:
    found = cold_start_metrics(started[0])
    assert found["cold_start/first_token_s"] == 11.5
    assert found["warm_start/first_token_s"] == 5.0
    assert "warm_start/weights_s" not in found
    assert "cold_start/capture_s" not in found
