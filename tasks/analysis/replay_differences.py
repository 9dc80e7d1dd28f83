"""What of a stored cell's provenance is not so any more, and what of it makes another system."""

from collections.abc import Iterator, Mapping
from typing import Any

from experiments.schema.replay import Difference

ANOTHER_SYSTEM = {
    "CPU": ("machine", "cpu"),
    "CPU cores": ("machine", "cpu_cores"),
    "architecture": ("machine", "machine"),
    "weights": ("model", "sha256"),
    "checkpoint": ("checkpoint", "key"),
    "image": ("runtime", "digest"),
    "build": ("build", "key"),
    "version that the engine says": ("engine_says_version",),
    "back end": ("backend",),
}
"""Name → where it lies. Each of these may change what is measured by more than chance."""

BESIDE = {
    "kernel": ("machine", "kernel"),
    "memory, GiB": ("machine", "memory_gib"),
    "CPU governor": ("machine", "cpu_governor"),
    "Python of dyno": ("software", "python"),
    "dyno": ("software", "llm-dyno"),
    "dyno's revision": ("software", "git_revision"),
}
"""What may matter, and is named."""

OF_A_GPU = {"GPU": "name", "GPU driver": "driver", "GPU power limit, W": "power_limit_w"}


def differences(stored: Mapping[str, Any], now: Mapping[str, Any], *, package: str = "") -> tuple[Difference, ...]:
    """Only of what both know: the provenance of before a launch knows less. `package` is the engine's own."""
    return (*_of(stored, now, ANOTHER_SYSTEM, True), *_gpus(stored, now), *_packages(stored, now, package),
            *_of(stored, now, BESIDE, False))  # fmt: skip


def another_system(found: tuple[Difference, ...]) -> str:
    """In words, those that make another system of it; "" where none does."""
    return "; ".join(f"{one.what}: {one.stored} then, {one.now} now" for one in found if one.is_another_system)


def _of(
    stored: Mapping[str, Any], now: Mapping[str, Any], names: Mapping[str, tuple[str, ...]], is_another: bool
) -> Iterator[Difference]:
    for what, path in names.items():
        values = _at(stored, path), _at(now, path)
        if None not in values and values[0] != values[1]:
            yield Difference(what=what, stored=values[0], now=values[1], is_another_system=is_another)


def _at(provenance: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        provenance = provenance.get(key) if isinstance(provenance, Mapping) else None
    return provenance


def _gpus(stored: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    """Words stand for no GPU, and say why."""
    if "gpus" in stored and "gpus" in now:
        for what, key in OF_A_GPU.items():
            values = [_of_each_gpu(side["gpus"], key) for side in (stored, now)]
            if values[0] != values[1]:
                yield Difference(what=what, stored=values[0], now=values[1], is_another_system=what == "GPU")


def _of_each_gpu(gpus: Any, key: str) -> list[Any]:
    return [gpu.get(key) for gpu in gpus if isinstance(gpu, Mapping)] if isinstance(gpus, list | tuple) else []


def _packages(stored: Mapping[str, Any], now: Mapping[str, Any], package: str) -> Iterator[Difference]:
    """Of the engine's environment: its own package is another engine, any other is named."""
    before, after = stored.get("packages"), now.get("packages")
    if before is None or after is None:
        return
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            is_engine = name.replace("_", "-").lower() == package.replace("_", "-").lower()
            yield Difference(what=f"package {name}", stored=before.get(name), now=after.get(name),
                             is_another_system=is_engine)  # fmt: skip
