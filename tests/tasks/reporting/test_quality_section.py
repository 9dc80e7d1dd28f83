"""A variant past a limit bears it wherever it is named; what is absent has its reason."""

import io

import pytest
from rich.console import Console

from experiments.schema.quality import QualityComparison, QualityResult, TaskScore
from experiments.schema.result import CellResult
from tasks.reporting.headlines import findings, title
from tasks.reporting.quality_section import quality_section
from tasks.reporting.report import report_html
from tasks.reporting.summary_table import summary_table
from tasks.reporting.tables import result_rows, result_table
from tasks.reporting.wording import cell_label, cell_names
from tasks.tracking.description import cell_description
from tasks.tracking.figures import quality_metrics, tags

FLAG = "its likeliest token is the reference's at 74.7% of the positions, and 90.0% is the limit"
COMPARED = QualityComparison(
    reference="llama_cpp 0.3.1 · tiny · f16",
    reference_variant_id="f",
    reference_is="same engine",
    tokens=371,
    texts=12,
    perplexity_ratio=1.013,
    perplexity_ratio_interval=(1.002, 1.024),
    agreement=0.747,
    agreement_interval=(0.69, 0.8),
    answers=12,
    identical_answers=0,
    reasons={"greedy_agreement": "it answers in other words"},
)
POOR = QualityResult(
    launch=1, method="forced_token", tokens=371, texts=12, perplexity=3302.0, perplexity_interval=(3021.0, 3637.0),
    task=TaskScore(questions=40, correct=30, accuracy=0.75, interval=(0.6, 0.86)), comparison=COMPARED, flags=(FLAG,),
)  # fmt: skip
MUTE = QualityResult(reasons={"perplexity": "its server refuses", "comparison": "no bf16 variant"})


@pytest.fixture
def scored(cells: list[CellResult]) -> list[CellResult]:
    """The fastest precision is past its limit; of the others nothing is known."""
    return [
        cell.model_copy(update={"quality": POOR if cell.variant.quantization == "q4_k_m" else MUTE}) for cell in cells
    ]


def test_the_flag_stands_wherever_the_variants_speed_does(scored: list[CellResult]) -> None:
    names = cell_names(scored)
    assert {name for name in names.values() if "flagged" in name} == {"q4_k_m (quality flagged)"}
    assert "q4_k_m (quality flagged)" in title(scored)
    assert "q4_k_m (quality flagged)" in findings(scored, "long-in")[0]
    assert "q4_k_m (quality flagged)" in str(summary_table(scored, names))
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(result_table(scored))
    text = console.export_text()
    assert text.count("q4_k_m (quality flagged)") >= 2
    assert FLAG in text
    assert {cell_label(cell) for cell in scored if "flagged" in cell_label(cell)} == {
        "llama_cpp 0.3.1 · tiny-llama · q4_k_m (quality flagged)"
    }
    page = report_html("e", scored, description="", written_at="", links={}, timelines={})
    assert page.count("q4_k_m (quality flagged)") > 5


def test_the_table_has_each_figure_with_its_interval_and_its_n(scored: list[CellResult]) -> None:
    shown = str(quality_section(scored, cell_names(scored)))
    for text in ("3,300", "371 tokens of 12 texts", "1.013", "1.002–1.024", "74.7%", "69.0%–80.0%", "30 of 40"):
        assert text in shown
    assert "f16: same engine" in shown


def test_what_is_absent_has_its_reason_and_is_no_zero(scored: list[CellResult]) -> None:
    shown = str(quality_section(scored, cell_names(scored)))
    for reason in ("its server refuses", "no bf16 variant", "it answers in other words"):
        assert reason in shown
    assert quality_metrics(scored[0]) == {"quality/tokens": 0.0, "quality/flagged": 0.0}


def test_without_quality_there_is_no_section_no_metric_and_no_tag(cells: list[CellResult]) -> None:
    assert quality_section(cells, cell_names(cells)) is None
    assert quality_metrics(cells[0]) == {}
    assert "quality_flag" not in tags(cells[0])
    assert result_rows(cells)[0]["quality"] is None


def test_the_tracking_store_is_told_the_figures_and_the_flag(scored: list[CellResult]) -> None:
    (poor, *_) = [cell for cell in scored if cell.quality == POOR]
    found = quality_metrics(poor)
    assert found["quality/agreement"] == 0.747
    assert found["quality/agreement/low"] == 0.69
    assert found["quality/perplexity_ratio/high"] == 1.024
    assert found["quality/task_accuracy"] == 0.75
    assert found["quality/flagged"] == 1.0
    assert "quality/greedy_agreement" not in found
    assert tags(poor)["quality_flag"] == FLAG
    assert FLAG in cell_description(poor)
    mute = next(cell for cell in scored if cell.quality == MUTE)
    assert tags(mute)["quality_flag"] == "unknown: no bf16 variant"


def test_the_rows_say_it_for_machines(scored: list[CellResult]) -> None:
    rows = {row["quantization"]: row for row in result_rows(scored)}
    assert rows["q4_k_m"]["quality_flagged"] is True
    assert rows["f16"]["quality_flagged"] is False
    assert rows["q4_k_m"]["quality"]["comparison"]["agreement"] == 0.747
