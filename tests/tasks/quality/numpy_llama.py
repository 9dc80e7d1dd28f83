"""A Llama forward pass in float64, straight from the paper's formulas: an oracle that shares nothing with an engine."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def weights_of(file: Path) -> dict[str, Floats]:
    """Of a safetensors file whose tensors are all BF16."""
    raw = file.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    found = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        assert entry["dtype"] == "BF16"
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        bits = np.frombuffer(raw[begin:end], dtype="<u2").astype(np.uint32) << 16
        found[name] = bits.view(np.float32).astype(np.float64).reshape(entry["shape"])
    return found


def log_probabilities(folder: Path, tokens: list[int]) -> Floats:
    """Row i: the natural log-probabilities of every token after tokens[: i + 1]."""
    config = json.loads((folder / "config.json").read_text())
    weights = weights_of(folder / "model.safetensors")
    hidden = weights["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        own = {name.partition(f"layers.{layer}.")[2]: w for name, w in weights.items() if f"layers.{layer}." in name}
        hidden = hidden + _attention(_normed(hidden, own["input_layernorm.weight"], config), own, config)
        inner = _normed(hidden, own["post_attention_layernorm.weight"], config)
        gate = inner @ own["mlp.gate_proj.weight"].T
        up = inner @ own["mlp.up_proj.weight"].T
        hidden = hidden + (gate / (1 + np.exp(-gate)) * up) @ own["mlp.down_proj.weight"].T
    logits = _normed(hidden, weights["model.norm.weight"], config) @ weights["lm_head.weight"].T
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def _normed(x: Floats, weight: Floats, config: dict[str, float]) -> Floats:
    return np.asarray(x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + config["rms_norm_eps"]) * weight)


def _attention(x: Floats, own: dict[str, Floats], config: dict[str, int]) -> Floats:
    heads, kv_heads, width = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
    n = len(x)
    query, key, value = (
        (x @ own[f"self_attn.{name}_proj.weight"].T).reshape(n, -1, width).transpose(1, 0, 2) for name in "qkv"
    )
    angles = np.arange(n)[:, None] / config["rope_theta"] ** (np.arange(0, width, 2) / width)
    query, key = _rotated(query, angles), _rotated(key, angles)
    key, value = (np.repeat(one, heads // kv_heads, axis=0) for one in (key, value))
    scores = query @ key.transpose(0, 2, 1) / np.sqrt(width)
    scores = np.where(np.tril(np.ones((n, n), dtype=bool)), scores, -np.inf)
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    return np.asarray((shares @ value).transpose(1, 0, 2).reshape(n, -1) @ own["self_attn.o_proj.weight"].T)


def _rotated(x: Floats, angles: Floats) -> Floats:
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
