"""A quantized checkpoint's logits, computed under its tool's own Python: `reload.py HOW SOURCE FOLDER OUT.npy`.

Where transformers can load a checkpoint it does. Where it cannot (modelopt's exports, TensorRT-LLM's checkpoints) the
tensors are taken back to numbers here, by the layout that those formats have, and put into the model they came from.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

Tensors = dict[str, Any]

OLD_NAMES = {
    "attention.dense": ("self_attn.o_proj",),
    "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "mlp.fc": ("mlp.gate_proj",),
    "mlp.gate": ("mlp.up_proj",),
    "mlp.proj": ("mlp.down_proj",),
}
"""Of TensorRT-LLM's layers to those of transformers: three are one there."""


def logits(model: Any) -> Any:
    ids = torch.randint(5, 2000, (4, 64), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return model.eval()(ids).logits.float()


def loaded(folder: str, **options: Any) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.bfloat16, device_map="cpu", **options)


def unquantized(tensors: Tensors, name: str, weight: str, scale: str, smoothing: str) -> Any:
    """FP8 by one scale; two INT4 rows in a byte, by a scale for each 128 columns and one for each input."""
    packed = tensors[f"{name}.{weight}"]
    scales = tensors[f"{name}.{scale}"].float() if f"{name}.{scale}" in tensors else torch.tensor(1.0)
    if packed.dtype in (torch.uint8, torch.int8):
        low, high = (packed.view(torch.uint8) & 15).to(torch.int8), (packed.view(torch.uint8) >> 4).to(torch.int8)
        rows = torch.stack([low, high], dim=1).reshape(-1, packed.shape[1])
        numbers = torch.where(rows > 7, rows - 16, rows).float() * scales.repeat_interleave(128, dim=1)
    else:
        numbers = packed.float() * scales
    return numbers * tensors[f"{name}.{smoothing}"].float() if f"{name}.{smoothing}" in tensors else numbers


def from_modelopt(source: str, folder: str) -> Any:
    tensors = load_file(Path(folder) / "model.safetensors")
    words = ("weight", "weight_scale", "pre_quant_scale")
    names = [name.removesuffix(".weight") for name in tensors if name.endswith(".weight")]
    return filled(source, {f"{name}.weight": unquantized(tensors, name, *words) for name in names})


def from_tensorrt_llm(source: str, folder: str) -> Any:
    tensors = load_file(Path(folder) / "rank0.safetensors")
    words = ("weight", "weights_scaling_factor", "prequant_scaling_factor")
    config = AutoConfig.from_pretrained(source)
    head, heads, groups = config.head_dim, config.num_attention_heads, config.num_key_value_heads
    found = {
        "lm_head.weight": tensors["lm_head.weight"],
        "model.embed_tokens.weight": tensors["transformer.vocab_embedding.weight"],
        "model.norm.weight": tensors["transformer.ln_f.weight"],
    }
    for layer in range(config.num_hidden_layers):
        old, new = f"transformer.layers.{layer}", f"model.layers.{layer}"
        found[f"{new}.input_layernorm.weight"] = tensors[f"{old}.input_layernorm.weight"]
        found[f"{new}.post_attention_layernorm.weight"] = tensors[f"{old}.post_layernorm.weight"]
        for theirs, ours in OLD_NAMES.items():
            numbers = unquantized(tensors, f"{old}.{theirs}", *words)
            parts = numbers.split([heads * head, groups * head, groups * head]) if len(ours) > 1 else [numbers]
            found |= {f"{new}.{name}.weight": part for name, part in zip(ours, parts, strict=True)}
    return filled(source, found)


def filled(source: str, tensors: Tensors) -> Any:
    model = loaded(source)
    assert set(tensors) == set(model.state_dict())
    model.load_state_dict(tensors)
    return model


def fresh_nf4(source: str, folder: str) -> Any:
    """Quantized in memory, never saved."""
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    return loaded(source, quantization_config=config)


def nf4_saved_after_a_forward_pass(source: str, folder: str) -> Any:
    model = fresh_nf4(source, folder)
    logits(model)
    model.save_pretrained(folder)
    return loaded(folder)


HOW: dict[str, Callable[[str, str], Any]] = {
    "transformers": lambda source, folder: loaded(folder),
    "modelopt": from_modelopt,
    "tensorrt_llm": from_tensorrt_llm,
    "fresh_nf4": fresh_nf4,
    "nf4_after_a_forward_pass": nf4_saved_after_a_forward_pass,
}

if __name__ == "__main__":
    _, how, source, folder, out = sys.argv
    np.save(out, logits(HOW[how](source, folder)).numpy())
