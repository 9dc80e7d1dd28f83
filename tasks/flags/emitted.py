"""Every command that an adapter can emit for a release: driven over the fields of a variant and over its profiles."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, get_args, get_origin

from engine_adapters.base import EngineAdapter, UnsupportedVariant
from experiments.schema.model import Model, SyntheticSource
from experiments.schema.variant import Quantization, Variant

MODEL = Model(name="m", source=SyntheticSource(kind="synthetic"))

NUMBERS: Mapping[str, Sequence[Any]] = {
    "tensor_parallel": (2, 8),
    "pipeline_parallel": (2,),
    "expert_parallel": (2,),
    "max_model_len": (1234, 131072),
    "max_num_seqs": (1, 512),
    "gpu_memory_fraction": (0.5, 1.0),
    "speculative_tokens": (1, 5),
    "cpu_threads": (3,),
    "seed": (0, 99),
    "speculative_model": ("some/draft",),
}
"""Values of the fields that have no list of their own."""

HARDWARE = ("h200-sxm", "a100-80gb", "cpu")
COMPANIONS: Sequence[dict[str, Any]] = (
    {},
    {"tensor_parallel": 2},
    {"speculative_tokens": 3},
    {"speculative_tokens": 3, "speculative_model": "some/draft"},
)
"""What a value may want beside it before an engine takes it at all: a method wants a number of tokens, and a draft."""

NOT_EMITTED = {
    "engine",
    "engine_version",
    "model",
    "extra_args",
    "env",
    "endpoint_url",
    "api_key_env",
    "engine_profile",
    "stand_in",
}


@dataclass(frozen=True, slots=True)
class Emitted:
    """One command: the fields that were changed, and the arguments that follow the program's own words."""

    changed: str
    arguments: tuple[str, ...]


def emitted_commands(adapter: EngineAdapter, version: str) -> list[Emitted]:
    """Each different command once, the plainest first. What the adapter refuses it does not emit."""
    found: dict[tuple[str, ...], Emitted] = {}
    for fields in _changes(adapter):
        for command in _commands(adapter, version, fields):
            found.setdefault(command.arguments, command)
    return list(found.values())


def _changes(adapter: EngineAdapter) -> Iterator[dict[str, Any]]:
    """Each value of each field, alone and with its companions; then all that goes together at once."""
    backends = (None, "pytorch", "turbomind", "tensorrt")
    profiles = ("default", *(profile.name for profile in adapter.profiles))
    for backend, runtime in product(backends, adapter.runtimes):
        root = {"engine_backend": backend, "runtime": runtime}
        yield root
        for profile, fields in product(profiles, _values(root)):
            yield root | {"engine_profile": profile} | fields


def _values(root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in Variant.model_fields.keys() - NOT_EMITTED - root.keys():
        for value, companions in product(values_of(name), COMPANIONS):
            yield companions | {name: value}
    yield {"dummy_weights": True, "quantization": Quantization.FP8}
    yield {"dummy_weights": True, "quantization": Quantization.FP8_BLOCK}


def values_of(name: str) -> Sequence[Any]:
    """Every value that a field can have, or some of it where it has no list."""
    if name in NUMBERS:
        return NUMBERS[name]
    if name == "hardware":
        return HARDWARE
    if name == "quantization":
        return tuple(Quantization)
    return tuple(_choices(Variant.model_fields[name].annotation))


def _choices(kind: Any) -> Iterator[Any]:
    if kind is bool:
        yield from (True, False)
    elif get_origin(kind) is Literal:
        yield from get_args(kind)
    else:
        for part in get_args(kind):
            yield from _choices(part)


def _commands(adapter: EngineAdapter, version: str, fields: dict[str, Any]) -> Iterator[Emitted]:
    base = {"engine": adapter.name, "engine_version": version, "model": MODEL, "quantization": Quantization.BF16}
    variant = Variant(**(base | {"hardware": HARDWARE[0]} | fields))
    try:
        argv = adapter.launch_spec(variant).argv
    except UnsupportedVariant:
        return
    program = adapter.option_source.program if adapter.option_source else ()
    changed = ", ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
    yield Emitted(changed, argv[len(program) :])
    if adapter.profiler is not None:
        yield Emitted(f"{changed}, profiler", (*argv[len(program) :], *adapter.profiler.arguments))


def emitted_options(adapter: EngineAdapter, version: str) -> frozenset[str]:
    """The names of all options that the adapter can emit for a release."""
    commands = emitted_commands(adapter, version)
    return frozenset(word.partition("=")[0] for one in commands for word in one.arguments if word.startswith("--"))
