"""The comparison is made when results are published, from records on disk: the reference may come later."""

from pathlib import Path

import pytest

from experiments.schema.order import ExperimentOrder
from experiments.schema.quality import QualityPlan
from experiments.schema.result import CellResult, CellState
from experiments.schema.variant import Quantization, Variant
from experiments.schema.workload import Workload
from tasks.campaigns.campaign import Campaign, open_campaign
from tasks.campaigns.home import Home
from tasks.publish import publish
from tasks.quality.record import Position, Scored, write_scored
from tasks.score import score_variant, with_quality
from tasks.serving.server import Server

PLAN = QualityPlan(min_agreement=0.9, max_perplexity_increase=0.05)


def cell(variant: Variant, quantization: str) -> CellResult:
    return CellResult(
        cell_id=quantization, experiment="e", campaign="e-1", launch=1, state=CellState.MEASURED, mlflow_run_id="ab",
        variant=variant.model_copy(update={"quantization": Quantization(quantization)}),
        workload=Workload(name="w", prompt_tokens=8, output_tokens=4),
    )  # fmt: skip


def keep(campaign: Campaign, of: CellResult, logprob: float, *, wrong: int = 0, material: str = "m") -> None:
    """Ten texts of one position; at the first `wrong` of them another token is the likeliest."""
    positions = tuple(Position(text, 1, 5, logprob, 9 if text < wrong else 5, logprob) for text in range(10))
    scored = Scored(1, material, "prompt_logprobs", 1.0, positions, (), {})
    write_scored(campaign.quality_folder(of.variant.id), scored)


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return open_campaign(Home(tmp_path).campaigns, "e")


def test_a_variant_is_held_against_the_reference_whichever_was_scored_first(
    variant: Variant, campaign: Campaign
) -> None:
    cells = [cell(variant, "q4_k_m"), cell(variant, "bf16")]
    keep(campaign, cells[0], -1.2, wrong=2)
    alone = with_quality(cells, PLAN, campaign)[0].quality
    assert alone is not None
    assert alone.comparison is None
    assert alone.flags == ()
    assert "no bf16 variant of tiny was scored" in alone.reasons["comparison"]
    keep(campaign, cells[1], -1.0)
    quantized, reference = with_quality(cells, PLAN, campaign)
    assert quantized.quality is not None
    assert quantized.quality.comparison is not None
    assert quantized.quality.comparison.agreement == 0.8
    assert quantized.quality.comparison.perplexity_ratio == pytest.approx(2.718281828**0.2)
    assert len(quantized.quality.flags) == 2
    assert reference.quality is not None
    assert reference.quality.comparison is not None
    assert reference.quality.comparison.reference_is == "itself"
    assert reference.quality.flags == ()


def test_other_material_is_not_compared(variant: Variant, campaign: Campaign) -> None:
    cells = [cell(variant, "q8_0"), cell(variant, "bf16")]
    keep(campaign, cells[0], -1.0)
    keep(campaign, cells[1], -1.0, material="other")
    found = with_quality(cells, PLAN, campaign)[0].quality
    assert found is not None
    assert found.comparison is None


def test_material_that_is_gone_costs_the_quality_and_not_the_cell(variant: Variant, campaign: Campaign) -> None:
    server = Server("http://127.0.0.1:9", "m", (), None)
    found = score_variant.fn(QualityPlan(texts="/nowhere/texts"), variant, server, None, campaign, 4)
    assert found.launch == 4
    assert "/nowhere/texts" in found.reasons["perplexity"]


def test_without_a_plan_nothing_is_touched(variant: Variant, campaign: Campaign) -> None:
    cells = [cell(variant, "q8_0")]
    keep(campaign, cells[0], -1.0)
    assert with_quality(cells, None, campaign) == cells


def test_what_became_known_is_saved_and_due_for_publishing_again(
    variant: Variant, campaign: Campaign, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The tracking store is out of reach: what it has not taken waits without the id of a run."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 1000)
    cells = [cell(variant, "q4_k_m"), cell(variant, "bf16")]
    for one, logprob in zip(cells, (-1.2, -1.0), strict=True):
        keep(campaign, one, logprob)
        campaign.save(one)
    order = ExperimentOrder(experiment="e", campaign=1, home=str(tmp_path), variants=(), quality=PLAN)
    assert not publish(order, Home(tmp_path), campaign, cells)
    kept = campaign.result("q4_k_m")
    assert kept is not None
    assert kept.quality is not None
    assert kept.quality.is_flagged
    assert kept.mlflow_run_id == ""
    report = (campaign.folder / "report.html").read_text(encoding="utf-8")
    assert "quality flagged" in report
    assert "above the reference" in report
