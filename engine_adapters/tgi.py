"""Text Generation Inference: its launcher in its own image. In maintenance since December 2025; 3.3.7 is the last one.

Options as in the table tasks/flags/tables/tgi-3.3.7.json; the environment's names, log lines and endpoints as in
huggingface/text-generation-inference, launcher/src/main.rs and router/src of 3.x.
"""

from engine_adapters.base import (
    CheckpointSpec,
    EngineAdapter,
    FailurePattern,
    LaunchSpec,
    RequestDialect,
    UnsupportedVariant,
    environment_of,
    no_draft_model,
    nothing_to_build,
    on_gpus,
    refuse,
)
from experiments.schema.failure import FailureClass
from experiments.schema.variant import Quantization, Variant

DTYPES = {Quantization.BF16: "bfloat16", Quantization.F16: "float16"}

QUANTIZE = {
    Quantization.FP8: "fp8",
    Quantization.INT4_AWQ: "awq",
    Quantization.NF4: "bitsandbytes-nf4",
    Quantization.INT8: "bitsandbytes",
}
"""What it makes of weights as they are while it loads them; `awq` needs a model in AutoAWQ's format, and fails on any
other. `--dtype` cannot stand beside it."""

KV_TYPES = {"fp8": "fp8_e4m3fn", "fp8_e4m3": "fp8_e4m3fn", "fp8_e5m2": "fp8_e5m2"}

NO_QUEUE_LIMIT = "1000000"
"""Requests in flight or waiting. Its own limit of 128 answers the others with 429: saturation would seem an error."""


def checkpoint(variant: Variant) -> CheckpointSpec:
    """The model's own folder."""
    if variant.quantization not in DTYPES | QUANTIZE:
        can = ", ".join(DTYPES | QUANTIZE)
        raise UnsupportedVariant(f"TGI loads or makes {can}; it has no {variant.quantization}", field="quantization")
    return CheckpointSpec("safetensors", "as_is")


def launch_spec(variant: Variant) -> LaunchSpec:
    """Options only: the image's entry point prepares its Python environment and runs text-generation-launcher."""
    checkpoint(variant)
    _refuse(variant)
    argv = ["--model-id", "{model}", "--hostname", "{host}", "--port", "{port}"]
    argv += ["--num-shard", str(variant.tensor_parallel), "--max-concurrent-requests", NO_QUEUE_LIMIT]
    argv += ["--usage-stats", "off", *_precision(variant)]
    if variant.max_model_len is not None:
        argv += ["--max-total-tokens", str(variant.max_model_len)]
        argv += ["--max-input-tokens", str(variant.max_model_len - 1)]
    numbers = {
        "--max-batch-size": variant.max_num_seqs,
        "--cuda-memory-fraction": variant.gpu_memory_fraction,
        "--speculate": variant.speculative_tokens,
    }
    argv += [word for flag, value in numbers.items() if value is not None for word in (flag, str(value))]
    argv += ["--trust-remote-code"] if variant.trust_remote_code else []
    return LaunchSpec(
        argv=(*argv, *variant.extra_args),
        env=(("PREFIX_CACHING", "1" if variant.prefix_cache else "0"), *environment_of(variant)),
        image=f"ghcr.io/huggingface/text-generation-inference:{variant.engine_version}",
        version_path="/info",
        served_model="tgi",
        start_timeout_s=1800.0,
        shm_gib=1.0,
        gpus=variant.tensor_parallel,
    )


def _precision(variant: Variant) -> list[str]:
    words = ["--dtype", DTYPES[variant.quantization]] if variant.quantization in DTYPES else []
    words += ["--quantize", QUANTIZE[variant.quantization]] if variant.quantization in QUANTIZE else []
    return words + (["--kv-cache-dtype", KV_TYPES[variant.kv_cache_dtype]] if variant.kv_cache_dtype else [])


def _refuse(variant: Variant) -> None:
    refusals: dict[str, str | bool] = {
        "runtime": variant.runtime != "container" and "it comes as an image: write `runtime: container`",
        "engine_backend": variant.engine_backend is not None and "it has one back end in this image",
        "engine_profile": variant.engine_profile != "default" and "its documentation gives no tuned set of flags",
        "pipeline_parallel": variant.pipeline_parallel > 1 and "it shards tensors only",
        "expert_parallel": variant.expert_parallel > 1 and "it shards tensors only",
        "max_model_len": variant.max_model_len == 1 and "a prompt and an answer need two tokens",
        "kv_cache_dtype": variant.kv_cache_dtype not in (None, *KV_TYPES) and f"it takes {', '.join(KV_TYPES)}",
        "chunked_prefill": variant.chunked_prefill is not None and "it decides by itself",
        "dummy_weights": variant.dummy_weights and "it loads real weights only; use a synthetic model source",
    }
    refuse("TGI", variant, on_gpus(variant) | no_draft_model(variant) | refusals)


def request_dialect(variant: Variant) -> RequestDialect:
    """Greedy is temperature 0; a top_p of 1 is refused with 422, and none is the same. Prompts are text, never ids."""
    return RequestDialect(
        body={"temperature": 0.0, "seed": variant.seed or 0},
        exact_output={},
        token_id_prompts=False,
        no_scoring="of a prompt's tokens it tells log-probabilities, and not which token was the likeliest",
    )


ADAPTER = EngineAdapter(
    name="tgi",
    title="Text Generation Inference",
    runtimes=("container",),
    launch_spec=launch_spec,
    checkpoint=checkpoint,
    build_spec=nothing_to_build,
    request_dialect=request_dialect,
    metric_names={
        "requests_running": "tgi_batch_current_size",
        "requests_waiting": "tgi_queue_size",
        "prompt_tokens": "tgi_request_input_length_sum",
        "output_tokens": "tgi_request_generated_tokens_sum",
    },
    failure_patterns=(
        FailurePattern(r"CUDA out of memory|OutOfMemoryError|Not enough memory to handle", FailureClass.OUT_OF_MEMORY),
        FailurePattern(r"Unsupported model type", FailureClass.UNSUPPORTED_ARCHITECTURE),
        FailurePattern(
            r"is not currently supported with quantiz|weight is not quantized", FailureClass.UNSUPPORTED_QUANTIZATION
        ),
        FailurePattern(
            r"No local weights found in|No such file or directory.*safetensors", FailureClass.WEIGHTS_MISSING
        ),
        FailurePattern(r"401 Client Error|is a gated repo|GatedRepoError", FailureClass.WEIGHTS_GATED),
        FailurePattern(r"error: unexpected argument|error: invalid value|ArgumentValidation", FailureClass.BAD_FLAG),
        FailurePattern(r"Address already in use", FailureClass.PORT_IN_USE),
        FailurePattern(r"driver on your system is too old|unsatisfied condition: cuda", FailureClass.DRIVER_TOO_OLD),
    ),
    backend_pattern=r"Using attention (\w+) - Prefix caching",
    start_phases={"weights": r"Shard ready in ([0-9.]+)s"},
    quantizing_flags=("--quantize",),
    no_exact_output="it ends an answer where the model does, since ignore_eos is false for every request over HTTP",
)
