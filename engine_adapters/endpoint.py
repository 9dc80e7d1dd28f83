"""Any OpenAI-compatible server that is there already: attached to, never launched."""

from engine_adapters.base import (
    CheckpointSpec,
    EngineAdapter,
    LaunchSpec,
    RequestDialect,
    UnsupportedVariant,
    nothing_to_build,
    refuse,
)
from experiments.schema.variant import Variant

DECLARED = ("engine_version", "quantization", "hardware")
"""What only the person knows who runs it: it is on record as said by them, and dyno does not check it."""

LAUNCH_ONLY = (
    "engine_backend",
    "engine_profile",
    "tensor_parallel",
    "pipeline_parallel",
    "expert_parallel",
    "max_model_len",
    "max_num_seqs",
    "kv_cache_dtype",
    "gpu_memory_fraction",
    "prefix_cache",
    "chunked_prefill",
    "speculative_tokens",
    "speculative_method",
    "speculative_model",
    "cpu_threads",
    "dummy_weights",
    "trust_remote_code",
    "seed",
    "extra_args",
    "env",
)
"""What is said to a server when it starts."""


def checkpoint(variant: Variant) -> CheckpointSpec | None:
    """It has its model."""
    return None


def launch_spec(variant: Variant) -> LaunchSpec:
    """Where it answers. A hub's model is asked for by its repository; else the server is to list one model only."""
    _refuse(variant)
    if variant.endpoint_url is None:
        raise UnsupportedVariant("the engine `endpoint` needs endpoint_url, such as http://host:8000", field="engine")
    root = variant.endpoint_url.rstrip("/").removesuffix("/v1").rstrip("/")
    source = variant.model.source
    return LaunchSpec(
        argv=(),
        url=root,
        ready_path="/v1/models",
        version_path="/version",
        served_model=source.repo if source.kind == "hub" else "",
        declared=tuple((name, str(getattr(variant, name))) for name in (*DECLARED, *_named_key(variant))),
    )


def _named_key(variant: Variant) -> tuple[str, ...]:
    """On record is which variable holds the key, where there is one."""
    return () if variant.api_key_env is None else ("api_key_env",)


def _refuse(variant: Variant) -> None:
    """Nothing of a launch can be said to it, and what is not said is not measured."""
    defaults = Variant.model_fields
    running = "the server runs already, and dyno cannot tell it"
    told = {name: getattr(variant, name) != defaults[name].default and running for name in LAUNCH_ONLY}
    runtime: str | bool = variant.runtime != "endpoint" and "write `runtime: endpoint`, with endpoint_url"
    refuse("endpoint", variant, {"runtime": runtime} | told)


def request_dialect(variant: Variant) -> RequestDialect:
    """The OpenAI API, and two fields that most engines know beside it; the pre-flight leaves out what is refused."""
    return RequestDialect(
        body={"temperature": 0.0, "top_p": 1.0},
        exact_output={"ignore_eos": True, "min_tokens": "{output_tokens}"},
    )


ADAPTER = EngineAdapter(
    name="endpoint",
    title="any OpenAI-compatible endpoint",
    runtimes=("endpoint",),
    launch_spec=launch_spec,
    checkpoint=checkpoint,
    build_spec=nothing_to_build,
    request_dialect=request_dialect,
)
