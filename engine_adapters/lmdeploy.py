"""LMDeploy on NVIDIA GPUs: TurboMind, its C++ engine, or its PyTorch engine (`engine_backend`).

TurboMind gives way to the PyTorch engine without an error where it does not know an architecture: the log says so.
Flags as the parsers of 0.14 to 0.18 take them (tasks/flags), log lines and endpoints as in the source of 0.18.0.
"""

from engine_adapters.base import (
    AS_IT_STANDS,
    RESPONSE_FORMAT,
    CheckpointSpec,
    EngineAdapter,
    FailurePattern,
    LaunchSpec,
    OptionSource,
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

TITLE = "LMDeploy"
PROGRAM = ("{python}", "-m", "lmdeploy", "serve", "api_server")
TURBOMIND, PYTORCH = "turbomind", "pytorch"

AS_IS = CheckpointSpec("safetensors", "as_is")
CHECKPOINTS: dict[str, dict[str, CheckpointSpec]] = {
    TURBOMIND: {
        Quantization.BF16: AS_IS,
        Quantization.F16: AS_IS,
        Quantization.INT4_AWQ: CheckpointSpec("compressed_tensors", "w4a16_awq"),
        Quantization.W4A16: CheckpointSpec("compressed_tensors", "w4a16"),
        Quantization.MXFP4: AS_IS,
    },
    PYTORCH: {Quantization.BF16: AS_IS, Quantization.F16: AS_IS, Quantization.FP8_BLOCK: AS_IS},
}
"""TurboMind reads 4-bit integers in groups; the PyTorch engine makes blocks of FP8 of weights while it loads them."""

NO_CHECKPOINT = {
    TURBOMIND: "its 4 bits are integers in groups; of FP8 it reads blocks in the published Hugging Face form only, "
    "which no stage makes",
    PYTORCH: "its FP8 and INT8 come from `lmdeploy lite smooth_quant` and its 4 bits from `lmdeploy lite auto_awq`, "
    "which no stage runs",
}

DTYPES = {Quantization.BF16: "bfloat16", Quantization.F16: "float16"}

KV_TYPES = {
    TURBOMIND: {"q8_0": "8", "q4_0": "4"},
    PYTORCH: {"fp8": "fp8", "fp8_e4m3": "fp8", "fp8_e5m2": "fp8_e5m2", "q8_0": "8", "q4_0": "4"},
}
METHODS = {TURBOMIND: dict[str, str](), PYTORCH: {"eagle": "eagle", "eagle3": "eagle3", "mtp": "deepseek_mtp"}}
"""TurboMind warns and serves without speculation."""

NEUTRAL_SAMPLING = (("0.16", ("--generation-config", "lmdeploy")), ("0", ()))
TRUST = (("0.14", ("--trust-remote-code",)), ("0", ()))
FP8_CACHE = (("0.14", True), ("0", False))
"""0.12 knows 4 and 8 bits of integers only, and trusts every model's code."""

CHUNK_TOKENS = "8192"
"""Prompts are always split; this is the size of a part that it has by default too."""


def backend_of(variant: Variant) -> str:
    """TurboMind where the variant names none, as it is the engine's own choice."""
    return variant.engine_backend or TURBOMIND


def checkpoint(variant: Variant) -> CheckpointSpec:
    """The checkpoints of the two engines differ: what one of them cannot load is refused, never handed to the other."""
    backend = backend_of(variant)
    if backend not in CHECKPOINTS:
        raise UnsupportedVariant(f"{TITLE} has {TURBOMIND} and {PYTORCH}, not {backend}", field="engine_backend")
    loads = CHECKPOINTS[backend]
    if variant.quantization not in loads:
        raise UnsupportedVariant(
            f"{TITLE} with {backend} loads {', '.join(loads)}, not {variant.quantization}: {NO_CHECKPOINT[backend]}",
            field="quantization",
        )
    if variant.quantization == Quantization.FP8_BLOCK and not computes_fp8(variant):
        raise UnsupportedVariant(f"{TITLE}: {variant.hardware} has no FP8 arithmetic", field="quantization")
    return loads[variant.quantization]


def launch_spec(variant: Variant) -> LaunchSpec:
    """The backend, the prefix cache and, from 0.16 on, neutral sampling are always said."""
    checkpoint(variant)
    _refuse(variant)
    profile = profile_of(TITLE, (), variant)
    version = variant.engine_version
    argv = [*PROGRAM, "{model}", "--model-name", "model", "--server-name", "{host}", "--server-port", "{port}"]
    argv += ["--backend", backend_of(variant), "--dtype", DTYPES.get(variant.quantization, "auto")]
    argv += [*spelling(version, NEUTRAL_SAMPLING), *_sizes(variant), *_speculation(variant)]
    argv += ["--enable-prefix-caching"] if variant.prefix_cache else []
    argv += spelling(version, TRUST) if variant.trust_remote_code else ()
    return LaunchSpec(
        argv=(*argv, *profile.arguments, *variant.extra_args),
        env=(("HF_HUB_DISABLE_TELEMETRY", "1"), *profile.env, *environment_of(variant)),
        packages=(f"lmdeploy=={version}",) if variant.runtime == "environment" else (),
        image=f"openmmlab/lmdeploy:v{version}-cu13.0" if variant.runtime == "container" else "",
        entrypoint=AS_IT_STANDS if variant.runtime == "container" else (),
        start_timeout_s=1800.0,
        shm_gib=16.0,
        gpus=variant.tensor_parallel,
    )


def _sizes(variant: Variant) -> list[str]:
    cache = KV_TYPES[backend_of(variant)][variant.kv_cache_dtype] if variant.kv_cache_dtype else None
    return words_of(
        {
            "--tp": variant.tensor_parallel,
            "--ep": variant.expert_parallel if variant.expert_parallel > 1 else None,
            "--session-len": variant.max_model_len,
            "--max-batch-size": variant.max_num_seqs,
            "--quant-policy": cache,
            "--cache-max-entry-count": variant.gpu_memory_fraction,
            "--max-prefill-token-num": CHUNK_TOKENS if variant.chunked_prefill else None,
            "--model-format": "fp8" if variant.quantization == Quantization.FP8_BLOCK else None,
        }
    )


def _speculation(variant: Variant) -> list[str]:
    if variant.speculative_tokens is None or variant.speculative_method is None:
        return []
    return words_of(
        {
            "--speculative-algorithm": METHODS[backend_of(variant)][variant.speculative_method],
            "--speculative-num-draft-tokens": variant.speculative_tokens,
            "--speculative-draft-model": variant.speculative_model,
        }
    )


def _refuse(variant: Variant) -> None:
    backend, ranks, version = backend_of(variant), variant.tensor_parallel, variant.engine_version
    spread = f"it spreads experts over all {ranks} ranks of tensor parallelism: expert_parallel is 1 or that number"
    takes, cache = KV_TYPES[backend], variant.kv_cache_dtype
    old_fp8 = (cache or "").startswith("fp8") and not spelling(version, FP8_CACHE) and f"{version} has no FP8 cache"
    refusals: dict[str, str | bool] = {
        "runtime": variant.runtime == "endpoint" and "dyno starts it; the engine `endpoint` attaches to a server",
        "pipeline_parallel": variant.pipeline_parallel > 1 and "it has tensor, data and expert parallelism",
        "expert_parallel": variant.expert_parallel not in (1, ranks) and spread,
        "kv_cache_dtype": (cache not in (None, *takes) and f"with {backend} it takes {', '.join(takes)}") or old_fp8,
        "gpu_memory_fraction": variant.gpu_memory_fraction == 1
        and backend == PYTORCH
        and f"{PYTORCH} leaves some of the memory that is free: less than 1",
        "chunked_prefill": variant.chunked_prefill is False and "it always splits prompts",
        "dummy_weights": variant.dummy_weights and "it loads real weights only; use a synthetic model source",
        "seed": variant.seed is not None and "its server takes a seed with each request only",
        "trust_remote_code": variant.trust_remote_code
        and not spelling(version, TRUST)
        and f"{version} always trusts a model's code, with no switch",
    }
    refuse(TITLE, variant, on_gpus(variant) | refusals | _refused_speculation(variant, backend))


def _refused_speculation(variant: Variant, backend: str) -> dict[str, str | bool]:
    refused = speculation(variant, METHODS[backend])
    off = backend == TURBOMIND and variant.speculative_tokens is not None
    none = f"{TURBOMIND} does not speculate; take `engine_backend: {PYTORCH}`"
    return refused | ({"speculative_tokens": none} if off else {})


def request_dialect(variant: Variant) -> RequestDialect:
    """Lists of token ids are one prompt for each id at /v1/completions; a greedy answer is `top_k` 1."""
    return RequestDialect(
        body={"temperature": 0.0, "top_k": 1, "top_p": 1.0, "min_p": 0.0},
        exact_output={"ignore_eos": True},
        token_id_prompts=False,
        structured_output={"chat": RESPONSE_FORMAT},
        no_scoring="it tells log-probabilities of tokens that it drew only",
    )


FAILURES = (
    FailurePattern(r"OutOfMemoryError|CUDA out of memory|No enough gpu memory", FailureClass.OUT_OF_MEMORY),
    FailurePattern(r"CUDA runtime error: out of memory|cudaErrorMemoryAllocation", FailureClass.OUT_OF_MEMORY),
    FailurePattern(r"Could not find model architecture from config", FailureClass.UNSUPPORTED_ARCHITECTURE),
    FailurePattern(
        r"Unsupported (group_size|quant method|weight quantization|compressed-tensors)|Only compressed-tensors",
        FailureClass.UNSUPPORTED_QUANTIZATION,
    ),
    FailurePattern(r"Failed to find valid checkpoint under", FailureClass.WEIGHTS_MISSING),
    FailurePattern(r"lmdeploy serve api_server: error: ", FailureClass.BAD_FLAG),
)

ADAPTER = EngineAdapter(
    name="lmdeploy",
    title=TITLE,
    runtimes=("environment", "container"),
    launch_spec=launch_spec,
    checkpoint=checkpoint,
    build_spec=nothing_to_build,
    request_dialect=request_dialect,
    metric_names={
        "requests_running": "lmdeploy:num_requests_running",
        "requests_waiting": "lmdeploy:num_requests_waiting",
        "kv_cache_usage": "lmdeploy:gpu_cache_usage_perc",
        "prompt_tokens": "lmdeploy:prompt_tokens_total",
        "cached_prompt_tokens": "lmdeploy:cached_tokens_total",
        "output_tokens": "lmdeploy:generation_tokens_total",
    },
    quantizing_flags=("--model-format",),
    release_package="lmdeploy",
    failure_patterns=FAILURES,
    backend_pattern=r"Fallback to (\w+) engine",
    option_source=OptionSource(program=PROGRAM, wheel="lmdeploy", requirements=("mmengine-lite", "shortuuid")),
)
