"""TensorRT-LLM: trtllm-serve on its PyTorch executor, or, up to 1.2.1, on an engine that trtllm-build compiles.

Options as in tasks/flags/tables/tensorrt_llm*-1.2.1.json. What trtllm-serve has no option for stands in one file of
options; a key is never in both, since which of the two wins differs between releases.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from engine_adapters.base import (
    BuildSpec,
    CheckpointSpec,
    EngineAdapter,
    EngineProfile,
    FailurePattern,
    LaunchSpec,
    RequestDialect,
    UnsupportedVariant,
    environment_of,
    no_draft_model,
    on_gpus,
    refuse,
    release_of,
)
from experiments.schema.failure import FailureClass
from experiments.schema.variant import Quantization, Variant

COMPILED = "tensorrt"
BACKENDS = (None, "pytorch", COMPILED)
LAST_COMPILED = (1, 2, 1)

DTYPES = {Quantization.BF16: "bfloat16", Quantization.F16: "float16"}

MODELOPT = {Quantization.FP8: "fp8", Quantization.INT4_AWQ: "int4_awq"}
"""Made by modelopt, as a Hugging Face export for PyTorch and as a checkpoint of TensorRT-LLM's own for trtllm-build."""

AS_PUBLISHED = (Quantization.FP8_BLOCK, Quantization.MXFP4)
"""On PyTorch only; nothing here makes them of other weights."""

KV_TYPES = {"fp8": "fp8", "fp8_e4m3": "fp8"}

BEFORE_FP8 = ("a10", "a100")
"""Ampere: no FP8 tensor cores, and no kernels of TensorRT-LLM that do without."""

EXAMPLES = "/app/tensorrt_llm/examples/models/core"
"""Of the release image. The conversion scripts are in no wheel."""

FAMILIES = {"llama": r"llama-?[23]|mistral-7b|ministral|mixtral|tinyllama", "qwen": r"qwen-?[23]"}
"""Conversion script to the models that it converts, by the words of their names."""

NGRAM_WINDOW = 4
"""Tokens of the text so far that are looked up for what followed them; the release's examples take as many."""

TUNED = EngineProfile(
    name="tuned",
    author="NVIDIA",
    reason="several optimization profiles, cuBLASLt for unquantized GEMMs, and for Llama on several GPUs fused sums",
    source=(
        "NVIDIA/TensorRT-LLM@2a9abd9536aa62ad3e4b9314be9286b1b1be523b "
        "docs/source/legacy/performance/performance-tuning-guide/useful-build-time-flags.md"
    ),
    flags=(("--multiple_profiles", "enable"),),
    stage="build",
)
"""Of trtllm-build; what depends on the variant (`--gemm_plugin`, `--reduce_fusion`) is added by `build_spec`."""


def checkpoint(variant: Variant) -> CheckpointSpec:
    """The model's own files, or what modelopt makes of them. A checkpoint for trtllm-build is cut for its GPUs."""
    quantization = variant.quantization
    if quantization in DTYPES or (quantization in AS_PUBLISHED and not _is_compiled(variant)):
        return CheckpointSpec("safetensors", "as_is")
    if quantization not in MODELOPT:
        raise UnsupportedVariant(
            f"TensorRT-LLM{' with a compiled engine' if _is_compiled(variant) else ''} cannot do {quantization}: it "
            "loads bf16, f16, and modelopt's fp8 and int4_awq; fp8_block and mxfp4 as they are published, on PyTorch; "
            "bitsandbytes and GGUF not at all",
            field="quantization",
        )
    if not _is_compiled(variant):
        return CheckpointSpec("modelopt", MODELOPT[quantization])
    cut = f"_tp{variant.tensor_parallel}" if variant.tensor_parallel > 1 else ""
    return CheckpointSpec("tensorrt_llm", MODELOPT[quantization] + cut)


def _is_compiled(variant: Variant) -> bool:
    return variant.engine_backend == COMPILED


def launch_spec(variant: Variant) -> LaunchSpec:
    """An engine brings its tokenizer along, in a folder of its own."""
    checkpoint(variant)
    _refuse(variant)
    argv = ["trtllm-serve", "{model}", "--backend", variant.engine_backend or "pytorch"]
    argv += ["--host", "{host}", "--port", "{port}", "--extra_llm_api_options", "{files}/options.yaml"]
    argv += ["--tokenizer", "{model}/tokenizer"] if _is_compiled(variant) else []
    numbers = {
        "--max_batch_size": variant.max_num_seqs,
        "--max_seq_len": variant.max_model_len,
        "--tp_size": variant.tensor_parallel,
        "--pp_size": variant.pipeline_parallel,
        "--ep_size": variant.expert_parallel if variant.expert_parallel > 1 else None,
    }
    argv += [word for flag, value in numbers.items() if value is not None for word in (flag, str(value))]
    argv += ["--enable_chunked_prefill"] if variant.chunked_prefill else []
    argv += ["--trust_remote_code"] if variant.trust_remote_code else []
    packages, image = _release(variant)
    return LaunchSpec(
        argv=(*argv, *variant.extra_args),
        env=environment_of(variant),
        packages=packages,
        image=image,
        files=(("options.yaml", json.dumps(_options(variant), indent=1, sort_keys=True) + "\n"),),
        metrics_path="/prometheus/metrics",
        version_path="/version",
        served_model="{model}",
        start_timeout_s=1800.0,
        shm_gib=8.0,
        gpus=variant.tensor_parallel * variant.pipeline_parallel,
    )


def _release(variant: Variant) -> tuple[tuple[str, ...], str]:
    """Packages, or the image."""
    if variant.runtime == "container":
        return (), f"nvcr.io/nvidia/tensorrt-llm/release:{variant.engine_version}"
    return (f"tensorrt-llm=={variant.engine_version}",), ""


def _options(variant: Variant) -> Mapping[str, Any]:
    """The file of options, as JSON, which is YAML too. An engine has its types compiled in, and takes fewer of them."""
    cache: dict[str, Any] = {"enable_block_reuse": bool(variant.prefix_cache)}
    if variant.gpu_memory_fraction is not None:
        cache["free_gpu_memory_fraction"] = variant.gpu_memory_fraction
    options: dict[str, Any] = {"kv_cache_config": cache, "return_perf_metrics": True}
    if variant.chunked_prefill is False:
        options["enable_chunked_prefill"] = False
    return options if _is_compiled(variant) else options | _pytorch_options(variant, cache)


def _pytorch_options(variant: Variant, cache: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {"enable_iter_perf_stats": True, "print_iter_log": False, "stream_interval": 1}
    options["dtype"] = DTYPES.get(variant.quantization, "auto")
    options["kv_cache_config"] = {**cache, "dtype": KV_TYPES.get(variant.kv_cache_dtype or "", "auto")}
    if variant.dummy_weights:
        options["load_format"] = "dummy"
    if variant.speculative_tokens is not None:
        ngram = {"max_draft_len": variant.speculative_tokens, "max_matching_ngram_size": NGRAM_WINDOW}
        options["speculative_config"] = {"decoding_type": "NGram", **ngram}
    return options


def build_spec(variant: Variant) -> BuildSpec | None:
    """None on PyTorch. Without max_model_len and max_num_seqs an engine has trtllm-build's own limits."""
    if not _is_compiled(variant):
        return None
    _refuse(variant)
    source, conversion = "{checkpoint}", tuple[tuple[str, ...], ...]()
    if checkpoint(variant).format == "safetensors":
        source, conversion = "{scratch}/checkpoint", (_conversion(variant),)
    packages, image = _release(variant)
    return BuildSpec(
        commands=(*conversion, _build(variant, source)),
        env=environment_of(variant),
        kind="TensorRT-LLM engine",
        packages=packages,
        image=image,
        tokenizer_folder="tokenizer",
        time_pattern=r"Total time of building all engines: (\d+:\d\d:\d\d)",
        memory_pattern=r"Build phase peak memory: ([0-9.]+ MB)",
    )


def _conversion(variant: Variant) -> tuple[str, ...]:
    script = f"{EXAMPLES}/{_family(variant)}/convert_checkpoint.py"
    files = ("--model_dir", "{checkpoint}", "--output_dir", "{scratch}/checkpoint")
    cut = ("--tp_size", str(variant.tensor_parallel), "--pp_size", str(variant.pipeline_parallel))
    return ("{python}", script, *files, "--dtype", DTYPES[variant.quantization], *cut)


def _family(variant: Variant) -> str:
    """Which of the release's conversion scripts is this model's; "" where none is known to be."""
    source = variant.model.source
    if source.kind == "synthetic":
        return "llama"
    name = (source.repo if source.kind == "hub" else source.path.rstrip("/")).rpartition("/")[2].lower()
    return next((family for family, words in FAMILIES.items() if re.search(words, name)), "")


def _build(variant: Variant, source: str) -> tuple[str, ...]:
    argv = ["trtllm-build", "--checkpoint_dir", source, "--output_dir", "{output}"]
    argv += ["--workers", str(variant.tensor_parallel * variant.pipeline_parallel), "--monitor_memory"]
    argv += ["--log_level", "info", "--output_timing_cache", "{scratch}/timing.cache"]
    limits = {"--max_batch_size": variant.max_num_seqs, "--max_seq_len": variant.max_model_len}
    argv += [word for flag, value in limits.items() if value is not None for word in (flag, str(value))]
    return (*argv, *(_tuned(variant) if variant.engine_profile == TUNED.name else ()))


def _tuned(variant: Variant) -> tuple[str, ...]:
    gemm = ("--gemm_plugin", "auto") if variant.quantization in DTYPES else ()
    fused = ("--reduce_fusion", "enable") if variant.tensor_parallel > 1 and _family(variant) == "llama" else ()
    return (*TUNED.arguments, *gemm, *fused)


def _refuse(variant: Variant) -> None:
    profile = variant.engine_profile not in ("default", TUNED.name if _is_compiled(variant) else "default")
    sharing = variant.tensor_parallel % variant.expert_parallel != 0
    old_gpu = variant.hardware.partition("-")[0] in BEFORE_FP8 and variant.quantization in (
        Quantization.FP8,
        Quantization.FP8_BLOCK,
    )
    refusals: dict[str, str | bool] = {
        "engine_backend": _no_backend(variant),
        "runtime": variant.runtime == "endpoint" and "it is started; the engine `endpoint` attaches to a URL",
        "engine_profile": profile and "`tuned` is a set of flags of trtllm-build, and there is no other",
        "kv_cache_dtype": variant.kv_cache_dtype not in (None, *KV_TYPES) and f"it takes {', '.join(KV_TYPES)}",
        "expert_parallel": sharing and "the experts are shared out within tensor_parallel, which it must divide",
        "quantization": old_gpu and f"{variant.hardware} has no FP8 tensor cores",
    }
    refuse("TensorRT-LLM", variant, on_gpus(variant) | no_draft_model(variant) | refusals)
    if _is_compiled(variant):
        refuse("TensorRT-LLM with a compiled engine", variant, _refusals_of_engines(variant))
        if variant.quantization in DTYPES and not _family(variant):
            raise UnsupportedVariant(
                f"TensorRT-LLM compiles no engine for {variant.model.name}: no conversion script of its release is "
                f"known to be for it; there are some for {', '.join(FAMILIES)}",
                field="model",
            )


def _no_backend(variant: Variant) -> str | bool:
    if variant.engine_backend not in BACKENDS:
        return "it has `pytorch`, its default, and up to 1.2.1 `tensorrt`, a compiled engine"
    if not _is_compiled(variant) or release_of(variant.engine_version) <= LAST_COMPILED:
        return False
    return (
        f"{variant.engine_version} compiles no engine: 1.2.1 is the last stable release that does, and from 1.3.0rc22 "
        "on trtllm-build and the TensorRT dependency are gone. Take 1.2.1, or engine_backend: pytorch"
    )


def _refusals_of_engines(variant: Variant) -> dict[str, str | bool]:
    converts = variant.quantization in DTYPES
    quantized_stages = not converts and variant.pipeline_parallel > 1
    return {
        "runtime": converts and variant.runtime != "container" and "the scripts that convert weights are in its image",
        "pipeline_parallel": quantized_stages and "its quantized checkpoints are cut for tensor_parallel only",
        "expert_parallel": variant.expert_parallel > 1 and "its checkpoints are cut for tensor_parallel only",
        "kv_cache_dtype": variant.kv_cache_dtype is not None
        and "the type comes with the checkpoint, and stays bf16 here",
        "dummy_weights": variant.dummy_weights and "an engine is made of real ones; use a synthetic model source",
        "speculative_tokens": variant.speculative_tokens is not None and "no draft model is compiled into it here",
    }


def request_dialect(variant: Variant) -> RequestDialect:
    """A field that it does not know is a 400, so only those of its own protocol are sent. A schema would need a guided
    decoding backend, which is not started here."""
    return RequestDialect(
        body={"temperature": 0.0, "top_k": 1, "top_p": 1.0, "seed": variant.seed or 0},
        exact_output={"ignore_eos": True},
        structured_output={},
    )


ADAPTER = EngineAdapter(
    name="tensorrt_llm",
    title="TensorRT-LLM",
    runtimes=("container", "environment"),
    launch_spec=launch_spec,
    checkpoint=checkpoint,
    build_spec=build_spec,
    request_dialect=request_dialect,
    metric_names={"kv_cache_usage": "trtllm_kv_cache_utilization"},
    release_package="tensorrt-llm",
    failure_patterns=(
        FailurePattern(r"CUDA out of memory|OutOfMemoryError|out of memory", FailureClass.OUT_OF_MEMORY),
        FailurePattern(
            r"Unknown architecture for AutoModelForCausalLM|Unsupported model architecture",
            FailureClass.UNSUPPORTED_ARCHITECTURE,
        ),
        FailurePattern(r"[Uu]nsupported quant|quant_algo.* is not supported", FailureClass.UNSUPPORTED_QUANTIZATION),
        FailurePattern(r"is a gated repo|GatedRepoError|401 Client Error", FailureClass.WEIGHTS_GATED),
        FailurePattern(r"No weight files found|No safetensors", FailureClass.WEIGHTS_MISSING),
        FailurePattern(
            r"No such option: -|Invalid value for '-|error: unrecognized arguments|Extra inputs are not permitted",
            FailureClass.BAD_FLAG,
        ),
        FailurePattern(r"Failed to bind socket to|Address already in use", FailureClass.PORT_IN_USE),
        FailurePattern(r"driver version is insufficient|driver on your system is too old", FailureClass.DRIVER_TOO_OLD),
        FailurePattern(r"Engine building failed, please check error log", FailureClass.COMPILE_ERROR),
    ),
    profiles=(TUNED,),
    backend_pattern=r"Using (?:LLM with )?(PyTorch|TensorRT|AutoDeploy) backend",
)
