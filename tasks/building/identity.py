"""What a compiled engine depends on: equal for equal engines, whatever the order in which flags are said."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engine_adapters.base import BuildSpec
from experiments.schema.base import content_id
from experiments.schema.variant import Variant

BUILDER_VERSION = 1
"""Raised by whatever changes what a build makes of the same spec."""

NO_GPU = "none"


@dataclass(frozen=True, slots=True)
class GPU:
    """What a compiled engine is bound to: product name, compute capability such as `9.0`, and the driver's version."""

    name: str
    compute_capability: str
    driver: str

    def identity(self) -> dict[str, str]:
        """Of the driver its major number: that is what compatibility is promised for."""
        return asdict(self) | {"driver": self.driver.partition(".")[0]}


def made_from(
    variant: Variant,
    spec: BuildSpec,
    *,
    checkpoint: Mapping[str, str],
    tokenizer: Mapping[str, str],
    toolchain: str,
    gpu: GPU | None,
) -> dict[str, Any]:
    """All that the bytes of an engine depend on, as plain JSON.

    `checkpoint` and `tokenizer` are SHA-256 by file name. `toolchain` names what the commands run in: the digest of an
    image, or of the resolved packages of an environment.
    """
    return {
        "builder_version": BUILDER_VERSION,
        "engine": variant.engine,
        "engine_version": variant.engine_version,
        "toolchain": toolchain,
        "gpu": gpu.identity() if gpu else NO_GPU,
        "parallelism": {
            "tensor": variant.tensor_parallel,
            "pipeline": variant.pipeline_parallel,
            "expert": variant.expert_parallel,
        },
        "checkpoint": content_id(dict(checkpoint)),
        "tokenizer": content_id(dict(tokenizer)) if spec.tokenizer_folder else "",
        "commands": [sorted_flags(command) for command in spec.commands],
        "env": sorted(map(list, spec.env)),
        "loads": [spec.loads, spec.tokenizer_folder],
    }


def sorted_flags(command: Sequence[str]) -> list[list[str]]:
    """The words before the first flag, then each flag with its own, sorted. A flag that is said twice stays twice."""
    first, *flags = _groups(command)
    return [first, *sorted(flags)]


def _groups(command: Sequence[str]) -> Iterator[list[str]]:
    group: list[str] = []
    for word in command:
        if word.startswith("-") and not word[1:2].isdigit():
            yield group
            group = []
        group.append(word)
    yield group
