"""The reference is the nearest variant of the same model in the reference's precision, and says how near."""

from typing import Any

from experiments.schema.model import Model, SyntheticSource
from experiments.schema.variant import Quantization, Variant
from tasks.quality.references import kinship, reference_of


def variant(quantization: str, engine: str = "a", version: str = "1", seed: int = 0, **fields: Any) -> Variant:
    model = Model(name="m", source=SyntheticSource(kind="synthetic", seed=seed))
    return Variant(
        engine=engine, engine_version=version, model=model, quantization=Quantization(quantization), **fields
    )


def test_the_same_engine_comes_before_another_release_and_before_another_engine() -> None:
    asked = variant("q8_0")
    others = [variant("bf16", "b"), variant("bf16", version="2"), variant("bf16")]
    assert reference_of(asked, others, Quantization.BF16) == others[2]
    assert reference_of(asked, others[:2], Quantization.BF16) == others[1]
    assert reference_of(asked, others[:1], Quantization.BF16) == others[0]
    assert [kinship(asked, one) for one in others] == [
        "another engine",
        "same engine, another release",
        "same engine",
    ]


def test_the_reference_is_its_own() -> None:
    bf16, threaded = variant("bf16"), variant("bf16", cpu_threads=2)
    assert reference_of(bf16, [threaded, bf16], Quantization.BF16) == bf16
    assert kinship(bf16, bf16) == "itself"


def test_another_model_or_another_precision_is_no_reference() -> None:
    assert reference_of(variant("q8_0"), [variant("bf16", seed=1), variant("f16")], Quantization.BF16) is None
