"""MLC-LLM: weights converted, a model library compiled, `mlc_llm serve` on both.

Options as in tasks/flags/tables/mlc_llm*-0.20.0.json. Its nightly wheels are on the project's own page only: pip finds
them where PIP_FIND_LINKS or pip's own configuration names that page.
"""

import re

from engine_adapters.base import (
    BuildSpec,
    CheckpointSpec,
    EngineAdapter,
    FailurePattern,
    LaunchSpec,
    RequestDialect,
    UnsupportedVariant,
    environment_of,
    no_draft_model,
    on_gpus,
    refuse,
)
from experiments.schema.failure import FailureClass
from experiments.schema.variant import Quantization, Variant

AUTO_AWQ = "q4f16_autoawq"
FORMATS = {
    Quantization.BF16: "q0bf16",
    Quantization.F16: "q0f16",
    Quantization.INT4_AWQ: "q4f16_1",
    Quantization.FP8_BLOCK: "fp8_e4m3fn_bf16_block_scale",
}
"""What a precision is to convert_weight. q4f16_1 rounds BF16 weights in groups of 32, without AWQ's search; a model
whose name says AWQ is loaded as AutoAWQ made it. The block scales must be in the model's files."""

TEMPLATES = {
    r"llama-?4": "llama-4",
    r"llama-?3[._-][123]": "llama-3_1",
    r"llama-?3": "llama-3",
    r"llama-?2": "llama-2",
    r"ministral-?3": "ministral3",
    r"mistral|mixtral|ministral": "mistral_default",
    r"qwen": "qwen2",
    r"gemma-?3": "gemma3_instruction",
    r"gemma": "gemma_instruction",
    r"deepseek-?v3": "deepseek_v3",
    r"deepseek-?v2": "deepseek_v2",
    r"phi-?4": "phi-4",
    r"phi-?3": "phi-3",
}
"""The words of a model's name to the template of its chat; "LM" (none) for any other. Completions need none."""

PACKAGES = ("mlc-llm-nightly-cu128", "mlc-ai-nightly-cu128")


def checkpoint(variant: Variant) -> CheckpointSpec:
    """The model's own folder, which convert_weight reads."""
    _format(variant)
    return CheckpointSpec("safetensors", "as_is")


def _format(variant: Variant) -> str:
    if variant.quantization not in FORMATS:
        fp8 = "; its FP8 of whole tensors needs a calibration on the GPU that no stage here makes"
        raise UnsupportedVariant(
            f"MLC-LLM compiles {', '.join(FORMATS)}; it has no {variant.quantization}"
            f"{fp8 if variant.quantization == Quantization.FP8 else ''}",
            field="quantization",
        )
    is_auto_awq = variant.quantization == Quantization.INT4_AWQ and "awq" in _name(variant)
    return AUTO_AWQ if is_auto_awq else FORMATS[variant.quantization]


def _name(variant: Variant) -> str:
    source = variant.model.source
    if source.kind == "synthetic":
        return ""
    return (source.repo if source.kind == "hub" else source.path.rstrip("/")).rpartition("/")[2].lower()


def launch_spec(variant: Variant) -> LaunchSpec:
    """`--enable-debug` is what lets a request ignore the end of an answer; `server` mode batches beyond four."""
    checkpoint(variant)
    _refuse(variant)
    argv = ["mlc_llm", "serve", "{model}", "--model-lib", "{model}/lib.so", "--device", "cuda", "--mode", "server"]
    argv += ["--host", "{host}", "--port", "{port}", "--enable-debug"]
    argv += ["--prefix-cache-mode", "radix" if variant.prefix_cache else "disable"]
    argv += ["--prefill-mode", "chunked"] if variant.chunked_prefill else []
    overrides = {
        "max_num_sequence": variant.max_num_seqs,
        "context_window_size": variant.max_model_len,
        "gpu_memory_utilization": variant.gpu_memory_fraction,
    }
    given = ";".join(f"{name}={value}" for name, value in overrides.items() if value is not None)
    argv += ["--overrides", given] if given else []
    return LaunchSpec(
        argv=(*argv, *variant.extra_args),
        env=environment_of(variant),
        packages=_packages(variant),
        ready_path="/v1/models",
        served_model="{model}",
        start_timeout_s=600.0,
        gpus=variant.tensor_parallel * variant.pipeline_parallel,
    )


def _packages(variant: Variant) -> tuple[str, ...]:
    """Both wheels of one night; the compiler's own numbers differ, and pip takes the newest."""
    return (f"{PACKAGES[0]}=={variant.engine_version}", PACKAGES[1])


def build_spec(variant: Variant) -> BuildSpec:
    """Weights, configuration and library in one folder. The library is compiled for the GPU that is there."""
    precision = ("--quantization", _format(variant))
    _refuse(variant)
    source = ("--source-format", "awq" if precision[1] == AUTO_AWQ else "auto")
    template = next((one for words, one in TEMPLATES.items() if re.search(words, _name(variant))), "LM")
    numbers = {
        "--context-window-size": variant.max_model_len,
        "--max-batch-size": variant.max_num_seqs,
        "--tensor-parallel-shards": variant.tensor_parallel,
        "--pipeline-parallel-stages": variant.pipeline_parallel,
    }
    sizes = [word for flag, value in numbers.items() if value is not None for word in (flag, str(value))]
    folder = ("--output", "{output}")
    return BuildSpec(
        commands=(
            ("mlc_llm", "convert_weight", "{checkpoint}", *precision, *source, "--device", "cuda", *folder),
            ("mlc_llm", "gen_config", "{checkpoint}", *precision, "--conv-template", template, *sizes, *folder),
            ("mlc_llm", "compile", "{output}/mlc-chat-config.json", "--device", "cuda", "--output", "{output}/lib.so"),
        ),
        env=environment_of(variant),
        kind="MLC-LLM model library",
        packages=_packages(variant),
        memory_pattern=r"Peak RAM: ([0-9.]+ GB)",
    )


def _refuse(variant: Variant) -> None:
    refusals: dict[str, str | bool] = {
        "runtime": variant.runtime != "environment" and "it has wheels and no image of its own",
        "engine_backend": variant.engine_backend is not None and "it has one back end only",
        "engine_profile": variant.engine_profile != "default" and "its documentation gives no tuned set of flags",
        "expert_parallel": variant.expert_parallel > 1 and "it shards tensors and layers only",
        "kv_cache_dtype": variant.kv_cache_dtype is not None and "the type is part of its quantization's name",
        "chunked_prefill": variant.chunked_prefill is False and "both of its modes split prompts",
        "speculative_tokens": variant.speculative_tokens is not None and "no draft model is compiled for it here",
        "dummy_weights": variant.dummy_weights and "it converts real ones; use a synthetic model source",
        "trust_remote_code": variant.trust_remote_code and "it runs no code of a model",
    }
    refuse("MLC-LLM", variant, on_gpus(variant) | no_draft_model(variant) | refusals)


def request_dialect(variant: Variant) -> RequestDialect:
    """Its schemas are a string within `response_format`, which is not said here."""
    return RequestDialect(
        body={"temperature": 0.0, "top_p": 1.0, "seed": variant.seed or 0},
        exact_output={"debug_config": {"ignore_eos": True}},
        structured_output={},
    )


ADAPTER = EngineAdapter(
    name="mlc_llm",
    title="MLC-LLM",
    runtimes=("environment",),
    launch_spec=launch_spec,
    checkpoint=checkpoint,
    build_spec=build_spec,
    request_dialect=request_dialect,
    metric_names={
        "prompt_tokens": "prompt_tokens_sum",
        "uncached_prompt_tokens": "prefill_tokens_sum",
        "output_tokens": "completion_tokens_sum",
    },
    release_package=PACKAGES[0],
    failure_patterns=(
        FailurePattern(r"CUDA: out of memory|CUDA out of memory|Insufficient GPU memory", FailureClass.OUT_OF_MEMORY),
        FailurePattern(r"Unknown model type|Unsupported model type", FailureClass.UNSUPPORTED_ARCHITECTURE),
        FailurePattern(r"argument --quantization: invalid choice", FailureClass.UNSUPPORTED_QUANTIZATION),
        FailurePattern(r"does not exist: .*params|Cannot find .* weight|No weight", FailureClass.WEIGHTS_MISSING),
        FailurePattern(r"error: unrecognized arguments|error: argument ", FailureClass.BAD_FLAG),
        FailurePattern(r"address already in use", FailureClass.PORT_IN_USE),
        FailurePattern(r"driver version is insufficient", FailureClass.DRIVER_TOO_OLD),
        FailurePattern(r"Compilation error|nvcc fatal", FailureClass.COMPILE_ERROR),
    ),
)
