"""SGLang on NVIDIA GPUs.

Flags as the parsers of 0.5.22 and 0.5.23 take them (tasks/flags), log lines and endpoints as in the source of 0.5.23.
"""

from engine_adapters.base import (
    AS_IT_STANDS,
    CheckpointSpec,
    EngineAdapter,
    EngineProfile,
    FailurePattern,
    LaunchSpec,
    OptionSource,
    Profiler,
    RequestDialect,
    Scoring,
    UnsupportedVariant,
    computes_fp8,
    environment_of,
    nothing_to_build,
    on_gpus,
    profile_of,
    refuse,
    speculation,
    words_of,
)
from experiments.schema.failure import FailureClass
from experiments.schema.variant import Quantization, Variant

TITLE = "SGLang"
PROGRAM = ("{python}", "-m", "sglang.launch_server")
"""`sglang serve` is the same parser and server; only its module runs under a Python that is given by path."""

CHECKPOINTS: dict[str, CheckpointSpec] = {
    Quantization.BF16: CheckpointSpec("safetensors", "as_is"),
    Quantization.F16: CheckpointSpec("safetensors", "as_is"),
    Quantization.FP8: CheckpointSpec("compressed_tensors", "fp8_dynamic"),
    Quantization.FP8_BLOCK: CheckpointSpec("compressed_tensors", "fp8_block"),
    Quantization.W8A8: CheckpointSpec("compressed_tensors", "w8a8"),
    Quantization.INT4_AWQ: CheckpointSpec("compressed_tensors", "w4a16_awq"),
    Quantization.NF4: CheckpointSpec("bitsandbytes", "nf4"),
    Quantization.INT8: CheckpointSpec("bitsandbytes", "int8"),
    Quantization.W4A16: CheckpointSpec("compressed_tensors", "w4a16"),
    Quantization.MXFP4: CheckpointSpec("safetensors", "as_is"),
}
"""A checkpoint names its own method: no --quantization beside it, which SGLang refuses where the two differ."""

DTYPES = {Quantization.BF16: "bfloat16", Quantization.F16: "float16"}
FP8 = (Quantization.FP8, Quantization.FP8_BLOCK)
BITSANDBYTES = (Quantization.NF4, Quantization.INT8)
KV_TYPES = {"bf16": "bf16", "fp8": "fp8_e4m3", "fp8_e4m3": "fp8_e4m3", "fp8_e5m2": "fp8_e5m2"}
METHODS = {"ngram": "NGRAM", "draft_model": "STANDALONE", "eagle": "EAGLE", "eagle3": "EAGLE3", "mtp": "NEXTN"}

CHUNK_TOKENS = "8192"
"""Chunked prefill is on by default, of a size that follows the GPU's memory; asked for, it has this one."""

PROFILES = (
    EngineProfile(
        name="throughput",
        author="SGLang project",
        reason="take requests in less cautiously, for load whose answers end before their limit",
        source="SGLang documentation, advanced_features/hyperparameter_tuning.md: achieve a high token usage",
        flags=(("--schedule-conservativeness", "0.3"),),
    ),
    EngineProfile(
        name="shared-prefix",
        author="SGLang project",
        reason="order waiting requests by their longest cached prefix, for load with many shared prefixes",
        source="SGLang documentation, advanced_features/hyperparameter_tuning.md: try other options",
        flags=(("--schedule-policy", "lpm"),),
    ),
)


def checkpoint(variant: Variant) -> CheckpointSpec:
    """What the quantize stage makes, or the model's own files; dummy weights need no more than the model's config."""
    if variant.quantization not in CHECKPOINTS:
        can = ", ".join(CHECKPOINTS)
        raise UnsupportedVariant(f"{TITLE} loads {can}; it has no {variant.quantization}", field="quantization")
    _refuse_precision(variant)
    if variant.dummy_weights and variant.quantization == Quantization.FP8:
        return CheckpointSpec("safetensors", "as_is")
    return CHECKPOINTS[variant.quantization]


def _refuse_precision(variant: Variant) -> None:
    sharded = variant.tensor_parallel * variant.pipeline_parallel > 1
    reasons = {
        variant.quantization in FP8
        and not computes_fp8(variant): f"{variant.hardware} has no FP8 arithmetic: it would "
        "compute with 8-bit weights in 16 bits (W8A16), which is another precision",
        variant.quantization in BITSANDBYTES and sharded: "bitsandbytes checkpoints cannot be sharded over GPUs",
        variant.quantization in BITSANDBYTES and variant.dummy_weights: "bitsandbytes has a loader of its own, which "
        "makes no dummy weights",
    }
    refuse(TITLE, variant, {"quantization": reasons.get(True, False)})


def launch_spec(variant: Variant) -> LaunchSpec:
    """Metrics are off by default; prefix cache and sampling defaults are always said, since those of engines differ."""
    checkpoint(variant)
    _refuse(variant)
    profile = profile_of(TITLE, PROFILES, variant)
    argv = [*PROGRAM, "--model-path", "{model}", "--host", "{host}", "--port", "{port}", "--served-model-name", "model"]
    argv += ["--dtype", DTYPES.get(variant.quantization, "auto"), "--sampling-defaults", "openai"]
    argv += ["--enable-metrics", "--enable-cache-report", "--log-level-http", "warning"]
    argv += [*_sizes(variant), *_speculation(variant)]
    argv += [] if variant.prefix_cache else ["--disable-radix-cache"]
    argv += ["--trust-remote-code"] if variant.trust_remote_code else []
    bitsandbytes = ("bitsandbytes==0.50.2",) if variant.quantization in BITSANDBYTES else ()
    return LaunchSpec(
        argv=(*argv, *profile.arguments, *variant.extra_args),
        env=(("HF_HUB_DISABLE_TELEMETRY", "1"), *profile.env, *environment_of(variant)),
        packages=(f"sglang=={variant.engine_version}", *bitsandbytes) if variant.runtime == "environment" else (),
        image=f"lmsysorg/sglang:v{variant.engine_version}" if variant.runtime == "container" else "",
        entrypoint=AS_IT_STANDS if variant.runtime == "container" else (),
        ready_path="/ready",
        version_path="/server_info",
        start_timeout_s=1800.0,
        shm_gib=32.0,
        gpus=variant.tensor_parallel * variant.pipeline_parallel,
    )


def _sizes(variant: Variant) -> list[str]:
    return words_of(
        {
            "--tp-size": variant.tensor_parallel,
            "--pp-size": variant.pipeline_parallel if variant.pipeline_parallel > 1 else None,
            "--ep-size": variant.expert_parallel if variant.expert_parallel > 1 else None,
            "--context-length": variant.max_model_len,
            "--max-running-requests": variant.max_num_seqs,
            "--kv-cache-dtype": KV_TYPES[variant.kv_cache_dtype] if variant.kv_cache_dtype else None,
            "--mem-fraction-static": variant.gpu_memory_fraction,
            "--chunked-prefill-size": {None: None, True: CHUNK_TOKENS, False: "-1"}[variant.chunked_prefill],
            "--random-seed": variant.seed,
            **_weights(variant),
        }
    )


def _weights(variant: Variant) -> dict[str, str]:
    if variant.quantization in BITSANDBYTES:
        return {"--load-format": "bitsandbytes", "--quantization": "bitsandbytes"}
    online = {"--quantization": "fp8"} if variant.quantization == Quantization.FP8 else {}
    return {"--load-format": "dummy", **online} if variant.dummy_weights else {}


def _speculation(variant: Variant) -> list[str]:
    """A chain, not a tree: `speculative_tokens` drafts, and one more token that the model itself adds."""
    tokens = variant.speculative_tokens
    if tokens is None:
        return []
    method = METHODS[variant.speculative_method or "ngram"]
    words = ["--speculative-algorithm", method, "--speculative-num-draft-tokens", str(tokens + 1)]
    if method != METHODS["ngram"]:
        words += ["--speculative-num-steps", str(tokens), "--speculative-eagle-topk", "1"]
    return words + words_of({"--speculative-draft-model-path": variant.speculative_model})


def _refuse(variant: Variant) -> None:
    ranks = variant.tensor_parallel
    spread = f"it spreads experts over the ranks of tensor parallelism: a divisor of tensor_parallel, {ranks}"
    refusals: dict[str, str | bool] = {
        "runtime": variant.runtime == "endpoint" and "dyno starts it; the engine `endpoint` attaches to a server",
        "engine_backend": variant.engine_backend is not None and "it has one back end only",
        "expert_parallel": ranks % variant.expert_parallel != 0 and spread,
        "kv_cache_dtype": variant.kv_cache_dtype not in (None, *KV_TYPES) and f"it takes {', '.join(KV_TYPES)}",
    }
    refuse(TITLE, variant, on_gpus(variant) | refusals | speculation(variant, METHODS))


INPUT_LOGPROBS = Scoring(
    "input_token_logprobs",
    {
        "input_ids": "{tokens}",
        "sampling_params": {"max_new_tokens": 1, "temperature": 0.0},
        "return_logprob": True,
        "logprob_start_len": 0,
        "top_logprobs_num": 1,
    },
    path="/generate",
)
"""Its own endpoint; written after its source, and not tried on a GPU."""


def request_dialect(variant: Variant) -> RequestDialect:
    """Sampling is always sent; greedy decoding takes no seed per request."""
    return RequestDialect(
        body={"temperature": 0.0, "top_k": -1, "top_p": 1.0, "min_p": 0.0},
        exact_output={"ignore_eos": True, "min_tokens": "{output_tokens}"},
        cache_reset_path="/flush_cache",
        scoring=INPUT_LOGPROBS,
    )


FAILURES = (
    FailurePattern(r"Not enough memory\. Please try to increase --mem-fraction", FailureClass.OUT_OF_MEMORY),
    FailurePattern(r"Model architectures .{1,300} are not supported for now", FailureClass.UNSUPPORTED_ARCHITECTURE),
    FailurePattern(
        r"Unknown quantization method|does not match the quantization", FailureClass.UNSUPPORTED_QUANTIZATION
    ),
    FailurePattern(r"is not supported for the current GPU\. Min", FailureClass.UNSUPPORTED_QUANTIZATION),
    FailurePattern(r"Cannot find any model weights with", FailureClass.WEIGHTS_MISSING),
    FailurePattern(r"Port is already in use|at \d+ is not available", FailureClass.PORT_IN_USE),
    FailurePattern(r"launch_server\.py: error: |is greater than the derived context_length", FailureClass.BAD_FLAG),
)

ADAPTER = EngineAdapter(
    name="sglang",
    title=TITLE,
    runtimes=("environment", "container"),
    launch_spec=launch_spec,
    checkpoint=checkpoint,
    build_spec=nothing_to_build,
    request_dialect=request_dialect,
    metric_names={
        "requests_running": "sglang:num_running_reqs",
        "requests_waiting": "sglang:num_queue_reqs",
        "kv_cache_usage": "sglang:token_usage",
        "prompt_tokens": "sglang:prompt_tokens_total",
        "cached_prompt_tokens": "sglang:cached_tokens_total",
        "output_tokens": "sglang:generation_tokens_total",
        "preemptions": "sglang:num_retracted_requests_total",
    },
    quantizing_flags=("--quantization",),
    release_package="sglang",
    failure_patterns=FAILURES,
    profiles=PROFILES,
    profiler=Profiler(
        start_path="/start_profile", stop_path="/stop_profile", env=(("SGLANG_TORCH_PROFILER_DIR", "{traces}"),)
    ),
    backend_pattern=r"attention_backend='?(\w+)'?",
    cache_variables=("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "FLASHINFER_WORKSPACE_BASE"),
    start_phases={
        "weights": r"Load weight end\. elapsed=([0-9.]+) s",
        "capture": r"Capture .*CUDA graph end\. elapsed=([0-9.]+) s",
    },
    option_source=OptionSource(program=PROGRAM, wheel="sglang", requirements=("ipython", "orjson", "triton")),
)
