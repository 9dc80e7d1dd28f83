"""Which variant another one's quality is held against."""

from collections.abc import Iterable
from typing import Literal

from experiments.schema.variant import Quantization, Variant

Kinship = Literal["itself", "same engine", "same engine, another release", "another engine"]
NEAREST: tuple[Kinship, ...] = ("itself", "same engine", "same engine, another release", "another engine")


def kinship(variant: Variant, reference: Variant) -> Kinship:
    """How near the reference is: what differs beside the precision differs in the figures too."""
    if variant.id == reference.id:
        return "itself"
    if variant.engine != reference.engine:
        return "another engine"
    same_release = variant.engine_version == reference.engine_version
    return "same engine" if same_release else "same engine, another release"


def reference_of(variant: Variant, variants: Iterable[Variant], quantization: Quantization) -> Variant | None:
    """The nearest variant of the same model in that precision, itself where it is that; of equally near ones the first.
    None where there is none."""
    of_the_model = [
        one for one in variants if one.quantization == quantization and one.model.source == variant.model.source
    ]
    return min(of_the_model, key=lambda one: NEAREST.index(kinship(variant, one)), default=None)
