"""Bounds against figures that others published: Lacroix's talk, parameter counts of transformers, data sheets."""

import itertools
import math
from typing import Any

import pytest

from experiments.schema.read import catalog
from tasks.analysis.model_shape import ModelShape, UnknownShape, kept_config, model_shape
from tasks.analysis.roofline import PRECISIONS, Machine, Mix, Roofline, throughput_bound

GB_PER_S, TFLOPS = 1e9, 1e12
LLAMA_7B: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "vocab_size": 32000, "tie_word_embeddings": False,
}  # fmt: skip
QWEN3 = {"model_type": "qwen3", "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936}
OTHERS: dict[str, dict[str, Any]] = {
    "llama-3.2-1b": {
        "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256,
        "tie_word_embeddings": True,
    },
    "qwen3-0.6b": {
        **QWEN3, "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
        "tie_word_embeddings": True,
    },
    "qwen3-8b": {
        **QWEN3, "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32,
        "tie_word_embeddings": False,
    },
    "qwen3-32b": {
        **QWEN3, "hidden_size": 5120, "intermediate_size": 25600, "num_hidden_layers": 64, "num_attention_heads": 64,
        "tie_word_embeddings": False,
    },
}  # fmt: skip
A10 = Machine(1, 600 * GB_PER_S, 24 * 2**30, 125 * TFLOPS, 125 * TFLOPS)
A100_80 = Machine(1, 2039 * GB_PER_S, 80 * 2**30, 312 * TFLOPS, 312 * TFLOPS)
A100_40 = Machine(1, 1555 * GB_PER_S, 40 * 2**30, 312 * TFLOPS, 312 * TFLOPS)
H100 = Machine(1, 3350 * GB_PER_S, 80 * 2**30, 989 * TFLOPS, 989 * TFLOPS)


def shape_of(name: str) -> ModelShape:
    return model_shape(OTHERS[name] if name in OTHERS else catalog("model_shapes")[name]["config"])


def roofline(config: dict[str, Any] | str, machine: Machine, precision: str = "f16", kv: float = 2.0) -> Roofline:
    shape = shape_of(config) if isinstance(config, str) else model_shape(config)
    return Roofline(shape, PRECISIONS[precision], kv, machine)


@pytest.mark.parametrize(
    ("name", "total_b", "active_b", "matmul_active_b", "kv_kib"),
    [
        # transformers on the meta device, in billions; KV in 16 bits
        ("llama-3.2-1b", 1.236, 1.236, 1.236, 32),
        ("llama-3.1-8b-instruct", 8.030, 8.030, 7.505, 128),
        ("llama-3.1-70b-instruct", 70.554, 70.554, 69.503, 320),
        ("qwen3-0.6b", 0.596, 0.596, 0.596, 112),
        ("qwen3-8b", 8.191, 8.191, 7.568, 144),
        ("qwen3-32b", 32.762, 32.762, 31.984, 256),
        ("qwen3-30b-a3b", 30.532, 3.353, 3.042, 96),
        ("qwen3-235b-a22b", 235.094, 22.191, 21.568, 188),
        ("gemma-3-27b-it", 27.009, 27.009, 27.009, 496),
        ("ministral-8b-instruct", 8.020, 8.020, 7.483, 144),
        ("deepseek-v3", 671.026, 37.55, 36.626, 68.625),
        # as their authors publish them
        ("gpt-oss-20b", 20.915, None, 3.61, 48),
        ("gpt-oss-120b", 116.829, None, 5.13, 72),
        ("gemma-3-4b-it", 3.880, None, None, 136),
        ("gemma-3-12b-it", 11.766, None, None, 384),
        ("mistral-small-3.1-24b-instruct", 23.572, None, None, 160),
        ("qwen2.5-7b-instruct", 7.616, None, None, 56),
    ],
)
def test_parameters_and_kv_are_those_of_the_published_models(
    name: str, total_b: float, active_b: float | None, matmul_active_b: float | None, kv_kib: float
) -> None:
    shape = shape_of(name)
    counted = [(shape.total, total_b), (shape.active, active_b), (shape.matmul_active, matmul_active_b)]
    for count, expected in counted:
        assert expected is None or count / 1e9 == pytest.approx(expected, abs=0.006)
    assert Roofline(shape, PRECISIONS["bf16"], 2.0, H100).kv_bytes_per_token / 1024 == kv_kib


def test_lacroix_7b_in_16_bits_keeps_2_gib_a_sequence_of_4096() -> None:
    assert roofline(LLAMA_7B, A10).kv_sequence_bytes(4096) == 2 * 2**30


@pytest.mark.parametrize(("machine", "batch"), [(A10, 5), (A100_80, 33)])
def test_lacroix_largest_batch_is_5_on_an_a10_and_33_on_an_a100(machine: Machine, batch: int) -> None:
    assert roofline(LLAMA_7B, machine).largest_batch(4096, memory_fraction=1.0) == batch


@pytest.mark.parametrize(("machine", "expected"), [(A10, 208), (A100_40, 201), (A100_80, 153), (H100, 295)])
def test_the_critical_batch_is_flops_over_bandwidth_with_dense_peaks(machine: Machine, expected: int) -> None:
    assert roofline(LLAMA_7B, machine).critical_batch == pytest.approx(expected, abs=0.6)


@pytest.mark.parametrize(("machine", "ms"), [(A10, 23.3), (A100_80, 6.9), (H100, 4.2)])
def test_the_latency_floor_of_7_billion_parameters_is_as_lacroix_has_it(machine: Machine, ms: float) -> None:
    """He counts 7 · 10⁹ parameters: 6.74 · 10⁹ less the input embedding are 6.61 · 10⁹."""
    assert 1e3 * roofline(LLAMA_7B, machine).latency_floor_s == pytest.approx(ms * 6.607 / 7.0, rel=0.01)


def test_weight_only_quantization_lowers_the_critical_batch_with_its_bytes() -> None:
    """Layers of 0.5195 bytes: the batch at which arithmetic binds falls nearly fourfold; the output stays at 16."""
    full, quarter = (roofline(LLAMA_7B, H100, precision) for precision in ("bf16", "int4_awq"))
    assert full.critical_batch is not None
    assert quarter.critical_batch is not None
    layers, head = 6_476_271_616, 131_072_000
    expected = full.critical_batch * (layers * 0.51953125 + head * 2) / (2 * (layers + head))
    assert quarter.critical_batch == pytest.approx(expected, rel=1e-3)


def test_experts_touched_grow_with_the_batch_to_all_of_them() -> None:
    """128 experts, 8 a token: 8 at batch 1; 128 (1 - (120/128)²) = 15.5 at 2; nearly all at 256."""
    shape = shape_of("qwen3-30b-a3b")
    a_layer = shape.expert * shape.moe_layers
    assert shape.experts_read(1) / a_layer == pytest.approx(8)
    assert shape.experts_read(2) / a_layer == pytest.approx(15.5)
    assert shape.experts_read(256) / a_layer == pytest.approx(128, abs=0.001)
    dense = roofline("qwen3-30b-a3b", H100, "bf16")
    assert dense.weight_bytes_read(1) / 2 == shape.matmul_active


def test_a_full_window_keeps_no_more() -> None:
    """Gemma-3-27B: 52 layers of 62 look back 1024 tokens, 10 on all; 16 heads of 128, keys and values, 2 bytes."""
    gemma = roofline("gemma-3-27b-it", H100, "bf16")
    a_layer = 2 * 16 * 128 * 2
    assert gemma.kv_sequence_bytes(1024) == 62 * 1024 * a_layer
    assert gemma.kv_sequence_bytes(32768) == (52 * 1024 + 10 * 32768) * a_layer


def test_windows_alternate_where_gpt_oss_has_them() -> None:
    windows = shape_of("gpt-oss-20b").windows
    assert windows == (128, None) * 12
    listed = {**LLAMA_7B, "sliding_window": 5, "layer_types": ["sliding_attention"] * 30 + ["full_attention"] * 2}
    assert model_shape(listed).windows == (5,) * 30 + (None,) * 2


def test_prefill_takes_two_flops_a_parameter_and_token_and_attention() -> None:
    """8B, 1024 tokens: 2 · 6.98e9 · 1024 (no output projection but once) and 32 layers · 4 · 4096 · 1024² / 2."""
    seconds = roofline("llama-3.1-8b-instruct", H100, "bf16").prefill_s(1024)
    layers, head = 6_979_588_096, 525_336_576
    flops = 2 * (layers * 1024 + head) + 32 * 4 * 4096 * 1024 * 1024 / 2
    assert seconds == pytest.approx(flops / 989e12, rel=1e-3)
    assert seconds is not None
    assert 0.0135 < seconds < 0.0165, "2 · active parameters · tokens / FLOPs is 15.5 ms"


def test_a_short_prompt_is_bound_by_reading_the_weights() -> None:
    floor = roofline("llama-3.1-8b-instruct", H100, "bf16")
    assert floor.prefill_s(1) == pytest.approx(floor.latency_floor_s)


def test_a_decode_step_reads_weights_once_and_the_kv_of_each() -> None:
    """8B on an H100, 16 sequences of 2048: 15.01 GB and 16 · 0.25 GiB over 3.35 TB/s."""
    step = roofline("llama-3.1-8b-instruct", H100, "bf16").decode_step_s(16, 2048)
    assert step == pytest.approx((7.5049e9 * 2 + 16 * 2**28) / 3.35e12, rel=1e-3)


def test_quantized_kv_is_half_and_latent_attention_576_values() -> None:
    full, half = (roofline("llama-3.1-8b-instruct", H100, "bf16", kv) for kv in (2.0, 1.0))
    assert half.kv_sequence_bytes(1000) == full.kv_sequence_bytes(1000) / 2
    assert roofline("deepseek-v3", H100, "fp8_block").kv_bytes_per_token == 61 * 576 * 2


@pytest.mark.parametrize(
    ("mix", "in_flight", "largest", "binds"),
    [
        (Mix(128, 128, 1024), 4, 200, "weights bandwidth"),
        (Mix(128, 30000, 1024), 60, 200, "KV bandwidth"),
        (Mix(128, 128, 1024), 900, 30, "KV capacity"),
        (Mix(16, 16, 64), 900, 1000, "decode compute"),
        (Mix(4096, 4096, 16), 64, 200, "prefill compute"),
    ],
)
def test_what_binds_is_named(mix: Mix, in_flight: float, largest: int, binds: str) -> None:
    found = throughput_bound(roofline("llama-3.1-8b-instruct", H100, "bf16"), mix, in_flight=in_flight,
                             largest_batch=largest)  # fmt: skip
    assert found is not None
    assert found[1] == binds


def test_alone_a_request_cannot_beat_the_floor() -> None:
    """One at a time, no prefill to speak of: tokens a second are at most one over the step."""
    line = roofline("llama-3.1-8b-instruct", H100, "bf16")
    found = throughput_bound(line, Mix(1, 1, 1001), in_flight=1, largest_batch=None)
    assert found is not None
    assert found[0] * 1000 == pytest.approx(1 / line.decode_step_s(1, 501.5))


def test_more_in_flight_never_lowers_the_bound() -> None:
    line = roofline("qwen3-30b-a3b", H100, "bf16")
    rates = [throughput_bound(line, Mix(512, 512, 512), in_flight=n, largest_batch=64) for n in range(1, 200)]
    assert all(b[0] >= a[0] * (1 - 1e-12) for a, b in itertools.pairwise(rates) if a and b)


def test_a_simulated_engine_at_the_roofline_attains_all_of_it_and_none_attains_more() -> None:
    """A server that does exactly what the hardware allows: every step as long as its reads."""
    line, batch, steps = roofline("llama-3.1-8b-instruct", H100, "bf16"), 8, 500
    elapsed = sum(line.decode_step_s(batch, 1 + step) for step in range(steps))
    measured = batch * (steps + 1) / elapsed
    found = throughput_bound(line, Mix(0, 0, steps + 1), in_flight=batch, largest_batch=None)
    assert found is not None
    assert measured / (found[0] * (steps + 1)) == pytest.approx(1.0, abs=0.005)


def test_without_a_peak_only_reading_binds() -> None:
    cpu = Machine(0, 10 * GB_PER_S)
    line = roofline(LLAMA_7B, cpu, "q8_0")
    assert (line.critical_batch, line.prefill_s(100), line.largest_batch(10, memory_fraction=1.0)) == (None, None, None)
    assert throughput_bound(line, Mix(100, 100, 1), in_flight=1, largest_batch=None) is None
    assert math.isclose(line.latency_floor_s, 6_607_343_616 * 34 / 32 / 10e9, rel_tol=1e-3)


def test_a_config_that_lacks_something_says_what() -> None:
    for name in ("hidden_size", "num_attention_heads", "vocab_size", "intermediate_size"):
        with pytest.raises(UnknownShape, match=name):
            model_shape({key: value for key, value in LLAMA_7B.items() if key != name})
    with pytest.raises(UnknownShape, match="cannot be understood"):
        model_shape({**LLAMA_7B, "hidden_size": "wide"})


def test_a_multimodal_config_is_read_by_its_text_model() -> None:
    outer = {"model_type": "gemma3", "vision_config": {"hidden_size": 9}, "text_config": dict(LLAMA_7B)}
    assert model_shape(outer) == model_shape(LLAMA_7B)
    assert model_shape(kept_config(outer)) == model_shape(LLAMA_7B)
    assert "vision_config" not in kept_config(outer)
