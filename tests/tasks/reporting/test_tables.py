"""The table at the end of a run."""

import io
import json
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from experiments.schema.result import CellResult
from tasks.reporting.plan_table import plan_table
from tasks.reporting.report import write_report
from tasks.reporting.tables import result_rows, result_table


def printed(cells: list[CellResult], width: int = 100) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(result_table(cells))
    return out.getvalue().splitlines()


def test_the_table_fits_a_hundred_columns(cells: list[CellResult]) -> None:
    lines = printed(cells)
    assert max(len(line) for line in lines) <= 100
    rows = [line.split() for line in lines if line.startswith(("f16", "q8_0", "q4_k_m", "q4_0 "))]
    assert len(rows) == 7
    assert all(len(row) >= 8 for row in rows)


def test_each_row_has_the_headlines_of_its_cell(cells: list[CellResult]) -> None:
    """Three digits of each, read back from the text."""
    lines = printed(cells)
    for cell in cells[:6]:
        (row,) = [line for line in lines if line.split()[:2] == [cell.variant.quantization.value, cell.workload.name]]
        for value in (cell.headlines["floor_ttft_p50_ms"], cell.headlines["saturation_rps"]):
            assert any(
                abs(float(word.replace(",", "")) / value - 1) < 0.005 for word in row.split() if word[0].isdigit()
            )


def test_a_failed_cell_says_stage_and_cause(cells: list[CellResult]) -> None:
    text = "\n".join(printed(cells))
    assert "q4_0, long-out: failed at launch: the server ended with status 1" in text
    (row,) = [line for line in printed(cells) if line.startswith("q4_0 ")]
    assert row.rstrip().endswith("failed")
    assert "–" in row


def test_what_is_invalid_is_named_and_synthetic_models_are_marked(cells: list[CellResult]) -> None:
    text = " ".join(" ".join(printed(cells)).split())
    assert "q8_0, long-in: grade C: the open-loop point at" in text
    assert "say nothing of how fast an engine serves a real model" in text


def test_an_undecided_capacity_says_unknown(cells: list[CellResult]) -> None:
    capacity = (
        cells[0].capacities[0].model_copy(update={"certified_rps": None, "refuted_rps": None, "verdict": "unknown"})
    )
    assert any("unknown" in line for line in printed([cells[0].model_copy(update={"capacities": (capacity,)})]))


def test_rows_are_json_without_an_unexplained_null(cells: list[CellResult]) -> None:
    rows = json.loads(json.dumps(result_rows(cells), allow_nan=False))
    assert len(rows) == 7
    for row in rows:
        for name in ("floor_ttft_p50_ms", "saturation_rps", "saturation_output_tokens_per_s"):
            assert row[name] is not None or row["reasons"][name]
    assert rows[-1]["stage"] == "launch"
    assert rows[-1]["reasons"]["saturation_rps"].startswith("failed at launch")


def test_a_cell_that_failed_says_why_it_has_no_bound(failed: Callable[..., CellResult]) -> None:
    (row,) = result_rows([failed(cause="there is no room").model_copy(update={"bounds": None, "bound_reason": ""})])
    assert "there is no room" in row["bounds"]["reason"]


def test_no_secret_of_a_cause_is_printed(failed: Callable[..., CellResult]) -> None:
    cell = failed(cause="401 for Bearer abcdefghijklmnop1234")
    assert "abcdefghijklmnop" not in "\n".join(printed([cell])) + json.dumps(result_rows([cell]))


def test_a_failure_is_shown_with_its_class_and_its_stage(failed: Callable[..., CellResult], tmp_path: Path) -> None:
    cell = failed(failure_class="out_of_memory")
    (row,) = result_rows([cell])
    assert (row["failure_class"], row["stage"]) == ("out_of_memory", "launch")
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(result_table([cell]))
    assert "failed, out of memory at launch: the server ended" in console.export_text()
    write_report(tmp_path / "r.html", experiment="e", cells=[cell])
    assert "Failed, out of memory at launch: the server ended" in (tmp_path / "r.html").read_text()


def test_a_plan_shows_the_class_of_what_failed() -> None:
    row = {"cell_id": "c", "engine": "e", "engine_version": "1", "model": "m", "quantization": "f16", "workload": "w"}
    told = {"state": "failed", "reason": "it ended", "failure_class": "bad_flag", "stage": "launch"}
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(plan_table([row | told]))
    assert "failed, bad_flag at launch: it ended" in console.export_text()
