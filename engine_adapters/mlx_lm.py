"""mlx-lm's server on the CPU: continuous batching, comments before the first token, one thread of computing.

Its habits: ignore_eos and min_tokens are ignored (the pre-flight biases the ends of answers away instead); a prompt is
one text (token ids are refused, a list of texts ends the generation thread and with it every later request); a request
with a seed is served alone; each connection is closed after its answer; no check of a request's length.
"""

from engine_adapters.base import (
    CheckpointSpec,
    EngineAdapter,
    EngineProfile,
    FailurePattern,
    LaunchSpec,
    RequestDialect,
    UnsupportedVariant,
    environment_of,
    nothing_to_build,
    one_cpu,
    profile_of,
    refuse,
)
from experiments.schema.failure import FailureClass
from experiments.schema.variant import Quantization, Variant

MLX = "0.32.4"

PROMPTS_AT_ONCE, CACHED_PROMPTS = 8, "10"
"""The server's own defaults."""


PROFILES: tuple[EngineProfile, ...] = ()
"""Beside `default`: its documentation names no tuned set of flags for a CPU."""

FAILURE_PATTERNS = (
    FailurePattern(r"Model type \S+ not supported", FailureClass.UNSUPPORTED_ARCHITECTURE),
    FailurePattern(r"Only bits=\S+ is supported for|Unsupported modelopt", FailureClass.UNSUPPORTED_QUANTIZATION),
    FailurePattern(r"\[malloc\S*\] Unable to allocate", FailureClass.OUT_OF_MEMORY),
    FailurePattern(r"No safetensors found in|\[load_safetensors\]", FailureClass.WEIGHTS_MISSING),
    FailurePattern(r"HFValidationError: Repo id must be", FailureClass.WEIGHTS_MISSING),
    FailurePattern(r"generation thread died", FailureClass.CRASHED),
)
"""What its server says, as of 0.32.2. It goes on listening after most of it, and is never ready."""


def checkpoint(variant: Variant) -> CheckpointSpec:
    """The model's own folder, in the precision of its weights."""
    if variant.quantization != Quantization.BF16:
        raise UnsupportedVariant(
            f"mlx-lm cannot do {variant.quantization}: it is given the weights as they are (bf16); its own 4-bit "
            "format needs mlx_lm.convert, which no stage here runs",
            field="quantization",
        )
    return CheckpointSpec("safetensors", "as_is")


def launch_spec(variant: Variant) -> LaunchSpec:
    """`default_model` is the server's word for the model that it was started with. Its prompt cache would find the
    BOS token of every prompt again: it holds nothing unless the variant asks for a prefix cache."""
    checkpoint(variant)
    _refuse(variant)
    profile = profile_of("mlx-lm", PROFILES, variant)
    argv = ["{python}", "-m", "mlx_lm", "server", "--model", "{model}", "--host", "{host}", "--port", "{port}"]
    argv += ["--prompt-cache-size", CACHED_PROMPTS if variant.prefix_cache else "0"]
    if variant.max_num_seqs is not None:
        argv += ["--decode-concurrency", str(variant.max_num_seqs)]
        argv += ["--prompt-concurrency", str(min(variant.max_num_seqs, PROMPTS_AT_ONCE))]
    if variant.trust_remote_code:
        argv.append("--trust-remote-code")
    return LaunchSpec(
        argv=(*argv, *profile.arguments, *variant.extra_args),
        env=(("HF_HUB_DISABLE_TELEMETRY", "1"), *profile.env, *environment_of(variant)),
        packages=(f"mlx-lm=={variant.engine_version}", f"mlx[cpu]=={MLX}"),
        metrics_path="",
        served_model="default_model",
        start_timeout_s=120.0,
    )


def _refuse(variant: Variant) -> None:
    several_threads = (variant.cpu_threads or 1) > 1 and "its CPU backend computes on one thread"
    refusals: dict[str, str | bool] = {
        "max_model_len": variant.max_model_len is not None and "it sets no limit on the length of a request",
        "kv_cache_dtype": variant.kv_cache_dtype is not None and "a quantized KV cache switches its batching off",
        "chunked_prefill": variant.chunked_prefill is not None and "it always prefills in steps",
        "speculative_tokens": variant.speculative_tokens is not None and "no draft model is given to it here",
        "cpu_threads": several_threads,
        "dummy_weights": variant.dummy_weights and "it needs weights; use a synthetic model source",
        "seed": variant.seed is not None and "a request with a seed is served alone, out of the batch",
    }
    refuse("mlx-lm", variant, one_cpu(variant) | refusals)


def request_dialect(variant: Variant) -> RequestDialect:
    """No field of it keeps an answer from ending: which ids to bias away is the model's to say, and the pre-flight
    reads them from it."""
    return RequestDialect(
        body={"temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0},
        exact_output={},
        token_id_prompts=False,
        structured_output={},
        no_scoring="it tells log-probabilities of tokens that it drew only, and rounds them to bfloat16",
    )


ADAPTER = EngineAdapter(
    name="mlx_lm",
    title="mlx-lm",
    runtimes=("environment",),
    launch_spec=launch_spec,
    checkpoint=checkpoint,
    build_spec=nothing_to_build,
    request_dialect=request_dialect,
    failure_patterns=FAILURE_PATTERNS,
    profiles=PROFILES,
    release_package="mlx-lm",
)
