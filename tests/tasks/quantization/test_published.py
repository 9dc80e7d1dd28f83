"""Configs as they are published on hubs, by their quantization's words, and what a variant may call them."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine_adapters.base import CheckpointSpec
from experiments.errors import QuantizationError
from experiments.schema.variant import Quantization as Q
from tasks.quantization.published import AS_IS, checkpoint_to_load, read_published, recognised

COMPRESSED = CheckpointSpec("compressed_tensors", "w4a16_awq")


def compressed(bits: int, kind: str, strategy: str, activations: int | None, **said: Any) -> dict[str, Any]:
    group: dict[str, Any] = {"targets": ["Linear"], "weights": {"num_bits": bits, "type": kind, "strategy": strategy}}
    if activations is not None:
        group["input_activations"] = {"num_bits": activations, "type": kind, "strategy": "token", "dynamic": True}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}, "ignore": ["lm_head"], **said}


PUBLISHED: dict[str, tuple[dict[str, Any], set[Q]]] = {
    "AutoAWQ gemm": (
        {
            "bits": 4,
            "group_size": 128,
            "modules_to_not_convert": None,
            "quant_method": "awq",
            "version": "gemm",
            "zero_point": True,
        },
        {Q.INT4_AWQ},
    ),
    "GPTQ 4": (
        {"bits": 4, "group_size": 128, "desc_act": False, "sym": True, "damp_percent": 0.1, "quant_method": "gptq"},
        {Q.W4A16},
    ),
    "GPTQ 8": ({"bits": 8, "group_size": 32, "desc_act": True, "quant_method": "gptq"}, {Q.INT8}),
    "GPTQ 3": ({"bits": 3, "group_size": 128, "quant_method": "gptq"}, set()),
    "AutoRound": (
        {"bits": 4, "group_size": 128, "packing_format": "auto_round:auto_gptq", "quant_method": "auto-round"},
        {Q.W4A16},
    ),
    "FP8 in blocks": (
        {
            "activation_scheme": "dynamic",
            "fmt": "e4m3",
            "quant_method": "fp8",
            "weight_block_size": [128, 128],
        },
        {Q.FP8_BLOCK},
    ),
    "FP8 a tensor": ({"activation_scheme": "static", "quant_method": "fp8"}, {Q.FP8}),
    "FBGEMM": ({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0}, {Q.FP8}),
    "gpt-oss": (
        {"modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"], "quant_method": "mxfp4"},
        {Q.MXFP4},
    ),
    "bitsandbytes NF4": (
        {
            "_load_in_4bit": True,
            "load_in_4bit": True,
            "load_in_8bit": False,
            "bnb_4bit_quant_type": "nf4",
            "quant_method": "bitsandbytes",
        },
        {Q.NF4},
    ),
    "bitsandbytes of old, without a method": (
        {"load_in_4bit": True, "load_in_8bit": False, "bnb_4bit_quant_type": "nf4"},
        {Q.NF4},
    ),
    "bitsandbytes FP4": (
        {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4", "quant_method": "bitsandbytes"},
        set(),
    ),
    "bitsandbytes INT8": (
        {
            "load_in_4bit": False,
            "load_in_8bit": True,
            "bnb_4bit_quant_type": "fp4",
            "quant_method": "bitsandbytes",
        },
        {Q.INT8},
    ),
    "compressed-tensors FP8": (compressed(8, "float", "channel", 8, format="float-quantized"), {Q.FP8}),
    "compressed-tensors FP8 in blocks": (compressed(8, "float", "block", 8), {Q.FP8_BLOCK}),
    "compressed-tensors W8A8": (compressed(8, "int", "channel", 8, format="int-quantized"), {Q.W8A8}),
    "compressed-tensors W8A16": (compressed(8, "int", "channel", None), {Q.INT8}),
    "compressed-tensors W4A16": (compressed(4, "int", "group", None, format="pack-quantized"), {Q.INT4_AWQ, Q.W4A16}),
    "compressed-tensors NVFP4": (compressed(4, "float", "tensor_group", 4, format="nvfp4-pack-quantized"), set()),
    "modelopt in config.json": (
        {"quant_algo": "FP8", "quant_method": "modelopt", "producer": {"name": "modelopt"}, "ignore": ["lm_head"]},
        {Q.FP8},
    ),
    "EETQ": ({"quant_method": "eetq", "weights": "int8"}, set()),
    "torchao": ({"quant_method": "torchao", "quant_type": {"default": {"_type": "Int4WeightOnlyConfig"}}}, set()),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_checkpoint_is_the_precision_that_its_config_says(name: str) -> None:
    said, precisions = PUBLISHED[name]
    found = recognised({"model_type": "llama", "quantization_config": said}, {})
    assert found is not None
    assert found.precisions == precisions


@pytest.mark.parametrize(
    ("algorithm", "precisions"),
    [("FP8", {Q.FP8}), ("W4A16_AWQ", {Q.INT4_AWQ}), ("FP8_PB_WO", {Q.FP8_BLOCK}), ("NVFP4", set())],
)
def test_modelopt_is_recognised_by_its_own_file_too(algorithm: str, precisions: set[Q]) -> None:
    """Older exports have no quantization_config."""
    theirs = {
        "producer": {"name": "modelopt", "version": "0.23.0"},
        "quantization": {"quant_algo": algorithm, "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]},
    }
    found = recognised({"model_type": "llama"}, theirs)
    assert found is not None
    assert (found.method, set(found.precisions)) == ("modelopt", precisions)


@pytest.mark.parametrize(
    ("config", "theirs"),
    [
        ({"model_type": "llama"}, {}),
        ({"model_type": "llama", "quantization_config": None}, {}),
        ({}, {"quantization": {"quant_algo": None, "kv_cache_quant_algo": "FP8"}}),
        (
            {"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {}, "kv_cache_scheme": {}}},
            {},
        ),
    ],
    ids=["nothing", "null", "modelopt's KV cache alone", "compressed-tensors' KV cache alone"],
)
def test_weights_in_16_bits_are_not_taken_for_quantized(config: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert recognised(config, theirs) is None


def test_two_groups_of_other_precisions_are_neither() -> None:
    said = compressed(8, "float", "channel", 8)
    said["config_groups"]["group_1"] = compressed(4, "int", "group", None)["config_groups"]["group_0"]
    found = recognised({"quantization_config": said}, {})
    assert found is not None
    assert found.precisions == frozenset()


@pytest.mark.parametrize(
    "config",
    [
        {"text_config": {"quantization_config": {"quant_method": "awq", "bits": 4}}},
        {"compression_config": compressed(4, "int", "group", None)},
    ],
    ids=["a model that also sees", "the old key of compressed-tensors"],
)
def test_a_config_that_lies_elsewhere_is_found(config: dict[str, Any]) -> None:
    found = recognised(config, {})
    assert found is not None
    assert Q.INT4_AWQ in found.precisions


def folder_of(tmp_path: Path, said: dict[str, Any] | None) -> Path:
    config = {"model_type": "llama"} | ({"quantization_config": said} if said else {})
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_the_precision_that_was_asked_for_is_used_as_it_comes(tmp_path: Path) -> None:
    published = read_published(folder_of(tmp_path, PUBLISHED["AutoAWQ gemm"][0]))
    assert checkpoint_to_load(COMPRESSED, Q.INT4_AWQ, published, model="m", engine_quantizes=False) == AS_IS


def test_weights_in_16_bits_are_given_to_the_maker(tmp_path: Path) -> None:
    published = read_published(folder_of(tmp_path, None))
    assert checkpoint_to_load(COMPRESSED, Q.INT4_AWQ, published, model="m", engine_quantizes=False) == COMPRESSED


def test_a_contradiction_names_both_sides_and_what_to_write(tmp_path: Path) -> None:
    published = read_published(folder_of(tmp_path, PUBLISHED["AutoAWQ gemm"][0]))
    for quantization in (Q.FP8, Q.BF16):
        with pytest.raises(QuantizationError) as caught:
            checkpoint_to_load(AS_IS, quantization, published, model="llama-awq", engine_quantizes=True)
        message = str(caught.value)
        assert message.startswith(f"llama-awq: the variant says quantization: {quantization}, and its weights are ")
        assert "AWQ, 4 bits (gemm)" in message
        assert "quantization: int4_awq" in message


def test_what_no_variant_can_name_is_said_so(tmp_path: Path) -> None:
    published = read_published(folder_of(tmp_path, PUBLISHED["torchao"][0]))
    with pytest.raises(QuantizationError, match=r"published as torchao.*No quantization of a variant names that yet"):
        checkpoint_to_load(AS_IS, Q.BF16, published, model="m", engine_quantizes=False)


@pytest.mark.parametrize("spec", [CheckpointSpec("gguf", "Q8_0"), CheckpointSpec("tensorrt_llm", "fp8")])
def test_no_published_checkpoint_stands_in_for_one_that_its_engine_needs(tmp_path: Path, spec: CheckpointSpec) -> None:
    published = read_published(folder_of(tmp_path, PUBLISHED["modelopt in config.json"][0]))
    with pytest.raises(QuantizationError, match=r"made from weights in 16 bits.*unquantized repository"):
        checkpoint_to_load(spec, Q.FP8, published, model="m", engine_quantizes=False)


def test_weights_that_nobody_quantizes_do_not_bear_the_name(tmp_path: Path) -> None:
    """Else BF16 would be measured, and called FP8."""
    published = read_published(folder_of(tmp_path, None))
    with pytest.raises(QuantizationError, match="not published in that, and this engine quantizes none"):
        checkpoint_to_load(AS_IS, Q.FP8_BLOCK, published, model="m", engine_quantizes=False)
    assert checkpoint_to_load(AS_IS, Q.FP8_BLOCK, published, model="m", engine_quantizes=True) == AS_IS
    assert checkpoint_to_load(AS_IS, Q.F16, published, model="m", engine_quantizes=False) == AS_IS


def test_a_config_that_is_cut_short_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"quantization_config": {')
    with pytest.raises(QuantizationError, match=r"config\.json: cannot be understood.*Download it again"):
        read_published(tmp_path)
