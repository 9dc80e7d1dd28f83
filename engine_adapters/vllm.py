"""vLLM on NVIDIA GPUs.

Flags as the parsers of 0.24 to 0.33 take them (tasks/flags), log lines and endpoints as in the source of 0.33.0.
"""

from engine_adapters.base import (
    AS_IT_STANDS,
    PROMPT_LOGPROBS,
    CheckpointSpec,
    EngineAdapter,
    EngineProfile,
    FailurePattern,
    LaunchSpec,
    OptionSource,
    Profiler,
    RequestDialect,
    UnsupportedVariant,
    computes_fp8,
    environment_of,
    nothing_to_build,
    on_gpus,
    profile_of,
    refuse,
    speculation,
    spelling,
    words_of,
)
from experiments.schema.failure import FailureClass
from experiments.schema.variant import Quantization, Variant

TITLE = "vLLM"
PROGRAM = ("{python}", "-m", "vllm.entrypoints.cli.main", "serve")

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
"""A checkpoint names its own method: no --quantization beside it, which vLLM refuses where the two differ."""

DTYPES = {Quantization.BF16: "bfloat16", Quantization.F16: "float16"}
FP8 = (Quantization.FP8, Quantization.FP8_BLOCK)
BITSANDBYTES = (Quantization.NF4, Quantization.INT8)
BITSANDBYTES_PLUGIN = (("0.28", ("vllm-bnb-plugin==0.0.3",)), ("0", ("bitsandbytes==0.50.2",)))
"""What the environment needs beside vLLM: since 0.28 the method itself is a plugin."""

ONLINE = {Quantization.FP8: "fp8_per_channel", Quantization.FP8_BLOCK: "fp8_per_block"}
"""What it makes of weights while it loads them: for dummy weights, which no stage can quantize."""

KV_TYPES = {"f16": "float16", "bf16": "bfloat16", "fp8": "fp8", "fp8_e4m3": "fp8_e4m3", "fp8_e5m2": "fp8_e5m2"}
METHODS = {"ngram": "ngram", "draft_model": "draft_model", "eagle": "eagle", "eagle3": "eagle3", "mtp": "mtp"}

NO_PREFIX_CACHE = (("0.33", "--disable-prefix-caching"), ("0", "--no-enable-prefix-caching"))
NO_CHUNKED_PREFILL = (("0.33", "--disable-chunked-prefill"), ("0", "--no-enable-chunked-prefill"))

PROFILES = (
    EngineProfile(
        name="throughput",
        author="vLLM project",
        reason="aggregate tokens per second at high concurrency: larger batches and CUDA graphs",
        source="vLLM 0.33.0, vllm/config/vllm.py, performance_mode; its `vllm serve --help=performance-mode`",
        flags=(("--performance-mode", "throughput"),),
    ),
    EngineProfile(
        name="interactivity",
        author="vLLM project",
        reason="low latency of each request at small batches: fine-grained CUDA graphs",
        source="vLLM 0.33.0, vllm/config/vllm.py, performance_mode; its `vllm serve --help=performance-mode`",
        flags=(("--performance-mode", "interactivity"),),
    ),
)


def checkpoint(variant: Variant) -> CheckpointSpec:
    """What the quantize stage makes, or the model's own files; dummy weights need no more than the model's config."""
    if variant.quantization not in CHECKPOINTS:
        can = ", ".join(CHECKPOINTS)
        raise UnsupportedVariant(f"{TITLE} loads {can}; it has no {variant.quantization}", field="quantization")
    _refuse_precision(variant)
    if variant.dummy_weights and variant.quantization in ONLINE:
        return CheckpointSpec("safetensors", "as_is")
    return CHECKPOINTS[variant.quantization]


def _refuse_precision(variant: Variant) -> None:
    sharded = variant.tensor_parallel * variant.pipeline_parallel > 1
    reasons = {
        variant.quantization in FP8
        and not computes_fp8(variant): f"{variant.hardware} has no FP8 arithmetic: it would "
        "compute with 8-bit weights in 16 bits (W8A16), which is another precision",
        variant.quantization in BITSANDBYTES and sharded: "bitsandbytes checkpoints cannot be sharded over GPUs",
        variant.quantization in BITSANDBYTES
        and variant.runtime == "container": "its image lacks the bitsandbytes plugin; take `runtime: environment`",
    }
    refuse(TITLE, variant, {"quantization": reasons.get(True, False)})


def launch_spec(variant: Variant) -> LaunchSpec:
    """Prefix cache and sampling defaults are always said, since those of engines differ."""
    checkpoint(variant)
    _refuse(variant)
    profile = profile_of(TITLE, PROFILES, variant)
    argv = [*PROGRAM, "{model}", "--host", "{host}", "--port", "{port}", "--served-model-name", "model"]
    argv += ["--dtype", DTYPES.get(variant.quantization, "auto"), "--generation-config", "vllm"]
    argv += ["--enable-prompt-tokens-details", "--disable-uvicorn-access-log", "--shutdown-timeout", "4"]
    argv += [*_sizes(variant), *_switches(variant), *_speculation(variant)]
    plugin = spelling(variant.engine_version, BITSANDBYTES_PLUGIN) if variant.quantization in BITSANDBYTES else ()
    return LaunchSpec(
        argv=(*argv, *profile.arguments, *variant.extra_args),
        env=(*ENVIRONMENT, *profile.env, *environment_of(variant)),
        packages=(f"vllm=={variant.engine_version}", *plugin) if variant.runtime == "environment" else (),
        image=f"vllm/vllm-openai:v{variant.engine_version}" if variant.runtime == "container" else "",
        entrypoint=AS_IT_STANDS if variant.runtime == "container" else (),
        version_path="/version",
        start_timeout_s=1800.0,
        shm_gib=8.0,
        gpus=variant.tensor_parallel * variant.pipeline_parallel,
    )


ENVIRONMENT = (
    ("HF_HUB_DISABLE_TELEMETRY", "1"),
    ("VLLM_NO_USAGE_STATS", "1"),
    ("VLLM_SERVER_DEV_MODE", "1"),  # /reset_prefix_cache is there in this mode only
)


def _sizes(variant: Variant) -> list[str]:
    online = ONLINE.get(variant.quantization) if variant.dummy_weights else None
    return words_of(
        {
            "--tensor-parallel-size": variant.tensor_parallel,
            "--pipeline-parallel-size": variant.pipeline_parallel if variant.pipeline_parallel > 1 else None,
            "--max-model-len": variant.max_model_len,
            "--max-num-seqs": variant.max_num_seqs,
            "--kv-cache-dtype": KV_TYPES[variant.kv_cache_dtype] if variant.kv_cache_dtype else None,
            "--gpu-memory-utilization": variant.gpu_memory_fraction,
            "--seed": variant.seed,
            "--quantization": online,
            "--load-format": "dummy" if variant.dummy_weights else None,
        }
    )


def _switches(variant: Variant) -> list[str]:
    version, chunked = variant.engine_version, variant.chunked_prefill
    words = ["--enable-prefix-caching" if variant.prefix_cache else spelling(version, NO_PREFIX_CACHE)]
    if chunked is not None:
        words.append("--enable-chunked-prefill" if chunked else spelling(version, NO_CHUNKED_PREFILL))
    words += ["--enable-expert-parallel"] if variant.expert_parallel > 1 else []
    return words + (["--trust-remote-code"] if variant.trust_remote_code else [])


def _speculation(variant: Variant) -> list[str]:
    if variant.speculative_tokens is None:
        return []
    method = METHODS[variant.speculative_method or "ngram"]
    tokens, model = variant.speculative_tokens, variant.speculative_model
    return words_of({"--spec-method": method, "--spec-tokens": tokens, "--spec-model": model})


def _refuse(variant: Variant) -> None:
    ranks = variant.tensor_parallel
    spread = f"it spreads experts over all {ranks} ranks of tensor parallelism: expert_parallel is 1 or that number"
    refusals: dict[str, str | bool] = {
        "runtime": variant.runtime == "endpoint" and "dyno starts it; the engine `endpoint` attaches to a server",
        "engine_backend": variant.engine_backend is not None and "it has one back end only",
        "expert_parallel": variant.expert_parallel not in (1, ranks) and spread,
        "kv_cache_dtype": variant.kv_cache_dtype not in (None, *KV_TYPES) and f"it takes {', '.join(KV_TYPES)}",
    }
    refuse(TITLE, variant, on_gpus(variant) | refusals | speculation(variant, METHODS))


def request_dialect(variant: Variant) -> RequestDialect:
    """Sampling is always sent; a reset of the prefix cache is possible in the mode that the launch asks for."""
    return RequestDialect(
        body={"temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": variant.seed or 0},
        exact_output={"ignore_eos": True, "min_tokens": "{output_tokens}"},
        cache_reset_path="/reset_prefix_cache",
        scoring=PROMPT_LOGPROBS,
    )


FAILURES = (
    FailurePattern(r"Free memory on device .* on startup is less than", FailureClass.OUT_OF_MEMORY),
    FailurePattern(r"No available memory for the cache|larger than the available KV cache", FailureClass.OUT_OF_MEMORY),
    FailurePattern(
        r"Model architectures .{1,300} (are not supported|failed to be)", FailureClass.UNSUPPORTED_ARCHITECTURE
    ),
    FailurePattern(
        r"Unknown quantization method|does not match the quantization", FailureClass.UNSUPPORTED_QUANTIZATION
    ),
    FailurePattern(r"is not supported for the current GPU\. Min", FailureClass.UNSUPPORTED_QUANTIZATION),
    FailurePattern(r"Cannot find any model weights with", FailureClass.WEIGHTS_MISSING),
    FailurePattern(r"vllm.*: error: |is greater than the derived max_model_len", FailureClass.BAD_FLAG),
)

ADAPTER = EngineAdapter(
    name="vllm",
    title=TITLE,
    runtimes=("environment", "container"),
    launch_spec=launch_spec,
    checkpoint=checkpoint,
    build_spec=nothing_to_build,
    request_dialect=request_dialect,
    metric_names={
        "requests_running": "vllm:num_requests_running",
        "requests_waiting": "vllm:num_requests_waiting",
        "kv_cache_usage": "vllm:kv_cache_usage_perc",
        "prompt_tokens": "vllm:prompt_tokens_total",
        "cached_prompt_tokens": "vllm:prompt_tokens_cached_total",
        "output_tokens": "vllm:generation_tokens_total",
        "preemptions": "vllm:num_preemptions_total",
    },
    quantizing_flags=("--quantization",),
    release_package="vllm",
    failure_patterns=FAILURES,
    profiles=PROFILES,
    profiler=Profiler(
        start_path="/start_profile",
        stop_path="/stop_profile",
        arguments=("--profiler-config", '{"profiler": "torch", "torch_profiler_dir": "{traces}"}'),
    ),
    backend_pattern=r"Using (?:AttentionBackendEnum\.)?(\w+) (?:attention )?backend(?:\.| out of)",
    cache_variables=("VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"),
    start_phases={
        "weights": r"Loading weights took ([0-9.]+) seconds",
        "compile": r"torch\.compile took ([0-9.]+) s in total",
        "capture": r"Graph capturing finished in ([0-9.]+) secs",
    },
    option_source=OptionSource(
        program=PROGRAM,
        wheel="vllm",
        requirements=("model-hosting-container-standards", "openai-harmony", "py-cpuinfo", "xgrammar", "llguidance"),
    ),
)
