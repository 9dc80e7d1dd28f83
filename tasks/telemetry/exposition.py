"""What an engine's metrics endpoint tells, by our names: Prometheus' text format, or TensorRT-LLM's JSON."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the process that watches imports no adapter: its start is to cost little
    from engine_adapters.base import MetricsDialect

SHARES = ("kv_cache_usage", "cache_hit_ratio")
"""Gauges from 0 to 1: of several labels the largest counts, where others are summed."""

_SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{.*\})?\s+([^\s]+)(?:\s+-?\d+)?$")


def read_metrics(text: str, names: Mapping[str, str], dialect: "MetricsDialect" = "prometheus") -> dict[str, float]:
    """By our names; what is not told, or is no number, is not there. A native name `a/b` is the quotient of two."""
    native = {part for name in names.values() for part in name.split("/")}
    told = _iteration(text, native) if dialect == "json_iterations" else _exposed(text, native)
    found = {ours: _value(told, theirs, largest=ours in SHARES) for ours, theirs in names.items()}
    return {name: value for name, value in found.items() if value is not None}


def _value(told: Mapping[str, list[float]], name: str, *, largest: bool) -> float | None:
    parts = [told.get(part, []) for part in name.split("/")]
    if not all(parts):
        return None
    if len(parts) == 1:
        return max(parts[0]) if largest else sum(parts[0])
    whole = sum(parts[1])
    return sum(parts[0]) / whole if whole else None


def _exposed(text: str, native: Iterable[str]) -> dict[str, list[float]]:
    """Each metric's values, one for each set of labels. Histograms have other names (_bucket, _sum, _count)."""
    prefixes, found = tuple(native), dict[str, list[float]]()
    for line in text.splitlines():
        sample = _SAMPLE.match(line.strip()) if line.startswith(prefixes) else None
        if sample and sample[1] in prefixes:
            found.setdefault(sample[1], []).extend(_finite(sample[2]))
    return found


def _iteration(text: str, native: Iterable[str]) -> dict[str, list[float]]:
    """The latest of a list of iterations, whose fields are named by their path (`kvCacheStats.usedNumBlocks`). The
    server forgets what it told: an empty list says that nothing was computed since."""
    try:
        told = json.loads(text)
    except ValueError:
        return {}
    latest = told[-1] if isinstance(told, list) and told else told
    return {name: list(_finite(value)) for name in native if (value := _at(latest, name)) is not None}


def _at(told: Any, path: str) -> Any:
    for key in path.split("."):
        told = told.get(key) if isinstance(told, dict) else None
    return told


def _finite(value: Any) -> Iterator[float]:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return
    if math.isfinite(number):
        yield number
