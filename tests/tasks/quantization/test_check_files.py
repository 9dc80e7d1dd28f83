"""The traps of quantized checkpoints, each on small files of our own: whole ones pass, and each fault is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.errors import QuantizationError
from tasks.quantization.check_files import check_checkpoint
from tasks.quantization.rope import rope_of
from tasks.quantization.source_files import adopt_source_config, adopt_source_files
from tests.tasks.quantization.conftest import write_safetensors

LLAMA3 = {
    "factor": 8.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}
SOURCE = {"model_type": "llama", "rope_theta": 500000.0, "rope_scaling": LLAMA3, "tie_word_embeddings": False}
TOKENIZER = '{"truncation": null, "model": {"type": "BPE"}}'
OWN = {"tokenizer.json": TOKENIZER, "tokenizer_config.json": '{"tokenizer_class": "PreTrainedTokenizerFast"}'}
GROUP = {
    "targets": ["Linear"],
    "weights": {"num_bits": 8, "type": "int", "strategy": "channel"},
    "input_activations": {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True},
}
WHOLE: dict[tuple[str, str], dict[str, Any]] = {
    ("compressed_tensors", "w8a8"): {
        "quantization_config": {
            "quant_method": "compressed-tensors",
            "format": "int-quantized",
            "config_groups": {"group_0": GROUP},
        }
    },
    ("modelopt", "fp8"): {"quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8"}},
    ("bitsandbytes", "nf4"): {
        "quantization_config": {
            "quant_method": "bitsandbytes",
            "load_in_4bit": True,
            "load_in_8bit": False,
            "bnb_4bit_quant_type": "nf4",
        }
    },
    ("bitsandbytes", "int8"): {
        "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": False, "load_in_8bit": True}
    },
}
TENSORRT_LLM = {
    "architecture": "LlamaForCausalLM",
    "rotary_base": 500000.0,
    "rotary_scaling": LLAMA3,
    "quantization": {"quant_algo": "FP8"},
    "mapping": {"world_size": 1, "tp_size": 1},
}
Change = Callable[[Path], object]


def change(name: str, **fields: Any) -> Change:
    def apply(folder: Path) -> None:
        said = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
        (folder / name).write_text(json.dumps(said | fields))

    return apply


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for name, text in {**OWN, "config.json": json.dumps(SOURCE), "chat_template.jinja": "{{ messages }}"}.items():
        (folder / name).write_text(text)
    return folder


def tensors(folder: Path, name: str = "model.safetensors", scale: float = 0.5) -> None:
    weight, scales = np.ones((4, 4), np.float32), np.full((4, 1), scale, np.float32)
    write_safetensors(folder / name, {"a.weight": weight, "a.weight_scale": scales}, "F32")


def made(source: Path, kind: tuple[str, str]) -> Path:
    """As a tool leaves it behind, once the source's own files are taken over."""
    folder = source.parent / "made"
    folder.mkdir()
    if kind[0] == "tensorrt_llm":
        (folder / "config.json").write_text(json.dumps(TENSORRT_LLM))
        tensors(folder, "rank0.safetensors")
    else:
        (folder / "config.json").write_text(json.dumps(WHOLE[kind]))
        (folder / "hf_quant_config.json").write_text('{"quantization": {"quant_algo": "FP8"}}')
        tensors(folder)
        adopt_source_config(source, folder)
    adopt_source_files(source, folder)
    return folder


@pytest.mark.parametrize("kind", [*WHOLE, ("tensorrt_llm", "fp8")], ids="/".join)
def test_a_whole_checkpoint_passes(source: Path, kind: tuple[str, str]) -> None:
    facts = check_checkpoint(source, made(source, kind), *kind)
    assert facts == {"elements_by_type": {"F32": 20}, "scales": 1}


FAULTS: dict[str, tuple[tuple[str, str], Change, str]] = {
    "a truncation left in the tokenizer": (
        ("compressed_tensors", "w8a8"),
        change("tokenizer.json", truncation={"max_length": 128}),
        r"tokenizer\.json.*not the model's own file, byte for byte",
    ),
    "a tokenizer of the tool's own": (
        ("modelopt", "fp8"),
        change("special_tokens_map.json", eos_token="</s>"),
        r"special_tokens_map\.json.*not the model's own file",
    ),
    "a chat template that is gone": (
        ("bitsandbytes", "nf4"),
        lambda folder: (folder / "chat_template.jinja").unlink(),
        r"chat_template\.jinja.*not the model's own file",
    ),
    "rotary embeddings in new words only": (
        ("modelopt", "fp8"),
        lambda folder: (folder / "config.json").write_text(
            json.dumps(
                {
                    "rope_parameters": {"rope_theta": 500000.0, **LLAMA3},
                    "quantization_config": {"quant_method": "modelopt"},
                }
            )
        ),
        "rope_theta is missing, for which transformers 4 takes its default",
    ),
    "another rotary base": (
        ("bitsandbytes", "int8"),
        change("config.json", rope_theta=10000.0),
        r"rotary embeddings are \(10000\.0",
    ),
    "a lost rotary scaling": (("modelopt", "fp8"), change("config.json", rope_scaling=None), "rotary embeddings are"),
    "TensorRT-LLM without a rotary base": (
        ("tensorrt_llm", "fp8"),
        lambda folder: (folder / "config.json").write_text(
            json.dumps({key: value for key, value in TENSORRT_LLM.items() if key != "rotary_base"})
        ),
        r"rotary_base is None, and the model's rope_theta 500000\.0",
    ),
    "TensorRT-LLM without the scaling": (
        ("tensorrt_llm", "fp8"),
        change("config.json", rotary_scaling=None),
        "rotary_scaling is None, and the model's rope_scaling",
    ),
    "TensorRT-LLM in another precision": (
        ("tensorrt_llm", "fp8"),
        change("config.json", quantization={"quant_algo": None}),
        "quant_algo is None, and fp8 was asked for",
    ),
    "TensorRT-LLM cut for other ranks": (
        ("tensorrt_llm", "fp8"),
        lambda folder: tensors(folder, "rank1.safetensors"),
        r"there are \['rank0\.safetensors', 'rank1\.safetensors'\]",
    ),
    "a group by another name": (
        ("compressed_tensors", "w8a8"),
        change(
            "config.json",
            quantization_config={
                **WHOLE["compressed_tensors", "w8a8"]["quantization_config"],
                "config_groups": {"W8A8": GROUP},
            },
        ),
        r"config_groups are \['W8A8'\], not group_0 of all Linear",
    ),
    "a group of other targets": (
        ("compressed_tensors", "w8a8"),
        change(
            "config.json",
            quantization_config={
                **WHOLE["compressed_tensors", "w8a8"]["quantization_config"],
                "config_groups": {"group_0": GROUP | {"targets": ["LlamaMLP"]}},
            },
        ),
        "not group_0 of all Linear",
    ),
    "weights of another scheme": (
        ("compressed_tensors", "w8a8"),
        change(
            "config.json",
            quantization_config={
                **WHOLE["compressed_tensors", "w8a8"]["quantization_config"],
                "format": "pack-quantized",
            },
        ),
        "and w8a8 is",
    ),
    "modelopt in another precision": (
        ("modelopt", "fp8"),
        change("hf_quant_config.json", quantization={"quant_algo": "NVFP4"}),
        "modelopt NVFP4, and fp8 was asked for",
    ),
    "FP4 for NF4": (
        ("bitsandbytes", "nf4"),
        change(
            "config.json",
            quantization_config=WHOLE["bitsandbytes", "nf4"]["quantization_config"] | {"bnb_4bit_quant_type": "fp4"},
        ),
        "and nf4 was asked for",
    ),
    "nothing quantized": (
        ("modelopt", "fp8"),
        lambda folder: write_safetensors(
            folder / "model.safetensors", {"a.weight": np.ones((4, 4), np.float32)}, "F32"
        ),
        "no tensor of it is a scale",
    ),
    "scales that are no numbers": (
        ("compressed_tensors", "w8a8"),
        lambda folder: tensors(folder, scale=float("nan")),
        r"a\.weight_scale holds what is no scale",
    ),
    "weights cut short": (
        ("bitsandbytes", "int8"),
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-8]),
        "does not lie whole in the file",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_named(source: Path, name: str) -> None:
    kind, spoil, message = FAULTS[name]
    folder = made(source, kind)
    check_checkpoint(source, folder, *kind)
    spoil(folder)
    with pytest.raises(QuantizationError, match=message):
        check_checkpoint(source, folder, *kind)


def test_what_a_tool_makes_of_tokenizer_and_templates_is_thrown_away(source: Path) -> None:
    folder = source.parent / "made"
    folder.mkdir()
    tensors(folder)
    (folder / "recipe.yaml").write_text("the tool's own account\n")
    (folder / "tokenizer.json").write_text('{"truncation": {"max_length": 128}}')
    (folder / "special_tokens_map.json").write_text("{}")
    adopt_source_files(source, folder)
    assert (folder / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    assert {path.name for path in folder.iterdir()} == {
        *OWN,
        "chat_template.jinja",
        "model.safetensors",
        "recipe.yaml",
    }


def test_the_config_is_the_sources_with_the_quantization_and_old_words_for_rope(source: Path) -> None:
    """Transformers 5 writes, and 4 reads: the base would be 10000 there."""
    new = {"model_type": "llama", "rope_parameters": {"rope_theta": 500000.0, **LLAMA3}, "eos_token_id": [1, 2]}
    (source / "config.json").write_text(json.dumps(new))
    folder = source.parent / "made"
    folder.mkdir()
    theirs = {"model_type": "llama", "eos_token_id": 1, "quantization_config": {"quant_method": "x"}}
    (folder / "config.json").write_text(json.dumps(theirs))
    adopt_source_config(source, folder)
    assert json.loads((folder / "config.json").read_text()) == {
        **new,
        "quantization_config": {"quant_method": "x"},
        "rope_theta": 500000.0,
        "rope_scaling": LLAMA3,
    }


@pytest.mark.parametrize(
    ("config", "rope"),
    [
        ({"rope_theta": 10000, "rope_scaling": None}, (10000.0, None)),
        (
            {"rope_theta": 1e6, "rope_scaling": {"type": "linear", "factor": 2.0}},
            (1e6, {"type": "linear", "factor": 2.0}),
        ),
        ({"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}, (5e5, None)),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {}}}, (None, None)),
        ({}, (None, None)),
    ],
)
def test_rotary_embeddings_are_read_in_either_words(config: dict[str, Any], rope: object) -> None:
    assert rope_of(config) == rope
