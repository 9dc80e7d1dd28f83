"""`transformers serve`: PyTorch and Hugging Face's own server, with continuous batching, on any CPU.

Its habits: no [DONE], no /metrics, a request field that it does not know is refused (422), a prompt is text, always
greedy under continuous batching, and no check of a request's length against the model's context.
"""

import json

from engine_adapters.base import (
    BetweenLines,
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

DTYPES = {Quantization.BF16: "bfloat16", Quantization.F16: "float16"}
BITSANDBYTES = {Quantization.NF4: "nf4", Quantization.INT8: "int8"}
"""It reads the precision from the checkpoint, and is told none."""

TORCH, ACCELERATE, KERNELS = "2.13.0", "1.15.0", "0.50.2"

KV_BLOCKS, TOKENS_A_STEP = "512", "512"
"""Without these caps the first request sizes the cache by the machine's memory, 22 to 32 s after /health said ok."""

NEVER_ENDS = json.dumps({"eos_token_id": -1})
"""As `generation_config`, which is a text of JSON in this dialect: no id ends an answer."""


PROFILES: tuple[EngineProfile, ...] = ()
"""Beside `default`: its documentation names no tuned set of flags for a CPU."""

FAILURE_PATTERNS = (
    FailurePattern(r"quantized model requires|quantization requires", FailureClass.UNSUPPORTED_QUANTIZATION),
    FailurePattern(r"Memory footprint \d+ is more than available", FailureClass.OUT_OF_MEMORY),
    FailurePattern(r"Error no file named .{0,80}(safetensors|pytorch_model)", FailureClass.WEIGHTS_MISSING),
    FailurePattern(r"ValueError: Unsupported dtype", FailureClass.BAD_FLAG),
    FailurePattern(r"SafetensorError: Error while deserializing", FailureClass.WEIGHTS_MISSING),
)
"""What its server says, as of 5.23.0. A quantization that it does not know it leaves out, with a warning only."""


def checkpoint(variant: Variant) -> CheckpointSpec:
    """The model's own folder, whose weights become the asked dtype as they are loaded, or a bitsandbytes one."""
    if variant.quantization in BITSANDBYTES:
        return CheckpointSpec("bitsandbytes", BITSANDBYTES[variant.quantization])
    if variant.quantization not in DTYPES:
        can = ", ".join((*DTYPES, *BITSANDBYTES))
        raise UnsupportedVariant(
            f"transformers serve cannot do {variant.quantization}: it is given weights in {can}", field="quantization"
        )
    return CheckpointSpec("safetensors", "as_is")


def launch_spec(variant: Variant) -> LaunchSpec:
    """One model, pinned: a request must name its folder."""
    checkpoint(variant)
    _refuse(variant)
    profile = profile_of("transformers serve", PROFILES, variant)
    argv = ["{python}", "-m", "transformers.cli.transformers", "serve", "{model}", "--host", "{host}"]
    argv += [
        "--port",
        "{port}",
        "--device",
        "cpu",
        "--dtype",
        DTYPES.get(variant.quantization, "bfloat16"),
        "--continuous-batching",
    ]
    argv += ["--cb-num-blocks", KV_BLOCKS, "--cb-max-batch-tokens", TOKENS_A_STEP]
    if variant.trust_remote_code:
        argv.append("--trust-remote-code")
    if variant.seed is not None:
        argv += ["--default-seed", str(variant.seed)]
    threads = "{spare_cores}" if variant.cpu_threads is None else str(variant.cpu_threads)
    return LaunchSpec(
        argv=(*argv, *profile.arguments, *variant.extra_args),
        env=(("HF_HUB_DISABLE_TELEMETRY", "1"), ("OMP_NUM_THREADS", threads), *profile.env, *environment_of(variant)),
        packages=(
            f"transformers[serving]=={variant.engine_version}",
            f"torch=={TORCH}",
            f"accelerate=={ACCELERATE}",
            *([f"bitsandbytes=={KERNELS}"] if variant.quantization in BITSANDBYTES else []),
        ),
        metrics_path="",
        served_model="{model}",
        start_timeout_s=180.0,
    )


def _refuse(variant: Variant) -> None:
    batches = "it bounds batches by tokens and cache blocks: extra_args --cb-max-batch-tokens, --cb-num-blocks"
    refusals: dict[str, str | bool] = {
        "max_model_len": variant.max_model_len is not None and "it sets no limit on the length of a request",
        "max_num_seqs": variant.max_num_seqs is not None and batches,
        "kv_cache_dtype": variant.kv_cache_dtype is not None and "its KV cache has the dtype of the weights",
        "prefix_cache": variant.prefix_cache is not None and "it shares blocks of equal prefixes, with no switch",
        "chunked_prefill": variant.chunked_prefill is not None and "it always splits prompts over its batches",
        "speculative_tokens": variant.speculative_tokens is not None and "its server offers no draft model",
        "dummy_weights": variant.dummy_weights and "it needs weights; use a synthetic model source",
    }
    refuse("transformers serve", variant, one_cpu(variant) | refusals)


def request_dialect(variant: Variant) -> RequestDialect:
    """Sampling is said though it is greedy all the same: the first request decides it for all."""
    return RequestDialect(
        body={"temperature": 0.0, "top_p": 1.0},
        exact_output={"generation_config": NEVER_ENDS},
        token_id_prompts=False,
        usage_in_stream="always",
        sends_done=False,
        structured_output={},
        no_scoring="its server refuses a request for log-probabilities",
    )


ADAPTER = EngineAdapter(
    name="transformers_serve",
    title="transformers serve",
    runtimes=("environment",),
    launch_spec=launch_spec,
    checkpoint=checkpoint,
    build_spec=nothing_to_build,
    request_dialect=request_dialect,
    failure_patterns=FAILURE_PATTERNS,
    profiles=PROFILES,
    start_phases={
        "weights": BetweenLines(
            r"Loading weights: +0%.*\[(?P<minutes>\d+):(?P<seconds>\d+)<\?",
            r"Loading weights: 100%.*\[(?P<minutes>\d+):(?P<seconds>\d+)<00:00",
        )
    },
    release_package="transformers",
)
