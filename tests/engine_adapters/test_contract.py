"""What holds for every adapter: nothing of a variant is silently ignored, and what a server is told is on file."""

import contextlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from engine_adapters import ADAPTERS
from engine_adapters.base import EngineAdapter, UnsupportedVariant
from experiments.schema.model import Model, SyntheticSource
from experiments.schema.variant import EnvironmentVariable, Quantization, Variant

MODEL = Model(name="m", source=SyntheticSource(kind="synthetic"))


def base(engine: str, engine_version: str, quantization: Quantization, **fields: Any) -> Variant:
    return Variant(engine=engine, engine_version=engine_version, model=MODEL, quantization=quantization, **fields)


BASES: dict[str, Variant] = {
    "llama_cpp": base("llama_cpp", "2026.10.11549", Quantization.F16),
    "transformers_serve": base("transformers_serve", "5.23.0", Quantization.BF16),
    "mlx_lm": base("mlx_lm", "0.32.2", Quantization.BF16),
    "vllm_cpu": base("vllm_cpu", "0.32.0", Quantization.BF16),
    "tensorrt_llm": base("tensorrt_llm", "1.2.1", Quantization.BF16, hardware="h200-sxm", runtime="container"),
    "mlc_llm": base("mlc_llm", "0.20.0", Quantization.BF16, hardware="h200-sxm"),
    "tgi": base("tgi", "3.3.7", Quantization.BF16, hardware="h200-sxm", runtime="container"),
    "vllm": base("vllm", "0.33.0", Quantization.BF16, hardware="h200-sxm"),
    "sglang": base("sglang", "0.5.23", Quantization.BF16, hardware="h200-sxm"),
    "lmdeploy": base("lmdeploy", "0.18.0", Quantization.BF16, hardware="h200-sxm"),
    "endpoint": base("endpoint", "1.0", Quantization.BF16, runtime="endpoint", endpoint_url="http://127.0.0.1:8000"),
}
CHANGES: dict[str, Any] = {
    "engine_version": "2026.9.1",
    "quantization": Quantization.Q4_K_M,
    "hardware": "h100-sxm",
    "runtime": "container",
    "endpoint_url": "http://127.0.0.1:9000",
    "api_key_env": "SERVER_KEY",
    "engine_backend": "another",
    "engine_profile": "tuned",
    "tensor_parallel": 2,
    "pipeline_parallel": 2,
    "expert_parallel": 2,
    "max_model_len": 1234,
    "max_num_seqs": 3,
    "kv_cache_dtype": "q8_0",
    "gpu_memory_fraction": 0.5,
    "prefix_cache": True,
    "chunked_prefill": True,
    "speculative_tokens": 3,
    "speculative_method": "eagle3",
    "speculative_model": "some/draft",
    "cpu_threads": 3,
    "dummy_weights": True,
    "trust_remote_code": True,
    "seed": 99,
    "extra_args": ("--some-flag",),
    "env": (EnvironmentVariable(name="SOME", value="thing"),),
}
OTHERWISE: dict[str, Any] = {"hardware": "cpu", "runtime": "environment"}
"""Where the base is what the change would make of it, or on a GPU: which one it is changes no command."""
NOT_THE_SERVERS = {"engine", "model", "stand_in"}
"""Which adapter is asked, what the download stage hands on as {model}, and what is found under a program's name."""
CASES = [(adapter, field) for adapter in ADAPTERS.values() for field in CHANGES]


def test_every_field_of_a_variant_has_a_change_to_try() -> None:
    assert set(CHANGES) | NOT_THE_SERVERS == set(Variant.model_fields)


def test_every_adapter_has_a_base_to_start_from() -> None:
    assert set(BASES) == set(ADAPTERS)


def whole(adapter: EngineAdapter, variant: Variant) -> dict[str, Any]:
    """All that the adapter says of a variant."""
    build, checkpoint = adapter.build_spec(variant), adapter.checkpoint(variant)
    return {
        "checkpoint": asdict(checkpoint) if checkpoint else None,
        "build": asdict(build) if build else None,
        "launch": asdict(adapter.launch_spec(variant)),
        "dialect": asdict(adapter.request_dialect(variant)),
    }


@pytest.mark.parametrize(("adapter", "field"), CASES, ids=[f"{a.name}-{f}" for a, f in CASES])
def test_no_field_is_silently_ignored(adapter: EngineAdapter, field: str) -> None:
    base = BASES[adapter.name]
    is_there = getattr(base, field) == CHANGES[field] or (field == "hardware" and base.hardware != "cpu")
    changed = base.model_copy(update={field: OTHERWISE[field] if is_there else CHANGES[field]})
    assert changed != base
    try:
        said = whole(adapter, changed)
    except UnsupportedVariant:
        return  # refusing is honest; ignoring is not
    assert said != whole(adapter, base)


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=lambda adapter: adapter.name)
def test_a_way_to_speculate_without_a_number_of_tokens_is_refused(adapter: EngineAdapter) -> None:
    with pytest.raises(UnsupportedVariant) as refused:
        adapter.launch_spec(BASES[adapter.name].model_copy(update={"speculative_method": "ngram"}))
    assert refused.value.field == "speculative_method"


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=lambda adapter: adapter.name)
def test_what_the_server_is_told_is_on_file(adapter: EngineAdapter) -> None:
    """A difference here is what changes on servers; DYNO_WRITE_GOLDEN=1 writes the files anew."""
    file = Path(__file__).parent / "golden" / f"{adapter.name}.json"
    told = json.dumps(whole(adapter, BASES[adapter.name]), indent=1, sort_keys=True) + "\n"
    if os.environ.get("DYNO_WRITE_GOLDEN"):
        file.write_text(told)
    assert told == file.read_text()


@pytest.mark.parametrize("quantization", Quantization)
def test_a_precision_is_a_checkpoint_or_a_refusal_that_names_the_field(quantization: Quantization) -> None:
    for adapter in ADAPTERS.values():
        variant = BASES[adapter.name].model_copy(update={"quantization": quantization})
        with contextlib.suppress(UnsupportedVariant):
            checkpoint = adapter.checkpoint(variant)
            assert checkpoint is None or checkpoint.recipe
            continue
        with pytest.raises(UnsupportedVariant) as refused:
            adapter.checkpoint(variant)
        assert refused.value.field == "quantization"
