"""llama.cpp through xllamacpp: its own C++ server inside a small launcher, on any CPU."""

from engine_adapters.base import (
    RESPONSE_FORMAT,
    BetweenLines,
    CheckpointSpec,
    EngineAdapter,
    EngineProfile,
    FailurePattern,
    LaunchSpec,
    RequestDialect,
    Scoring,
    UnsupportedVariant,
    environment_of,
    nothing_to_build,
    one_cpu,
    profile_of,
    refuse,
)
from experiments.schema.failure import FailureClass
from experiments.schema.variant import Quantization, Variant

GGUF_TYPES = {
    Quantization.BF16: "BF16",
    Quantization.F16: "F16",
    Quantization.Q8_0: "Q8_0",
    Quantization.Q6_K: "Q6_K",
    Quantization.Q5_K_M: "Q5_K_M",
    Quantization.Q4_K_M: "Q4_K_M",
    Quantization.Q4_0: "Q4_0",
}
KV_TYPES = ("f16", "bf16", "q8_0", "q4_0")


PROFILES: tuple[EngineProfile, ...] = ()
"""Beside `default`: its documentation names no tuned set of flags for a CPU."""

CLOCK = r"^(?P<minutes>\d+)\.(?P<seconds>\d{2})\.(?P<fraction>\d{3}\.\d{3})"
"""Of its log: minutes, seconds, milliseconds and microseconds since it was loaded."""

FAILURE_PATTERNS = (
    FailurePattern(r"unknown model architecture", FailureClass.UNSUPPORTED_ARCHITECTURE),
    FailurePattern(r"has invalid ggml type|unknown ggml type", FailureClass.UNSUPPORTED_QUANTIZATION),
    FailurePattern(r"failed to allocate (buffer|compute|.{1,20} buffer)|std::bad_alloc", FailureClass.OUT_OF_MEMORY),
    FailurePattern(r"failed to open GGUF file", FailureClass.WEIGHTS_MISSING),
    FailurePattern(r"model is corrupted or incomplete|invalid magic characters", FailureClass.WEIGHTS_MISSING),
    FailurePattern(r"couldn't bind HTTP server socket", FailureClass.PORT_IN_USE),
    FailurePattern(r"GGML_ASSERT\(", FailureClass.CRASHED),
)
"""What its server says, as of 2026.10.11549 (b11549 of llama.cpp)."""


def checkpoint(variant: Variant) -> CheckpointSpec:
    """A GGUF file of the type that the quantization names."""
    if variant.quantization not in GGUF_TYPES:
        can = ", ".join(GGUF_TYPES)
        raise UnsupportedVariant(
            f"llama.cpp loads GGUF files ({can}); it has no {variant.quantization}", field="quantization"
        )
    return CheckpointSpec("gguf", GGUF_TYPES[variant.quantization])


def launch_spec(variant: Variant) -> LaunchSpec:
    """The launcher's flags; each slot has `max_model_len` tokens of context."""
    checkpoint(variant)
    _refuse(variant)
    profile = profile_of("llama.cpp", PROFILES, variant)
    argv = ["{python}", "{launchers}/llama_cpp.py", "--model", "{model}", "--host", "{host}", "--port", "{port}"]
    argv += ["--slots", str(variant.max_num_seqs or 8), "--context", str(variant.max_model_len or 2048)]
    if variant.cpu_threads is not None:
        argv += ["--threads", str(variant.cpu_threads)]
    if variant.kv_cache_dtype is not None:
        argv += ["--kv-type", variant.kv_cache_dtype]
    if variant.prefix_cache:
        argv.append("--prefix-cache")
    if variant.seed is not None:
        argv += ["--seed", str(variant.seed)]
    return LaunchSpec(
        argv=(*argv, *profile.arguments, *variant.extra_args),
        env=(*profile.env, *environment_of(variant)),
        packages=(f"xllamacpp=={variant.engine_version}",),
        start_timeout_s=120.0,
    )


def _refuse(variant: Variant) -> None:
    kv_cache = variant.kv_cache_dtype not in (None, *KV_TYPES) and f"it takes {', '.join(KV_TYPES)}"
    refusals: dict[str, str | bool] = {
        "kv_cache_dtype": kv_cache,
        "chunked_prefill": variant.chunked_prefill is not None and "it always splits prompts into batches",
        "speculative_tokens": variant.speculative_tokens is not None and "the launcher does not offer it",
        "dummy_weights": variant.dummy_weights and "it needs a GGUF file; use a synthetic model source",
        "trust_remote_code": variant.trust_remote_code and "it runs no code of a model",
    }
    refuse("llama.cpp", variant, one_cpu(variant) | refusals)


FORCED = Scoring(
    "forced_token",
    {"prompt": "{tokens}", "max_tokens": 1, "logprobs": 1, "logit_bias": [["{token}", 1000]], "cache_prompt": True},
)
"""It knows neither echo nor prompt_logprobs; what it reports is before biases. The cache makes a text cost its tokens
once: the requests that are timed never meet it, being unique."""


def request_dialect(variant: Variant) -> RequestDialect:
    """Sampling is always sent, since the defaults differ between engines; the prompt cache is off unless asked for."""
    greedy = {"temperature": 0.0, "top_k": 1, "top_p": 1.0, "min_p": 0.0, "seed": variant.seed or 0}
    return RequestDialect(
        body={**greedy, "cache_prompt": bool(variant.prefix_cache)},
        exact_output={"ignore_eos": True},
        structured_output={"chat": RESPONSE_FORMAT, "completions": {"json_schema": "{json_schema}"}},
        scoring=FORCED,
    )


ADAPTER = EngineAdapter(
    name="llama_cpp",
    title="llama.cpp (xllamacpp)",
    runtimes=("environment",),
    launch_spec=launch_spec,
    checkpoint=checkpoint,
    build_spec=nothing_to_build,
    request_dialect=request_dialect,
    failure_patterns=FAILURE_PATTERNS,
    profiles=PROFILES,
    metric_names={
        "requests_running": "llamacpp:requests_processing",
        "requests_waiting": "llamacpp:requests_deferred",
        "uncached_prompt_tokens": "llamacpp:prompt_tokens_total",
        "cached_prompt_tokens": "llamacpp:prompt_tokens_cached_total",
        "output_tokens": "llamacpp:tokens_predicted_total",
    },
    start_phases={
        "weights": BetweenLines(f"{CLOCK} I srv .*init: loading model$", f"{CLOCK} I srv .*init: model loaded$")
    },
    release_package="xllamacpp",
)
