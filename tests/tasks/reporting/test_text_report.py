"""`dyno report --text`: tables that fit 100 columns, and say what the JSON says."""

from collections.abc import Callable
from io import StringIO

from rich.console import Console

from experiments.schema.comparison import ChangeVerdict, ComparisonResult
from experiments.schema.result import CellResult
from tasks.reporting.overview import overview
from tasks.reporting.text_report import text_report
from tests.tasks.reporting.almanac.synthetic_cells import synthetic_cells

COMPARISON = ComparisonResult.model_validate(
    {"id": "vllm-1", "engine": "vllm", "from": "0.32.0", "to": "0.33.0", "experiment": "almanac", "method_version": "2",
     "verdict": ChangeVerdict.REGRESSED, "reason": "two figures are worse by more than 3 %"}
)  # fmt: skip


def shown(cells: list[CellResult], comparisons: list[ComparisonResult]) -> str:
    out = StringIO()
    Console(file=out, width=100, highlight=False).print(text_report(overview(cells, comparisons)))
    return out.getvalue()


def test_it_fits_a_hundred_columns_and_loses_no_row(cells: list[CellResult]) -> None:
    long = cells[-1].model_copy(
        update={
            "cell_id": "f" * 12,
            "variant": cells[-1].variant.model_copy(update={"engine_version": "0.1." + "9" * 60}),
        }
    )
    text = shown([*cells, long], [COMPARISON])
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text
    words = "".join(text.split())
    for part in ("failed", "regressed", "0.33.0", "grade", "certified"):
        assert part in words
    assert text.count("9") >= 60  # folded, not cut


def test_a_matrix_of_many_cells_fits_too() -> None:
    text = shown(synthetic_cells(120), [])
    assert max(map(len, text.splitlines())) <= 100
    assert text.startswith("120 cells: ")


def test_the_best_of_a_workload_is_the_fastest_that_carries(cells: list[CellResult]) -> None:
    for row in overview(cells)["best"]:
        on_it = [cell for cell in cells if cell.workload.name == row["workload"] and cell.headlines]
        sound = [cell for cell in on_it if cell.grade in ("A", "B", "C")] or on_it
        assert row["saturation_rps"] == max(cell.headlines["saturation_rps"] for cell in sound)
        assert row["cell_id"] in {cell.cell_id for cell in sound}
        assert row["compared"] == len(on_it)


def test_grades_and_failures_are_all_told(cells: list[CellResult]) -> None:
    body = overview(cells)
    assert sum(row["cells"] for row in body["grades"]) == sum(cell.grade is not None for cell in cells)
    assert [row["cell_id"] for row in body["failures"]] == ["fa11ed000000"]
    assert body["states"] == {"measured": 6, "failed": 1}


def test_a_certified_rate_stands_with_the_rate_at_which_it_no_longer_holds(cells: list[CellResult]) -> None:
    rows = [row for row in overview(cells)["capacities"] if row["certified_rps"] and row["refuted_rps"]]
    assert rows
    assert all(row["certified_rps"] < row["refuted_rps"] and row["n"] for row in rows)
    assert "[" in shown(cells, [])


def test_nothing_measured_is_said(failed: Callable[..., CellResult]) -> None:
    assert "Nothing was measured to saturation." in shown([failed()], [])
