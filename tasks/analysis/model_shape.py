"""A model's size and shape from its config.json: which parameters there are, which a token passes, what KV it leaves.

Dense and mixture-of-experts, grouped-query and latent (MLA) attention, sliding windows. Counted by the layers that the
architectures of Llama, Mistral, Qwen, Gemma, DeepSeek and gpt-oss have; vision towers are not counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Config = Mapping[str, Any]

KEYS = frozenset(
    {
        "model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "head_dim", "vocab_size", "tie_word_embeddings", "attention_bias", "sliding_window",
        "sliding_window_pattern", "_sliding_window_pattern", "use_sliding_window", "max_window_layers", "layer_types",
        "num_experts", "num_local_experts", "n_routed_experts", "num_experts_per_tok", "moe_intermediate_size",
        "n_shared_experts", "shared_expert_intermediate_size", "first_k_dense_replace", "decoder_sparse_step",
        "mlp_only_layers", "kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim",
        "text_config", "quantization_config", "quant_method",
    }
)  # fmt: skip
"""Of config.json, all that is read here; the rest need not be kept."""


class UnknownShape(ValueError):
    """A config.json that lacks what the counts need; the message names it."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Counts of parameters. `every_step` are those of all layers that each decode step reads, experts apart;
    `output_head` are the output projection's, whether or not it is the embedding too; `expert` is one expert's.

    `windows` has for each layer the tokens that it looks back on, None where that is all of them. `kv_values` are the
    numbers that a token leaves in a layer's cache; `attention_flops` what a layer spends for each pair of tokens.
    """

    embedding: int
    output_head: int
    is_tied: bool
    every_step: int
    expert: int
    experts: int
    experts_per_token: int
    moe_layers: int
    kv_values: int
    attention_flops: int
    windows: tuple[int | None, ...]
    weight_format: str = ""

    @property
    def total(self) -> int:
        """All parameters, a tied embedding once."""
        tables = self.embedding + (0 if self.is_tied else self.output_head)
        return tables + self.every_step + self.moe_layers * self.experts * self.expert

    @property
    def active(self) -> int:
        """Those that one token passes or looks up."""
        return self.matmul_active + (0 if self.is_tied else self.embedding)

    @property
    def matmul_active(self) -> int:
        """Those that one token is multiplied with: the input embedding is only looked up."""
        return self.output_head + self.every_step + self.moe_layers * self.experts_per_token * self.expert

    def experts_read(self, batch: float) -> float:
        """Parameters of experts that a step of `batch` tokens reads, expected where each token draws its experts evenly
        and by itself: E (1 - (1 - k/E)^B) a layer. A router with favourites reads fewer."""
        if not self.experts:
            return 0.0
        touched: float = self.experts * (1 - (1 - self.experts_per_token / self.experts) ** batch)
        return self.moe_layers * touched * self.expert

    def kv_tokens(self, context_tokens: float) -> float:
        """Tokens that are cached for a sequence of that length, summed over layers."""
        return sum(context_tokens if window is None else min(window, context_tokens) for window in self.windows)

    def attention_pairs(self, prompt_tokens: float) -> float:
        """Pairs of tokens that look at each other in the prefill of a prompt, summed over layers; causal."""
        return sum(_pairs(prompt_tokens, window) for window in self.windows)


def _pairs(tokens: float, window: int | None) -> float:
    if window is None or tokens <= window:
        return tokens * tokens / 2
    return window * window / 2 + (tokens - window) * window


def kept_config(config: Config) -> dict[str, Any]:
    """The part of a config.json that is read here, for the record."""
    kept = {name: value for name, value in config.items() if name in KEYS}
    for inner in ("text_config", "quantization_config"):
        if isinstance(kept.get(inner), Mapping):
            kept[inner] = kept_config(kept[inner])
    return kept


def model_shape(config: Config) -> ModelShape:
    """Raises UnknownShape."""
    text = config["text_config"] if isinstance(config.get("text_config"), Mapping) else config
    text = {"quantization_config": config.get("quantization_config"), **text}
    try:
        return _shape(text)
    except KeyError as error:
        raise UnknownShape(f"config.json has no {error.args[0]}") from None
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise UnknownShape(f"config.json cannot be understood: {error}") from error


def _shape(config: Config) -> ModelShape:
    hidden, layers, vocabulary = config["hidden_size"], config["num_hidden_layers"], config["vocab_size"]
    experts = int(_first(config, "num_experts", "num_local_experts", "n_routed_experts") or 0)
    moe_layers = sum(_is_moe(config, layer) for layer in range(layers)) if experts else 0
    attention, kv_values, attention_flops = _latent(config) if config.get("kv_lora_rank") else _grouped(config)
    norms = (4 if _is_gemma(config) else 2) * hidden
    shared, expert, router = _experts(config, experts) if experts else (0, 0, 0)
    dense = 3 * hidden * config["intermediate_size"] if moe_layers < layers else 0
    every_step = layers * (attention + norms) + (layers - moe_layers) * dense + moe_layers * (shared + router) + hidden
    return ModelShape(
        embedding=vocabulary * hidden,
        output_head=vocabulary * hidden,
        is_tied=bool(config.get("tie_word_embeddings", _is_gemma(config))),
        every_step=every_step,
        expert=expert,
        experts=experts,
        experts_per_token=int(config["num_experts_per_tok"]) if experts else 0,
        moe_layers=moe_layers,
        kv_values=kv_values,
        attention_flops=attention_flops,
        windows=_windows(config, layers),
        weight_format=str((config.get("quantization_config") or {}).get("quant_method", "")),
    )


def _first(config: Config, *names: str) -> Any:
    return next((config[name] for name in names if config.get(name) is not None), None)


def _type(config: Config) -> str:
    return str(config.get("model_type", ""))


def _is_gemma(config: Config) -> bool:
    return _type(config).startswith("gemma")


def _is_moe(config: Config, layer: int) -> bool:
    step = config.get("decoder_sparse_step") or 1
    is_dense = layer < (config.get("first_k_dense_replace") or 0) or layer in (config.get("mlp_only_layers") or ())
    return not is_dense and (layer + 1) % step == 0


def _grouped(config: Config) -> tuple[int, int, int]:
    """(parameters, KV values a token, FLOPs a pair of tokens) of a layer: queries, keys, values and output."""
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    head_dim = config.get("head_dim") or hidden // heads
    width, kv_width = heads * head_dim, kv_heads * head_dim
    params = 2 * hidden * width + 2 * hidden * kv_width
    if config.get("attention_bias"):
        params += width + 2 * kv_width + hidden
    elif _type(config).startswith("qwen2"):
        params += width + 2 * kv_width
    if _type(config).startswith(("qwen3", "gemma3")):
        params += 2 * head_dim
    if _type(config) == "gpt_oss":
        params += heads
    return params, 2 * kv_width, 4 * width


def _latent(config: Config) -> tuple[int, int, int]:
    """The same for multi-head latent attention (DeepSeek-V2, 2.1): one compressed vector and one rotary key are cached.
    FLOPs are those of the absorbed form, in which the heads look at the compressed vector itself."""
    hidden, heads, rank = config["hidden_size"], config["num_attention_heads"], config["kv_lora_rank"]
    nope, rope, value = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]
    query_rank = config.get("q_lora_rank")
    query_width = heads * (nope + rope)
    query = hidden * query_rank + query_rank + query_rank * query_width if query_rank else hidden * query_width
    keys = hidden * (rank + rope) + rank + rank * heads * (nope + value)
    return query + keys + heads * value * hidden, rank + rope, 2 * heads * (2 * rank + rope)


def _experts(config: Config, experts: int) -> tuple[int, int, int]:
    """(shared experts, one routed expert, router) of a layer, in parameters."""
    hidden = config["hidden_size"]
    inter = config.get("moe_intermediate_size") or config["intermediate_size"]
    shared = 3 * hidden * inter * (config.get("n_shared_experts") or 0)
    shared += 3 * hidden * (config.get("shared_expert_intermediate_size") or 0)
    has_biases = _type(config) == "gpt_oss"
    expert = 3 * hidden * inter + (2 * inter + hidden if has_biases else 0)
    is_corrected = config.get("n_routed_experts") is not None
    return shared, expert, hidden * experts + (experts if has_biases or is_corrected else 0)


def _windows(config: Config, layers: int) -> tuple[int | None, ...]:
    window = config.get("sliding_window")
    if not window or config.get("use_sliding_window") is False:
        return (None,) * layers
    kinds = config.get("layer_types")
    if kinds:
        return tuple(window if kind == "sliding_attention" else None for kind in kinds)
    pattern = _first(config, "sliding_window_pattern", "_sliding_window_pattern")
    if pattern is None and _type(config) == "gpt_oss":
        pattern = 2
    return tuple(None if pattern and (layer + 1) % pattern == 0 else window for layer in range(layers))
