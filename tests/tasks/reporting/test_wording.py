"""Figures and names as people read them."""

from collections.abc import Callable

import pytest

from experiments.schema.model import Model, SyntheticSource
from experiments.schema.result import Capacity, CellResult
from experiments.schema.variant import Quantization, Variant
from tasks.reporting.wording import capacity_text, common_label, number, slo_text, variant_names

MODEL = Model(name="m", source=SyntheticSource(kind="synthetic"))


def variant(engine: str = "llama_cpp", quantization: str = "f16", threads: int | None = None) -> Variant:
    return Variant(
        engine=engine, engine_version="1", model=MODEL, quantization=Quantization(quantization), cpu_threads=threads
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1344.6, "1,340"), (84.13, "84.1"), (0.012345, "0.0123"), (999.6, "1,000"), (5, "5.00"), (-2.5, "-2.50"),
     (1e-4, "0.000100"), (1234567, "1,230,000")],
)  # fmt: skip
def test_numbers_have_three_significant_digits_and_no_exponent(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("certified", "refuted", "text"),
    [(24.0, 34.0, "24.0"), (24.0, None, "≥ 24.0"), (None, 34.0, "< 34.0"), (None, None, "unknown")],
)
def test_a_capacity_is_never_blank(certified: float | None, refuted: float | None, text: str) -> None:
    capacity = Capacity(slo="s", name="s", verdict="unknown", certified_rps=certified, refuted_rps=refuted)
    assert capacity_text(capacity) == text


def test_variants_are_named_by_what_differs() -> None:
    f16, q8, threads = variant(), variant(quantization="q8_0"), variant(threads=2)
    assert variant_names([f16, q8]) == {f16.id: "f16", q8.id: "q8_0"}
    assert variant_names([f16]) == {f16.id: "f16"}
    assert variant_names([f16, threads]) == {f16.id: "default", threads.id: "cpu_threads 2"}
    other = variant(engine="vllm")
    assert variant_names([f16, other, q8])[q8.id] == "llama_cpp 1 · q8_0"


def test_what_is_common_is_said_once() -> None:
    assert common_label([variant(), variant(quantization="q8_0")]) == "llama_cpp 1 · m · cpu"
    assert common_label([variant(), variant(engine="vllm")]) == "m · cpu"
    assert common_label([]) == ""


def test_an_slo_reads_as_a_sentence() -> None:
    assert slo_text("ttft_response:p95<1.5s") == "p95 TTFT from due under 1500 ms"


def test_names_never_hide_a_variant(failed: Callable[..., CellResult]) -> None:
    assert variant_names([failed().variant])[failed().variant.id] == "q4_0"


def test_a_stand_in_is_named_as_one_even_where_only_its_precision_differs() -> None:
    f16, q8 = (variant(quantization=one).model_copy(update={"stand_in": True}) for one in ("f16", "q8_0"))
    assert variant_names([f16, q8])[q8.id] == "STAND-IN of llama_cpp 1 · q8_0"
    assert variant_names([f16])[f16.id] == "STAND-IN of llama_cpp 1 · f16"
    assert f16.label.startswith("STAND-IN of llama_cpp 1")
    assert f16.id not in (q8.id, variant().id)
