"""What our adapters emit is what the parsers take, release by release."""

import pytest

from engine_adapters import ADAPTERS
from engine_adapters.base import EngineAdapter, UnsupportedVariant
from experiments.schema.variant import Quantization, Variant
from tasks.flags.emitted import MODEL, emitted_commands, emitted_options, values_of
from tasks.flags.report import check_by_table
from tasks.flags.table import known_versions

FROM_WHEELS = [
    (adapter, v) for adapter in ADAPTERS.values() if adapter.option_source for v in known_versions(adapter.name)
]


@pytest.mark.parametrize(("adapter", "version"), FROM_WHEELS, ids=[f"{a.name}-{v}" for a, v in FROM_WHEELS])
def test_every_command_of_every_release_on_file_is_taken(adapter: EngineAdapter, version: str) -> None:
    found = check_by_table(adapter, version)
    assert found.problems == ()
    assert found.commands > 50


def test_two_releases_of_each_engine_with_a_wheel_are_on_file() -> None:
    for adapter in ADAPTERS.values():
        assert adapter.option_source is None or len(known_versions(adapter.name)) >= 2, adapter.name


def test_every_value_of_every_field_with_a_list_is_tried() -> None:
    assert set(values_of("quantization")) == set(Quantization)
    assert set(values_of("kv_cache_dtype")) == {"f16", "bf16", "fp8", "fp8_e4m3", "fp8_e5m2", "q8_0", "q4_0"}
    assert set(values_of("speculative_method")) == {"ngram", "draft_model", "eagle", "eagle3", "mtp"}
    assert set(values_of("prefix_cache")) == {True, False}


def test_the_commands_hold_what_a_single_variant_emits() -> None:
    adapter = ADAPTERS["sglang"]
    variant = Variant(
        engine="sglang",
        engine_version="0.5.23",
        model=MODEL,
        quantization=Quantization.NF4,
        hardware="h200-sxm",
    )
    argv = adapter.launch_spec(variant).argv
    assert argv[3:] in {one.arguments for one in emitted_commands(adapter, "0.5.23")}


def test_a_flag_that_only_a_profile_or_the_profiler_emits_is_among_the_options() -> None:
    options = emitted_options(ADAPTERS["vllm"], "0.33.0")
    assert {"--performance-mode", "--profiler-config", "--spec-model", "--model-format"} - options == {"--model-format"}


@pytest.mark.parametrize(
    ("version", "flag"), [("0.32.0", "--no-enable-prefix-caching"), ("0.33.0", "--disable-prefix-caching")]
)
def test_a_flag_is_said_as_its_release_says_it(version: str, flag: str) -> None:
    assert flag in emitted_options(ADAPTERS["vllm"], version)


@pytest.mark.parametrize(("version", "package"), [("0.27.1", "bitsandbytes"), ("0.28.0", "vllm-bnb-plugin")])
def test_bitsandbytes_is_what_the_release_has_of_it(version: str, package: str) -> None:
    variant = Variant(
        engine="vllm", engine_version=version, model=MODEL, quantization=Quantization.NF4, hardware="h100-sxm"
    )
    assert any(one.startswith(f"{package}==") for one in ADAPTERS["vllm"].launch_spec(variant).packages)


@pytest.mark.parametrize("engine", ["vllm", "sglang", "lmdeploy"])
@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"quantization": Quantization.Q4_K_M}, "quantization"),
        ({"quantization": Quantization.FP8_BLOCK, "hardware": "a100-80gb", "engine_backend": None}, "quantization"),
        ({"speculative_method": "eagle3"}, "speculative_method"),
        ({"speculative_model": "some/draft"}, "speculative_model"),
        ({"hardware": "cpu"}, "hardware"),
        ({"tensor_parallel": 4, "expert_parallel": 3}, "expert_parallel"),
        ({"engine_profile": "none-such"}, "engine_profile"),
    ],
)
def test_what_cannot_be_is_refused_by_the_field_that_asks_too_much(
    engine: str, changed: dict[str, object], field: str
) -> None:
    fields = {"engine": engine, "engine_version": "1.0", "model": MODEL, "quantization": Quantization.BF16}
    with pytest.raises(UnsupportedVariant) as refused:
        ADAPTERS[engine].launch_spec(Variant.model_validate(fields | {"hardware": "h100-sxm"} | changed))
    assert refused.value.field == field
