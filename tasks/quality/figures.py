"""What the records of a variant say, alone and beside those of the reference. Pure."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from experiments.schema.quality import Interval, QualityComparison, QualityPlan, QualityResult, TaskScore
from tasks.quality.record import Answer, Position, Scored

Floats = npt.NDArray[np.float64]

RESAMPLES, SEED = 2000, 20261121
LEVEL = 0.95
Z = 1.959963984540054
FEWEST_TEXTS = 5
"""Below as many whole texts a bootstrap over them says nothing of other texts."""


def figures_of(scored: Scored) -> QualityResult:
    """Of a variant by itself."""
    blocks = _by_text(scored.positions, lambda one: one.logprob)
    mean = pooled_mean(blocks)
    reasons = dict(scored.reasons)
    interval = bootstrap(blocks)
    if interval is None and blocks:
        reasons["perplexity_interval"] = _too_few(len(blocks))
    return QualityResult(
        launch=scored.launch,
        method=scored.method,
        material=scored.material,
        tokens=len(scored.positions),
        texts=len(blocks),
        seconds=scored.seconds,
        perplexity=None if mean is None else math.exp(-mean),
        perplexity_interval=None if interval is None else (math.exp(-interval[1]), math.exp(-interval[0])),
        task=task_score(scored.answers),
        reasons=reasons,
    )


def task_score(answers: Sequence[Answer]) -> TaskScore | None:
    """None where there was no task. An answer counts to its first line's end, without white space around it."""
    asked = [one for one in answers if one.expected is not None]
    if not asked:
        return None
    correct = sum(first_line(one.answer) == one.expected for one in asked)
    return TaskScore(
        questions=len(asked),
        correct=correct,
        accuracy=correct / len(asked),
        interval=wilson(correct, len(asked)),
    )


def first_line(answer: str) -> str:
    """What a model says before it goes on to something else."""
    lines = answer.strip().splitlines()
    return lines[0].strip() if lines else ""


def compared(variant: Scored, reference: Scored, *, label: str, variant_id: str, kinship: str) -> QualityComparison:
    """Paired by text and position; a pair whose tokens differ (another tokenizer) is left out and counted."""
    fields = {"reference": label, "reference_variant_id": variant_id, "reference_is": kinship}
    figures, reasons = _paired_positions(variant, reference)
    greedy, why_not = _paired_answers(variant, reference)
    return QualityComparison.model_validate({**fields, **figures, **greedy, "reasons": {**reasons, **why_not}})


def _paired_positions(variant: Scored, reference: Scored) -> tuple[dict[str, object], dict[str, str]]:
    known = {(one.text, one.position): one for one in reference.positions}
    pairs = [(one, known[key]) for one in variant.positions if (key := (one.text, one.position)) in known]
    same = [(one, other) for one, other in pairs if one.token == other.token]
    if not same:
        why = variant.reasons.get("perplexity") or _of_reference(reference) or "no position was scored of both"
        return {}, {"perplexity_ratio": why, "agreement": why}
    gains = _by_text([one for one, _ in same], _differences(same))
    matches = _by_text([one for one, _ in same], _matches(same))
    reasons = {"tokens": f"{len(pairs) - len(same)} positions hold other tokens"} if len(same) < len(pairs) else {}
    gain, interval = pooled_mean(gains), bootstrap(gains)
    agreement = pooled_mean(matches)
    if interval is None:
        reasons |= {name: _too_few(len(gains)) for name in ("perplexity_ratio_interval", "agreement_interval")}
    return {
        "tokens": len(same),
        "texts": len(gains),
        "perplexity_ratio": None if gain is None else math.exp(-gain),
        "perplexity_ratio_interval": None if interval is None else (math.exp(-interval[1]), math.exp(-interval[0])),
        "agreement": agreement,
        "agreement_interval": _share_interval(matches),
    }, reasons


def _of_reference(reference: Scored) -> str:
    why = reference.reasons.get("perplexity")
    return f"the reference has none: {why}" if why else ""


def _differences(pairs: Sequence[tuple[Position, Position]]) -> Callable[[Position], float]:
    of = {(one.text, one.position): one.logprob - other.logprob for one, other in pairs}
    return lambda one: of[one.text, one.position]


def _matches(pairs: Sequence[tuple[Position, Position]]) -> Callable[[Position], float]:
    of = {(one.text, one.position): float(one.top1 == other.top1) for one, other in pairs}
    return lambda one: of[one.text, one.position]


def _paired_answers(variant: Scored, reference: Scored) -> tuple[dict[str, object], dict[str, str]]:
    known = {one.prompt: one.answer for one in reference.answers if one.expected is None}
    pairs = [(one.answer, known[one.prompt]) for one in variant.answers if one.prompt in known and one.expected is None]
    if not pairs:
        why = variant.reasons.get("answers") or reference.reasons.get("answers") or "no prompt was answered by both"
        return {}, {"greedy_agreement": why}
    shares = [np.array([common_share(one, other)]) for one, other in pairs]
    interval = bootstrap(shares)
    return {
        "answers": len(pairs),
        "identical_answers": sum(one == other for one, other in pairs),
        "greedy_agreement": pooled_mean(shares),
        "greedy_agreement_interval": interval,
    }, {} if interval else {"greedy_agreement_interval": _too_few(len(pairs), "prompts")}


def common_share(one: str, other: str) -> float:
    """Characters until the two part, over those of the longer; 1 where both are empty."""
    longest = max(len(one), len(other))
    parts = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return parts / longest if longest else 1.0


def pooled_mean(blocks: Sequence[Floats]) -> float | None:
    """Over all values of all blocks; None where there is none."""
    values = np.concatenate(blocks) if blocks else np.empty(0)
    return float(values.mean()) if values.size else None


def bootstrap(blocks: Sequence[Floats]) -> Interval | None:
    """95 % percentile interval of the pooled mean, whole blocks drawn with replacement: the tokens of a text depend on
    one another. None below five blocks."""
    if len(blocks) < FEWEST_TEXTS:
        return None
    sums = np.array([block.sum() for block in blocks])
    sizes = np.array([block.size for block in blocks], dtype=float)
    drawn = np.random.default_rng(SEED).integers(0, len(blocks), (RESAMPLES, len(blocks)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _share_interval(blocks: Sequence[Floats]) -> Interval | None:
    """Of a share: never narrower than if all positions were independent, which matters where all agree."""
    found = bootstrap(blocks)
    if found is None:
        return None
    values = np.concatenate(blocks)
    low, high = wilson(int(values.sum()), values.size)
    return min(found[0], low), max(found[1], high)


def wilson(successes: int, n: int) -> Interval:
    """95 % score interval of a share (Wilson 1927)."""
    share, scale = successes / n, 1 + Z**2 / n
    center = (share + Z**2 / (2 * n)) / scale
    half = Z * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)) / scale
    return max(0.0, center - half), min(1.0, center + half)


def flags(result: QualityResult, plan: QualityPlan) -> tuple[str, ...]:
    """Which limits it is past, by its figures; each says whether the whole interval is."""
    against, task = result.comparison, result.task
    found = []
    if against and against.perplexity_ratio is not None and plan.max_perplexity_increase is not None:
        limit, ratio = 1 + plan.max_perplexity_increase, against.perplexity_ratio
        if ratio > limit:
            low = against.perplexity_ratio_interval
            text = f"its perplexity is {ratio - 1:.2%} above the reference's, and {limit - 1:.2%} is the limit"
            found.append(text + _surely(low is not None and low[0] > limit))
    if against and against.agreement is not None and plan.min_agreement is not None:
        found += _below("its likeliest token is the reference's at", against.agreement, against.agreement_interval,
                        plan.min_agreement)  # fmt: skip
    if task and plan.min_accuracy is not None:
        found += _below("it answers", task.accuracy, task.interval, plan.min_accuracy, of="the questions")
    return tuple(found)


def _below(what: str, share: float, interval: Interval | None, limit: float, of: str = "the positions") -> list[str]:
    if share >= limit:
        return []
    surely = interval is not None and interval[1] < limit
    return [f"{what} {share:.1%} of {of}, and {limit:.1%} is the limit{_surely(surely)}"]


def _surely(is_sure: bool) -> str:
    return "" if is_sure else " (its 95 % interval reaches the limit)"


def _by_text(positions: Sequence[Position], value: Callable[[Position], float]) -> list[Floats]:
    blocks: dict[int, list[float]] = {}
    for one in positions:
        blocks.setdefault(one.text, []).append(value(one))
    return [np.array(block) for block in blocks.values()]


def _too_few(n: int, what: str = "texts") -> str:
    return f"{n} {what} are too few for an interval: {FEWEST_TEXTS} are needed"
