"""A Llama model of the Hugging Face layout in GGUF's words: its metadata, its tensors and their order of rows."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.errors import QuantizationError
from tasks.quantization.file_types import FileType, ModelShape, tensor_type
from tasks.quantization.safetensors import Floats, Tensor, tensors_of
from tasks.quantization.tokenizer import Metadata, tokenizer_metadata

ARCHITECTURE = "LlamaForCausalLM"
CHUNK_BYTES = 64 * 2**20
"""Of float32 held at a time, so that a model of any size is converted in little memory."""

NEEDED_KEYS = (
    "architectures",
    "vocab_size",
    "max_position_embeddings",
    "hidden_size",
    "num_hidden_layers",
    "intermediate_size",
    "num_attention_heads",
    "rms_norm_eps",
)

NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """A tensor of the file to make: its GGUF name and type, and how its rows are read.

    `heads_of` is the rows of a head where llama.cpp wants them in another order, else 0. `constant` holds a tensor
    that is computed from the configuration.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    source: Tensor | None = None
    heads_of: int = 0
    constant: tuple[float, ...] = ()

    def chunks(self) -> Iterator[Floats]:
        """All rows in order, some at a time."""
        step = self.rows_at_a_time()
        for first in range(0, self.shape[0], step):
            yield self.rows(first, min(first + step, self.shape[0]))

    def rows(self, first: int, last: int) -> Floats:
        """In llama.cpp's order; edges of permuted tensors fall between heads. Raises QuantizationError for NaN."""
        if self.source is None:
            return np.array(self.constant[first:last], dtype=np.float32)
        rows = self.source.rows(first, last)
        if not np.isfinite(rows).all():
            raise QuantizationError(f"{self.source.file}: {self.source.name} holds NaN or infinite weights")
        return interleaved(rows, self.heads_of) if self.heads_of else rows

    def rows_at_a_time(self) -> int:
        """A whole number of heads."""
        width = 4 * math.prod(self.shape[1:])
        unit = self.heads_of or 1
        return max(unit, CHUNK_BYTES // width // unit * unit)


def interleaved(rows: Floats, head_rows: int) -> Floats:
    """From rotary pairs (i, i + d/2) of each head, as transformers has them, to llama.cpp's (2i, 2i + 1)."""
    heads = len(rows) // head_rows
    halves = rows.reshape(heads, 2, head_rows // 2, -1)
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows.shape)


@dataclass(frozen=True, slots=True)
class LlamaModel:
    """A folder whose config.json says what this module can convert; made by `read_llama`."""

    folder: Path
    config: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def head_rows(self) -> int:
        """The dimension of a head."""
        return int(self.config.get("head_dim") or self.config["hidden_size"] // self.config["num_attention_heads"])

    @property
    def kv_heads(self) -> int:
        """As many as query heads where the config does not say."""
        return int(self.config.get("num_key_value_heads") or self.config["num_attention_heads"])

    @property
    def rope(self) -> dict[str, Any]:
        """`rope_theta`, `rope_type` and what belongs to it, from either of the two places that configs use."""
        scaling = self.config.get("rope_parameters") or self.config.get("rope_scaling") or {}
        kind = scaling.get("rope_type") or scaling.get("type") or "default"
        theta = scaling.get("rope_theta") or self.config.get("rope_theta") or 10000.0
        return {**scaling, "rope_type": kind, "rope_theta": float(theta)}

    def metadata(self, file_type: FileType) -> Metadata:
        """All keys of the file. Whole numbers become UINT32, fractions FLOAT32."""
        config = self.config
        return {
            "general.architecture": "llama",
            "general.type": "model",
            "general.file_type": file_type.number,
            "general.quantization_version": 2,
            "llama.vocab_size": config["vocab_size"],
            "llama.context_length": config["max_position_embeddings"],
            "llama.embedding_length": config["hidden_size"],
            "llama.block_count": config["num_hidden_layers"],
            "llama.feed_forward_length": config["intermediate_size"],
            "llama.attention.head_count": config["num_attention_heads"],
            "llama.attention.head_count_kv": self.kv_heads,
            "llama.attention.key_length": self.head_rows,
            "llama.attention.value_length": self.head_rows,
            "llama.attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
            **self._rope_metadata(),
            **tokenizer_metadata(self.folder, vocab_size=config["vocab_size"]),
        }

    def plans(self, file_type: FileType) -> list[Plan]:
        """Every tensor of the file, in its order. Raises QuantizationError where one is missing or left over."""
        named = self._gguf_names()
        missing = sorted(set(named) - set(self.tensors))
        unknown = sorted(name for name in set(self.tensors) - set(named) if not name.endswith("rotary_emb.inv_freq"))
        if missing or unknown:
            raise QuantizationError(
                f"{self.folder}: these are not the tensors of a {ARCHITECTURE}: "
                f"missing {_some(missing)}, not understood {_some(unknown)}"
            )
        shape = ModelShape(
            layers=self.config["num_hidden_layers"],
            has_output="lm_head.weight" in named,
            grouped_query=self.kv_heads != self.config["num_attention_heads"],
        )
        plans = [self._plan(self.tensors[ours], gguf_name, file_type, shape) for ours, gguf_name in named.items()]
        return [*self._rope_factors(), *plans]

    def _plan(self, tensor: Tensor, name: str, file_type: FileType, shape: ModelShape) -> Plan:
        permuted = name.endswith(("attn_q.weight", "attn_k.weight"))
        kind = tensor_type(file_type, name, tensor.shape, shape)
        return Plan(name, kind, tensor.shape, tensor, heads_of=self.head_rows if permuted else 0)

    def _gguf_names(self) -> dict[str, str]:
        """GGUF's name for each of the checkpoint's. A tied head has no tensor of its own, even where it is stored."""
        names = {"model.embed_tokens.weight": "token_embd.weight"}
        for layer in range(self.config["num_hidden_layers"]):
            for ours, theirs in NAMES.items():
                names[f"model.layers.{layer}.{ours}.weight"] = f"blk.{layer}.{theirs}.weight"
        names["model.norm.weight"] = "output_norm.weight"
        if not self.config.get("tie_word_embeddings", False):
            names["lm_head.weight"] = "output.weight"
        return names

    def _rope_metadata(self) -> Metadata:
        rope = self.rope
        keys: Metadata = {"llama.rope.dimension_count": self.head_rows, "llama.rope.freq_base": rope["rope_theta"]}
        if rope["rope_type"] == "linear":
            keys |= {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": float(rope["factor"])}
        return keys

    def _rope_factors(self) -> list[Plan]:
        """Llama 3.1 stretches its slow rotations: llama.cpp reads the divisor of each frequency from a tensor."""
        if self.rope["rope_type"] != "llama3":
            return []
        factors = llama3_rope_factors(self.rope, dimensions=self.head_rows)
        return [Plan("rope_freqs.weight", "F32", (len(factors),), constant=factors)]


def llama3_rope_factors(rope: dict[str, Any], *, dimensions: int) -> tuple[float, ...]:
    """1 for wavelengths under original_max_position_embeddings / high_freq_factor, `factor` over that
    / low_freq_factor, and between them 1 / ((1 − s) / factor + s) with s linear in the inverse wavelength
    (transformers, modeling_rope_utils, "llama3")."""
    context = rope["original_max_position_embeddings"]
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]

    def divisor(index: int) -> float:
        wavelength = 2 * math.pi * rope["rope_theta"] ** (2 * index / dimensions)
        smooth = (context / wavelength - low) / (high - low)
        smooth = min(1.0, max(0.0, smooth))
        return float(1 / ((1 - smooth) / factor + smooth))

    return tuple(float(np.float32(divisor(index))) for index in range(dimensions // 2))


def read_llama(folder: Path) -> LlamaModel:
    """Raises QuantizationError, which names what is supported, for everything else than a plain Llama."""
    config = _config(folder)
    _refuse_other_models(folder, config)
    tensors = tensors_of(folder)
    if config.get("tie_word_embeddings", False):
        tensors.pop("lm_head.weight", None)
    return LlamaModel(folder, config, tensors)


def _config(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "config.json").read_bytes()))
    except (OSError, ValueError) as error:
        raise QuantizationError(f"{folder / 'config.json'}: cannot be read: {error}") from error


def _refuse_other_models(folder: Path, config: dict[str, Any]) -> None:
    missing = [key for key in NEEDED_KEYS if config.get(key) is None]
    if missing:
        raise QuantizationError(f"{folder / 'config.json'}: it lacks {', '.join(missing)}")
    rope = LlamaModel(folder, config, {}).rope["rope_type"]
    reasons = {
        f"its architecture is {config.get('architectures')}": config.get("architectures") != [ARCHITECTURE],
        "its weights are already quantized": bool(config.get("quantization_config")),
        "its attention has biases": bool(config.get("attention_bias")),
        "its MLP has biases": bool(config.get("mlp_bias")),
        f"its activation is {config.get('hidden_act')}": config.get("hidden_act", "silu") != "silu",
        f"its RoPE is scaled by {rope}": rope not in ("default", "linear", "llama3"),
    }
    for reason, holds in reasons.items():
        if holds:
            raise QuantizationError(
                f"{folder / 'config.json'}: {reason}. GGUF files are made from {ARCHITECTURE} in BF16, F16 or F32, "
                "without biases, with plain, linear or llama3 RoPE."
            )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3]) or "nothing"
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
