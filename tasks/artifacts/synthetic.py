"""A synthetic model: a real Llama architecture with seeded random weights, in the Hugging Face layout.

The same source gives the same bytes on every machine. No torch, no safetensors package: the container is an 8-byte
little-endian length, a JSON header padded to 8 bytes, and the tensors one after the other.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.errors import DownloadError
from experiments.schema.model import SyntheticSource
from tasks.artifacts.manifest import Artifact
from tasks.artifacts.pseudo_words import BOS, EOS, IM_END, PAD, SPECIAL_TOKENS, missing_package, trained_tokenizer
from tasks.artifacts.store import ArtifactStore

RECIPE_VERSION = 1
"""A change of any byte that is written changes it."""

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Without the BOS token: the tokenizer's post-processor adds it, and a template that also did would double it."""

DRAWN_AT_ONCE = 2**21
"""Weights: some 50 MB of work space, whatever the size of the model."""

Shape = tuple[int, ...]


def fetch_synthetic(source: SyntheticSource, store: ArtifactStore, *, progress: Callable[[str], None]) -> Artifact:
    """Raises DownloadError where `tokenizers` is not installed."""
    made_from = {
        "source": source.model_dump(mode="json"),
        "recipe_version": RECIPE_VERSION,
        "tokenizers": _tokenizers_version(),
    }

    def make(folder: Path) -> Mapping[str, Any]:
        return _write_model(source, folder, progress)

    needed = weights_bytes(source)
    return store.get_or_make("synthetic", made_from, make, needed_bytes=needed, progress=progress)


def weights_bytes(source: SyntheticSource) -> int:
    """BF16: two bytes a parameter."""
    return 2 * sum(math.prod(shape) for shape in tensor_shapes(source).values())


def tensor_shapes(source: SyntheticSource) -> dict[str, Shape]:
    """By the names of the Hugging Face layout, in the order in which they are drawn and written."""
    hidden, inter = source.hidden_size, source.intermediate_size
    kv_rows = source.kv_heads * (hidden // source.attention_heads)
    shapes: dict[str, Shape] = {"model.embed_tokens.weight": (source.vocab_size, hidden)}
    for layer in range(source.layers):
        block = {
            "input_layernorm": (hidden,),
            "self_attn.q_proj": (hidden, hidden),
            "self_attn.k_proj": (kv_rows, hidden),
            "self_attn.v_proj": (kv_rows, hidden),
            "self_attn.o_proj": (hidden, hidden),
            "post_attention_layernorm": (hidden,),
            "mlp.gate_proj": (inter, hidden),
            "mlp.up_proj": (inter, hidden),
            "mlp.down_proj": (hidden, inter),
        }
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in block.items()}
    return shapes | {"model.norm.weight": (hidden,), "lm_head.weight": (source.vocab_size, hidden)}


def _tokenizers_version() -> str:
    try:
        return version("tokenizers")
    except PackageNotFoundError as error:
        raise DownloadError(
            missing_package("tokenizers", "a synthetic model's tokenizer is trained with it")
        ) from error


def _write_model(source: SyntheticSource, folder: Path, progress: Callable[[str], None]) -> Mapping[str, Any]:
    progress(f"training a byte-level BPE tokenizer of {source.vocab_size} tokens on made-up words")
    (folder / "tokenizer.json").write_text(
        trained_tokenizer(seed=source.seed, vocab_size=source.vocab_size), encoding="utf-8"
    )
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(source))
    _write_json(folder / "config.json", _config(source))
    _write_json(folder / "generation_config.json", _generation_config())
    parameters = weights_bytes(source) // 2
    progress(f"drawing {parameters / 1e6:.1f} million random weights (BF16)")
    _write_weights(source, folder / "model.safetensors")
    return {"parameters": parameters, "dtype": "bfloat16", "bits_per_weight": 16.0}


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def _config(source: SyntheticSource) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": source.vocab_size,
        "hidden_size": source.hidden_size,
        "intermediate_size": source.intermediate_size,
        "num_hidden_layers": source.layers,
        "num_attention_heads": source.attention_heads,
        "num_key_value_heads": source.kv_heads,
        "head_dim": source.hidden_size // source.attention_heads,
        "max_position_embeddings": source.context_length,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "tie_word_embeddings": False,
        "use_cache": True,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
        "torch_dtype": "bfloat16",
    }


def _generation_config() -> dict[str, Any]:
    return {"bos_token_id": BOS, "eos_token_id": [EOS, IM_END], "pad_token_id": PAD, "do_sample": False}


def _tokenizer_config(source: SyntheticSource) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIAL_TOKENS[BOS],
        "eos_token": SPECIAL_TOKENS[EOS],
        "pad_token": SPECIAL_TOKENS[PAD],
        "model_max_length": source.context_length,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }


def _write_weights(source: SyntheticSource, path: Path) -> None:
    shapes = tensor_shapes(source)
    with path.open("wb") as file:
        file.write(_container_header(shapes))
        for tensor in _drawn(source.seed, shapes):
            file.write(tensor.astype("<u2", copy=False).tobytes())


def _container_header(shapes: Mapping[str, Shape]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, shape in shapes.items():
        end = at + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _drawn(seed: int, shapes: Mapping[str, Shape]) -> Iterator[npt.NDArray[np.uint16]]:
    """The weights of all tensors in order, some at a time. Variance 1/columns keeps activations of order 1 at every
    size, so that attention is neither flat nor one-hot; norms are scattered around 1, so that two that are swapped are
    noticed."""
    bits = np.random.PCG64(seed % 2**64)
    for name, shape in shapes.items():
        mean, deviation = _moments(name, shape)
        count = math.prod(shape)
        for first in range(0, count, DRAWN_AT_ONCE):
            yield bf16(np.float32(mean) + np.float32(deviation) * _bell(bits, min(DRAWN_AT_ONCE, count - first)))


def _moments(name: str, shape: Shape) -> tuple[float, float]:
    """Mean and standard deviation."""
    if len(shape) == 1:
        return 1.0, 0.1
    return 0.0, 1.0 if name == "model.embed_tokens.weight" else 1.0 / math.sqrt(shape[1])


def _bell(bits: np.random.PCG64, count: int) -> npt.NDArray[np.float32]:
    """Mean 0, variance 1: the sum of the four 16-bit parts of a raw draw (Irwin-Hall), exact up to one rounding."""
    raw = np.asarray(bits.random_raw(count), dtype=np.uint64)
    parts = raw.view(np.uint16).reshape(count, 4)
    total = parts.sum(axis=1, dtype=np.int32) - 2 * 65535
    unit: npt.NDArray[np.float32] = total.astype(np.float32) * np.float32(1.0 / math.sqrt((2**32 - 1) / 3))
    return unit


def bf16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """The upper half of each float32, rounded to nearest, ties to even."""
    word = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((word + np.uint32(0x7FFF) + ((word >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)
