"""Stage: the quality of a variant, scored on the launch that its speed is measured on, compared when published."""

import logging
from collections.abc import Sequence
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from engine_adapters import ADAPTERS
from experiments.errors import InputError
from experiments.schema.quality import QualityPlan, QualityResult
from experiments.schema.result import CellResult
from experiments.schema.variant import Variant
from tasks.campaigns.campaign import Campaign
from tasks.quality.figures import compared, figures_of, flags
from tasks.quality.material import read_material
from tasks.quality.record import Scored, read_scored, write_scored
from tasks.quality.references import kinship, reference_of
from tasks.quality.score import score
from tasks.serving.server import Server

log = logging.getLogger("dyno.quality")


@task(name="score", task_run_name="score {variant.quantization}", cache_policy=NO_CACHE)
def score_variant(
    plan: QualityPlan, variant: Variant, server: Server, tokenizer: Path | None, campaign: Campaign, launch: int
) -> QualityResult:
    """Once in a campaign: what it says does not depend on the workload. Kept in the variant's quality folder."""
    folder = campaign.quality_folder(variant.id)
    try:
        material = read_material(plan)
    except InputError as error:
        log.warning("%s", error)  # it was there when the run began, or is not on this worker
        return QualityResult(launch=launch, reasons=dict.fromkeys(("perplexity", "comparison"), str(error)))
    scored = read_scored(folder)
    if scored is None or scored.material != material.id:
        scored = score(
            plan,
            material,
            url=server.url,
            model=server.model,
            dialect=ADAPTERS[variant.engine].request_dialect(variant),
            tokenizer=tokenizer,
            launch=launch,
            say=lambda text: log.debug("%s", text, extra={"live": text}),
        )
        write_scored(folder, scored)
        _say(figures_of(scored))
    return figures_of(scored)


def _say(found: QualityResult) -> None:
    for name, reason in found.reasons.items():
        log.warning("%s: %s", name, reason)
    if found.perplexity is not None:
        log.info("perplexity %.4g over %d tokens of %d texts", found.perplexity, found.tokens, found.texts)


def with_quality(results: Sequence[CellResult], plan: QualityPlan | None, campaign: Campaign) -> list[CellResult]:
    """Each with its quality held against the reference variant's, from the records on disk: the reference may have
    been measured later."""
    if plan is None:
        return list(results)
    every = {cell.variant.id: read_scored(campaign.quality_folder(cell.variant.id)) for cell in results}
    scored = {id_: one for id_, one in every.items() if one is not None}
    variants = {cell.variant.id: cell.variant for cell in results if cell.variant.id in scored}
    judged = {id_: _judged(variants[id_], plan, variants, scored) for id_ in variants}
    return [cell.model_copy(update={"quality": judged.get(cell.variant.id, cell.quality)}) for cell in results]


def _judged(
    variant: Variant, plan: QualityPlan, variants: dict[str, Variant], scored: dict[str, Scored]
) -> QualityResult:
    own = scored[variant.id]
    result = figures_of(own)
    fellows = [other for other in variants.values() if scored[other.id].material == own.material]
    reference = reference_of(variant, fellows, plan.reference_quantization)
    if reference is None:
        why = f"no {plan.reference_quantization} variant of {variant.model.name} was scored in this campaign"
        return _flagged(result.model_copy(update={"reasons": {**result.reasons, "comparison": why}}), plan)
    against = compared(
        own,
        scored[reference.id],
        label=reference.label,
        variant_id=reference.id,
        kinship=kinship(variant, reference),
    )
    return _flagged(result.model_copy(update={"comparison": against}), plan)


def _flagged(result: QualityResult, plan: QualityPlan) -> QualityResult:
    return result.model_copy(update={"flags": flags(result, plan)})
