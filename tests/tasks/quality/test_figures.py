"""Perplexity, agreement and their intervals, against figures by hand and by simulation."""

import math

import numpy as np
import pytest

from experiments.schema.quality import QualityComparison, QualityPlan, QualityResult
from tasks.quality.figures import bootstrap, common_share, compared, figures_of, first_line, flags, wilson
from tasks.quality.record import Answer, Position, Scored


def scored(logprobs: list[list[float]], top1: list[list[int]] | None = None, **fields: object) -> Scored:
    """One list a text; token i of a text is i, and so is its likeliest token unless told otherwise."""
    positions = [
        Position(text, i + 1, i, value, top1[text][i] if top1 else i, 0.0)
        for text, values in enumerate(logprobs)
        for i, value in enumerate(values)
    ]
    ordinary: dict[str, object] = {"positions": tuple(positions), "answers": (), "reasons": {}}
    return Scored(**{"launch": 1, "material": "m", "method": "x", "seconds": 1.0, **ordinary, **fields})  # type: ignore[arg-type]


def against(one: Scored, other: Scored) -> QualityComparison:
    return compared(one, other, label="bf16", variant_id="b", kinship="same engine")


def test_perplexity_is_the_inverse_geometric_mean_of_the_probabilities() -> None:
    probabilities = [[0.5, 0.25], [0.125], [0.5], [0.5], [0.5]]
    found = figures_of(scored([[math.log(p) for p in text] for text in probabilities]))
    product = math.prod(p for text in probabilities for p in text)
    assert found.perplexity == pytest.approx(product ** (-1 / 6))
    assert (found.tokens, found.texts) == (6, 5)
    assert found.perplexity_interval is not None
    assert found.perplexity_interval[0] < (found.perplexity or 0) < found.perplexity_interval[1]


def test_few_texts_give_no_interval_and_say_so() -> None:
    found = figures_of(scored([[-1.0], [-2.0]]))
    assert found.perplexity == pytest.approx(math.exp(1.5))
    assert found.perplexity_interval is None
    assert "2 texts are too few" in found.reasons["perplexity_interval"]


def test_nothing_scored_is_absent_with_the_reason_and_not_zero() -> None:
    found = figures_of(scored([], reasons={"perplexity": "it gives none"}))
    assert found.perplexity is None
    assert found.reasons["perplexity"] == "it gives none"
    both = against(scored([], reasons={"perplexity": "it gives none"}), scored([[-1.0]]))
    assert both.agreement is None
    assert both.reasons["agreement"] == "it gives none"
    other = against(scored([[-1.0]]), scored([], reasons={"perplexity": "it gives none"}))
    assert other.reasons["agreement"] == "the reference has none: it gives none"


def test_a_variant_against_itself_agrees_everywhere_with_an_interval_that_is_no_point() -> None:
    one = scored([[-1.0, -2.0]] * 6)
    found = against(one, one)
    assert (found.perplexity_ratio, found.agreement) == (1.0, 1.0)
    assert found.agreement_interval is not None
    assert found.agreement_interval[0] == pytest.approx(12 / (12 + 1.96**2), rel=0.001)
    assert found.agreement_interval[1] == 1.0


def test_pairing_takes_out_what_differs_between_texts() -> None:
    """Texts differ by factors, the variants by 2 % at each position: only the pair shows that sharply."""
    hard = [[-float(text)] * 4 for text in range(1, 9)]
    worse = [[value - math.log(1.02) for value in text] for text in hard]
    found = against(scored(worse), scored(hard))
    assert found.perplexity_ratio == pytest.approx(1.02)
    assert found.perplexity_ratio_interval == pytest.approx((1.02, 1.02))
    alone = figures_of(scored(worse)).perplexity_interval
    assert alone is not None
    assert alone[1] / alone[0] > 2


def test_agreement_counts_the_same_likeliest_token_and_positions_pair_by_place() -> None:
    reference = scored([[-1.0, -1.0, -1.0, -1.0]])
    variant = scored([[-1.0, -1.0, -1.0]], top1=[[0, 9, 2]])
    found = against(variant, reference)
    assert found.tokens == 3
    assert found.agreement == pytest.approx(2 / 3)


def test_positions_with_other_tokens_are_left_out_and_counted() -> None:
    reference = scored([[-1.0, -1.0]])
    moved = Scored(**{f: getattr(reference, f) for f in ("launch", "material", "method", "seconds", "answers")},
                   positions=(reference.positions[0], Position(0, 2, 77, -1.0, 77, -1.0)), reasons={})  # fmt: skip
    found = against(moved, reference)
    assert found.tokens == 1
    assert found.reasons["tokens"] == "1 positions hold other tokens"


def test_the_bootstrap_covers_the_mean_of_dependent_tokens_about_as_often_as_it_says() -> None:
    """Texts of ten tokens that share most of their variance: intervals over single tokens cover it half of the time."""
    rng = np.random.default_rng(1)
    by_text = by_token = 0
    for _ in range(80):
        texts = [rng.normal(rng.normal(), 0.3, 10) for _ in range(20)]
        block, single = bootstrap(texts), bootstrap([np.array([value]) for text in texts for value in text])
        assert block is not None
        assert single is not None
        by_text += block[0] <= 0 <= block[1]
        by_token += single[0] <= 0 <= single[1]
    assert by_text >= 68
    assert by_token < 64


def test_wilsons_interval_is_that_of_the_textbook() -> None:
    assert wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)


def test_a_greedy_answer_counts_until_it_parts() -> None:
    assert common_share("abcd", "abXd") == 0.5
    assert common_share("abcd", "ab") == 0.5
    assert common_share("", "") == 1.0
    answers = tuple(Answer(f"p{i}", "same" if i else "sXme") for i in range(5))
    others = tuple(Answer(f"p{i}", "same") for i in range(5))
    found = against(scored([], answers=answers), scored([], answers=others))
    assert found.greedy_agreement == pytest.approx((0.25 + 4) / 5)
    assert (found.answers, found.identical_answers) == (5, 4)


def test_a_task_is_scored_to_the_letter_of_the_first_line() -> None:
    answers = (Answer("q", " Canberra\nand more", "Canberra"), Answer("r", "canberra", "Canberra"), Answer("p", "x"))
    task = figures_of(scored([], answers=answers)).task
    assert task is not None
    assert (task.questions, task.correct, task.accuracy) == (2, 1, 0.5)
    assert task.interval == pytest.approx(wilson(1, 2))
    assert first_line("\n \n") == ""


def result(**fields: object) -> QualityResult:
    comparison = QualityComparison(reference="b", reference_variant_id="b", reference_is="same engine", **fields)
    return QualityResult(comparison=comparison)


LIMITS = QualityPlan(max_perplexity_increase=0.05, min_agreement=0.9)


def test_what_is_past_a_limit_is_flagged_and_says_whether_surely() -> None:
    surely = flags(result(perplexity_ratio=1.08, perplexity_ratio_interval=(1.06, 1.1)), LIMITS)
    perhaps = flags(result(perplexity_ratio=1.06, perplexity_ratio_interval=(1.04, 1.1)), LIMITS)
    assert surely == ("its perplexity is 8.00% above the reference's, and 5.00% is the limit",)
    assert perhaps[0].endswith("(its 95 % interval reaches the limit)")
    assert "80.0%" in flags(result(agreement=0.8, agreement_interval=(0.7, 0.85)), LIMITS)[0]


def test_what_is_within_the_limits_or_unknown_or_has_none_is_not_flagged() -> None:
    assert flags(result(perplexity_ratio=1.05, agreement=0.9), LIMITS) == ()
    assert flags(result(), LIMITS) == ()
    assert flags(QualityResult(), LIMITS) == ()
    assert flags(result(perplexity_ratio=9.0, agreement=0.1), QualityPlan()) == ()
