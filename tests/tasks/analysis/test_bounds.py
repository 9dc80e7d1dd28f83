"""Bounds of results: from what a cell has on record to the share that each point attained, or the reason for none."""

from collections.abc import Callable
from typing import Any

import pytest

from experiments.schema.hardware import Hardware
from experiments.schema.model import Model, SyntheticSource
from experiments.schema.read import catalog
from experiments.schema.result import CellResult, CellState, PointResult
from experiments.schema.variant import Quantization, Variant
from experiments.schema.workload import Workload
from tasks.analysis.bounds import with_bounds

LLAMA_8B = catalog("model_shapes")["llama-3.1-8b-instruct"]["config"]
H100 = Hardware.model_validate(catalog("hardware")["h100-sxm"])
CPU = Hardware(name="cpu", gpus=0)
MEASURED = [
    {"working_set_bytes": 2.0 * 2**20, "gb_per_s": 50.0},
    {"working_set_bytes": 128.0 * 2**20, "gb_per_s": 12.0},
    {"working_set_bytes": 512.0 * 2**20, "gb_per_s": 10.0},
]

MakePoint = Callable[..., PointResult]


@pytest.fixture
def cell(point: MakePoint) -> Callable[..., CellResult]:
    """1000 tokens in, 101 out; ten in flight give 1000 output tokens/s."""

    def make(**changes: Any) -> CellResult:
        seen = point(0, "saturation", 10)
        figures = {
            "mean_concurrency": 10.0, "output_tokens_per_s": 1000.0, "prompt_tokens": 50_000, "output_tokens": 5050,
            "outcomes": {"completed": 50}, "cache_hit_ratio": 0.0,
        }  # fmt: skip
        summary = seen.summary.model_copy(update=figures | changes.pop("summary", {}))
        fields: dict[str, Any] = {"engine": "vllm", "engine_version": "1", "quantization": Quantization.BF16}
        model = Model(name="m", source=SyntheticSource(kind="synthetic"))
        variant = Variant(**{**fields, "model": model, "hardware": "h100-sxm", **changes})
        return CellResult(
            cell_id="c", experiment="e", campaign="e-1", launch=1, variant=variant, state=CellState.MEASURED,
            workload=Workload(name="w", prompt_tokens=1000, output_tokens=101),
            points=(seen.model_copy(update={"summary": summary}),),
        )  # fmt: skip

    return make


def bound_of(cell: CellResult, hardware: Hardware = H100, config: Any = LLAMA_8B, bandwidth: Any = ()) -> Any:
    found = with_bounds(cell, hardware, config=config, bandwidth=bandwidth)
    return found.points[0].bound


def test_the_share_is_measured_over_what_so_many_in_flight_allow(cell: Callable[..., CellResult]) -> None:
    """A step reads 15.01 GB and ten sequences of 1050.5 tokens at 128 KiB; prefill gives the first of 101 tokens."""
    bound = bound_of(cell())
    step_s = (7_504_924_672 * 2 + 10 * 1050.5 * 131072) / 3.35e12
    tokens_per_s = 101 / (100 / 10 * step_s)
    compute_s = 2 * 6_979_588_096 * 1000 / 989e12
    assert compute_s < 10 * step_s, "reading binds, not the prefill"
    assert bound.bound_tokens_per_s == pytest.approx(tokens_per_s, rel=1e-6)
    assert bound.share == pytest.approx(1000 / tokens_per_s, rel=1e-6)
    assert (bound.binds, bound.batch, bound.context_tokens) == ("weights bandwidth", 10, 1050.5)
    assert bound.floor_ms == pytest.approx(4.48, abs=0.01)


def test_what_a_cache_answered_is_not_computed(cell: Callable[..., CellResult]) -> None:
    heavy = {"mean_concurrency": 300.0, "prompt_tokens": 50 * 8000}
    cold, hot = (bound_of(cell(summary=heavy | {"cache_hit_ratio": ratio})) for ratio in (0.0, 0.99))
    assert cold.binds == "prefill compute"
    assert hot.bound_tokens_per_s > 2 * cold.bound_tokens_per_s


def test_more_in_flight_than_memory_holds_is_bound_by_kv_capacity(cell: Callable[..., CellResult]) -> None:
    """(0.9 · 80 GiB − 16.06 GB) / (1101 tokens · 128 KiB) = 424 sequences."""
    found = with_bounds(cell(), H100, config=LLAMA_8B, bandwidth=())
    assert found.bounds is not None
    assert found.bounds.largest_batch == 424
    crowded = cell(gpu_memory_fraction=0.25, summary={"mean_concurrency": 200.0})
    assert (bound_of(crowded).binds, bound_of(crowded).batch) == ("KV capacity", 37)


def test_eight_gpus_have_eight_times_the_bandwidth_and_one_of_them_has_not(cell: Callable[..., CellResult]) -> None:
    eight = Hardware.model_validate(catalog("hardware")["h100-sxm-x8"])
    one, all_ = (bound_of(cell(tensor_parallel=n), eight) for n in (1, 8))
    assert one.floor_ms == pytest.approx(8 * all_.floor_ms)


def test_a_gpu_without_fp8_multiplies_in_bf16(cell: Callable[..., CellResult]) -> None:
    a100 = Hardware.model_validate(catalog("hardware")["a100-80gb"])
    found = with_bounds(cell(quantization=Quantization.FP8), a100, config=LLAMA_8B, bandwidth=())
    assert found.bounds is not None
    assert found.bounds.tflops == 312
    found = with_bounds(cell(quantization=Quantization.FP8), H100, config=LLAMA_8B, bandwidth=())
    assert found.bounds is not None
    assert found.bounds.tflops == 1979


def test_a_checkpoint_that_comes_quantized_says_its_own_precision(cell: Callable[..., CellResult]) -> None:
    config = {**LLAMA_8B, "quantization_config": {"quant_method": "fp8"}}
    found = with_bounds(cell(), H100, config=config, bandwidth=())
    assert found.bounds is not None
    assert found.bounds.weights == "fp8_block"
    assert found.bounds.weight_bytes == pytest.approx(6_979_588_096 + 2 * 2 * 525_336_576, rel=1e-3)


def test_on_a_cpu_the_bound_is_that_of_memory_as_large_as_the_weights(cell: Callable[..., CellResult]) -> None:
    """8 GB of weights are read from memory; 7 MB of a tiny model from a cache, which is faster."""
    tiny = {**LLAMA_8B, "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4,
            "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 8192}  # fmt: skip
    for config, speed in ((LLAMA_8B, 10.0), (tiny, 50.0)):
        found = with_bounds(cell(), CPU, config=config, bandwidth=MEASURED)
        assert found.bounds is not None
        assert found.bounds.bandwidth_gb_per_s == speed
        assert (found.bounds.gpus, found.bounds.critical_batch, found.bounds.prefill_ms) == (0, None, None)
        assert set(found.bounds.reasons) == {"tflops", "critical_batch", "prefill_ms", "largest_batch"}


@pytest.mark.parametrize(
    ("changes", "config", "hardware", "reason"),
    [
        ({}, None, H100, "config.json is not known"),
        ({}, {"hidden_size": 1}, H100, "config.json has no num_hidden_layers"),
        ({"speculative_tokens": 3}, LLAMA_8B, H100, "speculative decoding"),
        ({"runtime": "endpoint"}, LLAMA_8B, CPU, "on what it runs is not known"),
        ({}, LLAMA_8B, CPU, "was not measured: dyno doctor"),
        ({}, LLAMA_8B, Hardware(name="new-gpu", gpus=1), "does not say the memory bandwidth of new-gpu"),
    ],
)
def test_where_there_is_no_bound_the_reason_is_told(
    cell: Callable[..., CellResult], changes: dict[str, Any], config: Any, hardware: Hardware, reason: str
) -> None:
    found = with_bounds(cell(**changes), hardware, config=config, bandwidth=())
    assert found.bounds is None
    assert reason in found.bound_reason
    assert found.points[0].bound is not None
    assert reason in found.points[0].bound.reason
    assert found.points[0].bound.share is None


def test_an_invalid_trial_attains_nothing(cell: Callable[..., CellResult]) -> None:
    bound = bound_of(cell(summary={"valid": False, "invalid_reasons": ("late",)}))
    assert (bound.share, bound.reason) == (None, "the trial is invalid, or its throughput was not measured")
