"""The recipe follows the engine: what adapters ask for is what makers make, and nothing is quantized twice."""

import contextlib
from collections.abc import Iterator
from itertools import product

import pytest

from engine_adapters import ADAPTERS
from engine_adapters.base import EngineAdapter, UnsupportedVariant, without_flags
from experiments.schema.variant import Quantization, Variant
from tasks.quantization.checkpoint import RECIPES
from tests.engine_adapters.test_contract import BASES

QUANTIZING = ("--quantization", "-q", "--quantize", "--model-format")
"""By which the servers that we know quantize weights while they load them."""

WORDS = {"compressed_tensors": "compressed-tensors"}
"""What a server may call a checkpoint's format, where it insists on being told."""


def variants(adapter: EngineAdapter) -> Iterator[Variant]:
    """In every precision that it takes, and cut for one GPU and for two."""
    for quantization, parts in product(Quantization, (1, 2)):
        changes = {"quantization": quantization, "tensor_parallel": parts}
        variant = BASES[adapter.name].model_copy(update=changes)
        with contextlib.suppress(UnsupportedVariant):
            adapter.launch_spec(variant)
            yield variant


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=lambda adapter: adapter.name)
def test_every_checkpoint_that_an_adapter_names_has_a_maker(adapter: EngineAdapter) -> None:
    for variant in variants(adapter):
        spec = adapter.checkpoint(variant)
        assert spec is None or (spec.format, spec.recipe) in RECIPES, variant.quantization


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=lambda adapter: adapter.name)
def test_a_flag_that_quantizes_is_known_to_be_one(adapter: EngineAdapter) -> None:
    """So that it is left out where the weights come quantized."""
    for variant in variants(adapter):
        argv = adapter.launch_spec(variant).argv
        assert set(QUANTIZING) & set(argv) <= set(adapter.quantizing_flags), variant.quantization


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=lambda adapter: adapter.name)
def test_a_checkpoint_that_is_quantized_is_not_quantized_again(adapter: EngineAdapter) -> None:
    for variant in variants(adapter):
        spec = adapter.checkpoint(variant)
        if spec is None or spec.format == "safetensors":
            continue
        argv = adapter.launch_spec(variant).argv
        told = {argv[at + 1] for at, word in enumerate(argv) if word in adapter.quantizing_flags}
        assert told <= {spec.format, WORDS.get(spec.format, "")}, variant.quantization


def test_a_flag_is_left_out_with_its_value() -> None:
    argv = ("serve", "{model}", "--quantization", "fp8", "--port", "1", "--quantize=awq", "--quantization-config", "x")
    assert without_flags(argv, ("--quantization", "--quantize")) == (
        "serve",
        "{model}",
        "--port",
        "1",
        "--quantization-config",
        "x",
    )
    assert without_flags(argv, ()) == argv


def test_a_flag_that_names_the_weights_own_method_stays() -> None:
    argv = ("serve", "--quantization", "bitsandbytes", "--quantize=fp8")
    assert without_flags(argv, ("--quantization", "--quantize"), but="bitsandbytes") == argv[:3]


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=lambda adapter: adapter.name)
def test_weights_in_16_bits_are_quantized_by_somebody(adapter: EngineAdapter) -> None:
    """By a maker, by a build, by a flag; else the precision is one that only a publisher gives."""
    only_published = set()
    for variant in variants(adapter):
        spec = adapter.checkpoint(variant)
        if spec is None or spec.format != "safetensors" or adapter.build_spec(variant) is not None:
            continue
        if not set(adapter.quantizing_flags) & set(adapter.launch_spec(variant).argv):
            only_published.add(variant.quantization)
    assert only_published - {Quantization.BF16, Quantization.F16} <= {Quantization.MXFP4, Quantization.FP8_BLOCK}
