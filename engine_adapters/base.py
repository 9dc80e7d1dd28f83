"""What an adapter is: a record of data and pure functions that describe one engine. It never acts."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from engine_adapters.escapes import escapes
from experiments.schema.failure import FailureClass
from experiments.schema.variant import Variant

T = TypeVar("T")


class UnsupportedVariant(Exception):
    """This engine cannot be this variant; the message says why, and `field` which of its fields asks too much.
    It is a cell of the plan, not a failure."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


CheckpointFormat = Literal["safetensors", "gguf", "compressed_tensors", "modelopt", "tensorrt_llm", "bitsandbytes"]
"""`safetensors` are the model's own files as they are, pre-quantized ones included; `modelopt` is its Hugging Face
export, `tensorrt_llm` its checkpoint for trtllm-build."""

MetricsDialect = Literal["prometheus", "json_iterations"]
"""How metrics are told: Prometheus' text format, or TensorRT-LLM's list of iterations in JSON."""


@dataclass(frozen=True, slots=True)
class CheckpointSpec:
    """Which artifact of the weights this engine loads: `format` names the maker in tasks/quantization, `recipe` what
    that maker is to make (for GGUF a file type such as Q4_K_M; for safetensors `as_is`; for the others a key of that
    maker's own table of recipes)."""

    format: CheckpointFormat
    recipe: str


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """Commands that compile an engine from a checkpoint, run in order where the server would run: in the image, or in
    the environment of `packages`. An argument that is exactly `{python}`, `{checkpoint}`, `{model}` (the model's own
    files) or `{output}` is filled in, and so is one that begins with `{output}/` or `{scratch}/` (a folder that is
    removed when the build ends); nothing else is interpreted.

    `kind` names what is built for people (`TensorRT-LLM engine`). `loads` is what the server is given as {model}: a
    path below the output, "" for the output itself. `tokenizer_folder` is the folder below the output that the model's
    own files but its weights are copied to, byte for byte; "" copies none. `time_pattern` and `memory_pattern` are
    regular expressions whose first group is what the tool itself says of the time and the memory that it took.
    """

    commands: tuple[tuple[str, ...], ...]
    env: tuple[tuple[str, str], ...] = ()
    kind: str = "engine"
    packages: tuple[str, ...] = ()
    image: str = ""
    loads: str = ""
    tokenizer_folder: str = ""
    time_pattern: str = ""
    memory_pattern: str = ""


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """A server as data. An argument that is exactly `{python}`, `{launchers}/NAME`, `{model}`, `{model}/NAME`, `{host}`
    or `{port}` is filled in at the start, and so are a served model that is `{model}` and a value of `env` that is
    `{spare_cores}` (all cores but one, which is the load client's); nothing else is ever interpreted. A program
    without a path is found in the environment first.

    `removed_packages` are taken out of the environment again: what a release brings along and cannot run with.
    `url` is that of a server that is there already: nothing is started, and `declared` is what the person who wrote
    the experiment says of it. A served model of "" is the only one that such a server lists.
    `files` are texts that the server reads (name, content), written beside its log before the start; an argument that
    is exactly `{files}/NAME` is filled in with the path of one.
    `image` is the reference that a container of this release is started from, `shm_gib` its shared memory, `gpus` how
    many GPUs the server takes: 0 leaves them all hidden from it. `entrypoint` replaces the image's own where it is
    not empty. In a container `{python}` is `python3` of the image.
    """

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    packages: tuple[str, ...] = ()
    removed_packages: tuple[str, ...] = ()
    image: str = ""
    ready_path: str = "/health"
    metrics_path: str = "/metrics"
    version_path: str = ""
    served_model: str = "model"
    start_timeout_s: float = 120.0
    url: str = ""
    declared: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    shm_gib: float = 0.0
    gpus: int = 0
    entrypoint: tuple[str, ...] = ()


AS_IT_STANDS = ("env",)
"""An entry point for images whose own would come before our argv."""

RESPONSE_FORMAT: Mapping[str, Any] = {
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": "{json_schema}", "strict": True},
    }
}
"""Structured output as the OpenAI API says it, for chat only."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """How the log-probabilities of a given text's tokens are had; the probe finds whether it holds.

    `method` names what the answer looks like. `prompt_logprobs`: one request a text, whose choice has a list of objects
    by token id with logprob and rank (vLLM). `input_token_logprobs`: one request a text, whose meta_info has lists of
    [logprob, token id, …] (SGLang). `forced_token`: one request a token, which a bias makes the one that is drawn, and
    whose reported log-probabilities are those before the bias (llama.cpp). In `body` the value "{tokens}" stands for
    the token ids of the text, or of what is before the forced token, and "{token}" for that one. The answer is asked of
    `path`.
    """

    method: Literal["prompt_logprobs", "input_token_logprobs", "forced_token"]
    body: Mapping[str, Any]
    path: str = "/v1/completions"


@dataclass(frozen=True, slots=True)
class RequestDialect:
    """How requests are said to this engine. All of it is what the engine claims; the pre-flight finds what holds.

    `body` is merged into every request. `exact_output` is merged too where an exact output length is asked:
    the value "{output_tokens}" stands for that length. `structured_output` says by endpoint (completions, chat) what is
    merged where answers are to follow a JSON schema, for which the value "{json_schema}" stands; an endpoint that is
    not there cannot. `scoring` is how a given text's log-probabilities are had, None where no way is known, which
    `no_scoring` explains.
    """

    body: Mapping[str, Any] = field(default_factory=dict)
    exact_output: Mapping[str, Any] = field(default_factory=lambda: {"ignore_eos": True})
    token_id_prompts: bool = True
    usage_in_stream: Literal["asked", "always", "never"] = "asked"
    sends_done: bool = True
    cache_reset_path: str = ""
    structured_output: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"chat": RESPONSE_FORMAT})
    scoring: Scoring | None = None
    no_scoring: str = "no way is known to ask it for the log-probabilities of a given text"


PROMPT_LOGPROBS = Scoring("prompt_logprobs", {"prompt": "{tokens}", "max_tokens": 1, "prompt_logprobs": 1})
"""As vLLM gives them."""


@dataclass(frozen=True, slots=True)
class BetweenLines:
    """A phase of a start that takes from one line of the log to another. Each is a regular expression whose named
    groups `hours`, `minutes`, `seconds` and `fraction` (its digits, read as a decimal fraction) are the time that the
    log itself tells."""

    begin: str
    end: str


@dataclass(frozen=True, slots=True)
class FailurePattern:
    """A line of this engine's log that names the cause: a regular expression, searched line by line."""

    pattern: str
    failure_class: FailureClass


@dataclass(frozen=True, slots=True)
class EngineProfile:
    """A set of flags under a name that a variant may bear as `engine_profile`; `default` is the engine as it comes.

    `source` is where it is from: the engine's own documentation, by release and page. `flags` are groups of arguments
    that belong together, so that each can be left out alone to see what it brings: of the launch, or of the last
    command of the `build`.
    """

    name: str
    author: str
    reason: str
    source: str
    flags: tuple[tuple[str, ...], ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    stage: Literal["launch", "build"] = "launch"

    @property
    def arguments(self) -> tuple[str, ...]:
        """All of its flags, in order."""
        return tuple(word for group in self.flags for word in group)


@dataclass(frozen=True, slots=True)
class Profiler:
    """How a running server is told to trace itself: POST to `start_path`, some requests, POST to `stop_path`.

    `arguments` and `env` are added to the launch; one that is exactly `{traces}` is filled in with the folder that the
    traces are to lie in, and so is `{traces}` within a JSON text. `start_body` is what the first POST says.
    """

    start_path: str
    stop_path: str
    arguments: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    start_body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OptionSource:
    """Where the options of an engine's command are learned from, without a GPU. `program` are the words of a launch
    before its options. The parser is built by engine_adapters/parsers/NAME.py of the engine's name, from the Python
    files of `wheel`; `requirements` are what those import."""

    program: tuple[str, ...]
    wheel: str
    requirements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EngineAdapter:
    """All that the project knows of one engine.

    `launch_spec`, `checkpoint` and `build_spec` raise UnsupportedVariant with the reason; no field of a variant is
    silently ignored (tests/engine_adapters/test_contract.py). A checkpoint of None: the server has its model already.
    `metric_names` maps our names of gauges and counters to those of the engine's /metrics: `prompt_tokens` where it
    counts all, cached ones included, `uncached_prompt_tokens` where it counts the others. In `metrics_dialect`
    "json_iterations" a name is the path of a field (`kvCacheStats.usedNumBlocks`); `a/b` is a quotient in both. A share
    such as `kv_cache_usage` is from 0 to 1. `release_package` is the distribution whose version is the engine's.

    `failure_patterns` name causes of failure in its log, the likeliest first. `profiles` are the named sets of flags
    that it ships beside `default`. `backend_pattern` is a regular expression whose first group is the backend that
    the log says is really in use. `start_phases` maps phases of a start (weights, compile, capture) to regular
    expressions whose first group is how many seconds the log says that each took, or to two lines of it.
    `cache_variables` name the folders that it keeps between starts what it compiles. `no_exact_output` is why it cannot
    be held to an output length, "" where it can: a workload that holds answers to one is then refused.

    `quantizing_flags` are those of its server that quantize weights while they are loaded, each with one value: they
    are left out for weights that are quantized already (`without_flags`).
    """

    name: str
    title: str
    runtimes: tuple[str, ...]
    launch_spec: Callable[[Variant], LaunchSpec]
    checkpoint: Callable[[Variant], CheckpointSpec | None]
    build_spec: Callable[[Variant], BuildSpec | None]
    request_dialect: Callable[[Variant], RequestDialect]
    metric_names: Mapping[str, str] = field(default_factory=dict)
    metrics_dialect: MetricsDialect = "prometheus"
    release_package: str = ""
    failure_patterns: tuple[FailurePattern, ...] = ()
    profiles: tuple[EngineProfile, ...] = ()
    profiler: Profiler | None = None
    backend_pattern: str = ""
    start_phases: Mapping[str, str | BetweenLines] = field(default_factory=dict)
    cache_variables: tuple[str, ...] = ()
    no_exact_output: str = ""
    quantizing_flags: tuple[str, ...] = ()
    option_source: OptionSource | None = None


DEFAULT_PROFILE = EngineProfile(
    name="default", author="the engine's own authors", reason="the engine as it comes", source="no flags are added"
)
"""What every engine has, and a variant that names no other gets."""


def profile_of(title: str, profiles: tuple[EngineProfile, ...], variant: Variant) -> EngineProfile:
    """The profile that the variant names, of `default` and these. Raises UnsupportedVariant, naming all, where there is
    none of that name."""
    known = {profile.name: profile for profile in (DEFAULT_PROFILE, *profiles)}
    found = known.get(variant.engine_profile)
    if found is None:
        names = ", ".join(known)
        raise UnsupportedVariant(
            f"{title} has no profile {variant.engine_profile}; its profiles: {names}", field="engine_profile"
        )
    return found


Refusals = Mapping[str, str | bool]
"""Field of a variant → why the engine cannot do what it asks; what is false or empty is no refusal."""


def refuse(title: str, variant: Variant, refusals: Refusals) -> None:
    """Raises UnsupportedVariant for the first field that asks too much, so that it is never silently ignored; and for
    what no experiment may ask of any engine."""
    for name, reason in refusals.items():
        if reason:
            raise UnsupportedVariant(f"{title} cannot do {name}={getattr(variant, name)}: {reason}", field=name)
    for name, reason in escapes(variant).items():
        raise UnsupportedVariant(f"{name}: {reason}", field=name)


def started_here(variant: Variant) -> dict[str, str | bool]:
    """What every engine refuses that dyno starts itself."""
    return {
        "endpoint_url": variant.endpoint_url is not None and "dyno starts it; the engine `endpoint` attaches to a URL",
        "api_key_env": variant.api_key_env is not None
        and "dyno starts it without a key; it is for the engine `endpoint`",
    }


def one_cpu(variant: Variant) -> dict[str, str | bool]:
    """What every engine refuses that runs in an environment of its own, on the CPU of one machine."""
    parallel = ("tensor_parallel", "pipeline_parallel", "expert_parallel")
    return {
        "runtime": variant.runtime != "environment" and "it runs in an environment of its own only",
        **started_here(variant),
        "hardware": variant.hardware != "cpu" and "what is installed for it computes on the CPU only",
        "engine_backend": variant.engine_backend is not None and "it has one back end only",
        **{name: getattr(variant, name) > 1 and "it runs on one device" for name in parallel},
        "gpu_memory_fraction": variant.gpu_memory_fraction is not None and "it uses no GPU",
        **no_draft_model(variant),
    }


def no_draft_model(variant: Variant) -> dict[str, str | bool]:
    """Of an engine that speculates by looking n-grams up, if at all."""
    method = variant.speculative_method
    alone = method is not None and variant.speculative_tokens is None and "say how many speculative_tokens"
    return {
        "speculative_method": (method not in (None, "ngram") and "no draft model is given to it here") or alone,
        "speculative_model": variant.speculative_model is not None and "no draft model is given to it here",
    }


def speculation(variant: Variant, methods: Mapping[str, str]) -> dict[str, str | bool]:
    """What an engine refuses that speculates by these methods: our names of them to its own."""
    method, model = variant.speculative_method or "ngram", variant.speculative_model
    off = variant.speculative_tokens is None
    return {
        "speculative_tokens": not off and variant.speculative_method is None and method not in methods and NO_LOOKUP,
        "speculative_method": variant.speculative_method is not None
        and (
            (off and "say how many speculative_tokens")
            or (method not in methods and f"it speculates by {', '.join(methods)}")
            or (method in DRAFTS and model is None and "it needs a draft: name a speculative_model")
        ),
        "speculative_model": model is not None
        and (off or method not in DRAFTS)
        and f"it goes with speculative_tokens and one of {', '.join(DRAFTS)} as speculative_method",
    }


DRAFTS = ("draft_model", "eagle", "eagle3")
NO_LOOKUP = "it does not look n-grams up: name a speculative_method"


def on_gpus(variant: Variant) -> dict[str, str | bool]:
    """What every engine refuses that dyno starts on NVIDIA GPUs."""
    return {
        **started_here(variant),
        "hardware": variant.hardware == "cpu" and "it computes on NVIDIA GPUs: name the hardware",
        "cpu_threads": variant.cpu_threads is not None and "it computes on GPUs, and its threads are its own",
    }


def release_of(version: str) -> tuple[int, ...]:
    """The numbers of a release, pre-releases and builds left out: 1.3.0rc22 is (1, 3, 0)."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def without_flags(argv: Sequence[str], flags: Collection[str], *, but: str = "") -> tuple[str, ...]:
    """The arguments but those flags, each with its value; one whose value is `but` stays."""
    kept: list[str] = []
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if name not in flags:
            kept.append(word)
            continue
        value = value if equals else next(words, "")
        if but and value == but:
            kept += [word] if equals else [word, value]
    return tuple(kept)


NO_FP8 = ("v100", "t4", "a100", "a30", "a10", "a10g", "a40")


def computes_fp8(variant: Variant) -> bool:
    """Whether the hardware multiplies in FP8: NVIDIA's GPUs before Ada and Hopper do not, and engines then compute in
    16 bits with 8-bit weights, which is another precision under the same name."""
    return variant.hardware.partition("-")[0] not in NO_FP8


def spelling(version: str, spellings: Sequence[tuple[str, T]]) -> T:
    """How a release says something: `spellings` are (first release, its way), newest first; the last one holds for all
    that are older. A version without a number is newer than all."""
    release = release_of(version)
    ways = (way for first, way in spellings if not release or release >= release_of(first))
    return next(ways, spellings[-1][1])


def words_of(flags: Mapping[str, object]) -> list[str]:
    """Each flag and its value, where it has one."""
    return [word for flag, value in flags.items() if value is not None for word in (flag, str(value))]


def environment_of(variant: Variant) -> tuple[tuple[str, str], ...]:
    """The variables that the variant itself names; the last of a name wins."""
    return tuple((item.name, item.value) for item in variant.env)


def nothing_to_build(variant: Variant) -> BuildSpec | None:
    """For engines that load a checkpoint as it is."""
    return None
