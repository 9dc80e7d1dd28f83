"""What an adapter is: a record of data and pure functions that describe one engine. It never acts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from experiments.schema.variant import Variant


class UnsupportedVariant(Exception):
    """This engine cannot be this variant; the message says why, and `field` which of its fields asks too much.
    It is a cell of the plan, not a failure."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class CheckpointSpec:
    """Which artifact of the weights this engine loads: `format` names the maker in tasks/quantization, `recipe` what
    that maker is to make (for GGUF a file type such as Q4_K_M; for safetensors `as_is`)."""

    format: Literal["safetensors", "gguf"]
    recipe: str


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """Commands that compile an engine from a checkpoint, run in order; `{checkpoint}` and `{output}` are filled in."""

    commands: tuple[tuple[str, ...], ...]
    env: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """A server as data. An argument that is exactly `{python}`, `{launchers}/NAME`, `{model}`, `{host}` or `{port}`
    is filled in at the start; nothing else in an argument is ever interpreted."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    packages: tuple[str, ...] = ()
    image: str = ""
    ready_path: str = "/health"
    metrics_path: str = "/metrics"
    served_model: str = "model"
    start_timeout_s: float = 120.0


RESPONSE_FORMAT: Mapping[str, Any] = {
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": "{json_schema}", "strict": True},
    }
}
"""Structured output as the OpenAI API says it, for chat only."""


@dataclass(frozen=True, slots=True)
class RequestDialect:
    """How requests are said to this engine. All of it is what the engine claims; the pre-flight finds what holds.

    `body` is merged into every request. `exact_output` is merged too where an exact output length is asked:
    the value "{output_tokens}" stands for that length. `structured_output` says by endpoint (completions, chat) what is
    merged where answers are to follow a JSON schema, for which the value "{json_schema}" stands; an endpoint that is
    not there cannot.
    """

    body: Mapping[str, Any] = field(default_factory=dict)
    exact_output: Mapping[str, Any] = field(default_factory=lambda: {"ignore_eos": True})
    token_id_prompts: bool = True
    usage_in_stream: Literal["asked", "always", "never"] = "asked"
    sends_done: bool = True
    cache_reset_path: str = ""
    structured_output: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"chat": RESPONSE_FORMAT})


@dataclass(frozen=True, slots=True)
class EngineAdapter:
    """All that the project knows of one engine.

    `launch_spec`, `checkpoint` and `build_spec` raise UnsupportedVariant with the reason; no field of a variant is
    silently ignored (tests/engine_adapters/test_contract.py). `metric_names` maps our names of gauges and counters
    to those of the engine's /metrics: `prompt_tokens` where it counts all, cached ones included,
    `uncached_prompt_tokens` where it counts the others.
    """

    name: str
    title: str
    runtimes: tuple[str, ...]
    launch_spec: Callable[[Variant], LaunchSpec]
    checkpoint: Callable[[Variant], CheckpointSpec]
    build_spec: Callable[[Variant], BuildSpec | None]
    request_dialect: Callable[[Variant], RequestDialect]
    metric_names: Mapping[str, str] = field(default_factory=dict)
    release_package: str = ""
