"""The plan on a narrow terminal still says what will happen to each cell."""

import io

import pytest
from rich.console import Console

from tasks.reporting.plan_table import plan_table

ROW = {
    "cell_id": "4411c48d79d3",
    "engine": "llama_cpp",
    "engine_version": "2026.10.11549",
    "model": "a-model-with-quite-a-long-name",
    "quantization": "q4_k_m",
    "hardware": "cpu",
    "workload": "in128-out16",
    "state": "to measure",
    "reason": "",
}


@pytest.mark.parametrize("columns", [80, 100, 160])
def test_the_state_of_a_cell_is_seen_at_any_width(columns: int) -> None:
    console = Console(width=columns, file=io.StringIO())
    console.print(plan_table([ROW]))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "4411c48d79d3" in shown
    assert "to measure" in shown
    assert all(len(line) <= columns for line in shown.splitlines())
