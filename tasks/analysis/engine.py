"""What the engine says of itself in the window W, and whether it is the same engine all the time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from tasks.analysis.columns import NS_PER_S, Floats
from tasks.telemetry.record import COUNTERS, Telemetry


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """`figures` are as in TrialSummary.engine; none with `reason`."""

    figures: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    invalid_reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Of one metric, in the order of time, which is in s from the start of W."""

    at_s: Floats
    values: Floats

    def within(self, window_s: float) -> Floats:
        """The values in W."""
        return self.values[(self.at_s >= 0) & (self.at_s <= window_s)]

    def growth(self, window_s: float) -> float:
        """Of a counter, from the last sample before W, or the first, to the first one after it, or the last."""
        first = max(0, int(np.searchsorted(self.at_s, 0.0, side="right")) - 1)
        last = min(len(self.at_s) - 1, int(np.searchsorted(self.at_s, window_s)))
        return float(self.values[last] - self.values[first])


def engine_samples(table: pa.Table, start_ns: int) -> dict[str, Samples]:
    """By our names."""
    names = np.asarray(table["name"].to_pylist(), dtype=np.str_)
    at_s = (table["at_ns"].to_numpy() - start_ns) / NS_PER_S
    values = table["value"].to_numpy()
    order = np.argsort(at_s, kind="stable")
    found = {}
    for name in np.unique(names):
        mine = order[names[order] == name]
        found[str(name)] = Samples(at_s[mine], values[mine])
    return found


def engine_figures(telemetry: Telemetry, window: tuple[int, int]) -> EngineFigures:
    """`window` is W in CLOCK_MONOTONIC ns."""
    if telemetry.engine is None:
        return EngineFigures(reason=telemetry.engine_reason)
    samples = engine_samples(telemetry.engine, window[0])
    figures = dict(_figures(samples, (window[1] - window[0]) / NS_PER_S))
    return EngineFigures(
        figures=figures,
        reason="" if figures else "the engine's metrics were never read within the window",
        invalid_reasons=tuple(_restarted(samples)),
    )


def _figures(samples: Mapping[str, Samples], window_s: float) -> Iterator[tuple[str, float]]:
    """A mean weighs each sample alike: they are a second apart."""
    inside = {name: metric.within(window_s) for name, metric in samples.items() if name not in COUNTERS}
    told = {name: values for name, values in inside.items() if len(values)}
    if "requests_running" in told:
        yield "mean_running_requests", float(told["requests_running"].mean())
    if "requests_waiting" in told:
        yield "max_waiting_requests", float(told["requests_waiting"].max())
    if "kv_cache_usage" in told:
        yield "max_kv_cache_usage_ratio", float(told["kv_cache_usage"].max())
    if "preemptions" in samples and (grown := samples["preemptions"].growth(window_s)) >= 0:
        yield "preemptions", grown


def _restarted(samples: Mapping[str, Samples]) -> Iterator[str]:
    """A counter only grows while its engine lives. One reason is enough: they fall together."""
    for name in (name for name in COUNTERS if name in samples):
        metric = samples[name]
        falls = np.flatnonzero(np.diff(metric.values) < 0)
        if len(falls):
            fall = int(falls[0])
            before, after = metric.values[fall : fall + 2]
            yield (
                f"the engine started anew {metric.at_s[fall + 1]:.1f} s after the window's start: its counter {name} "
                f"fell from {before:g} to {after:g}; measure again on an engine that stays"
            )
            return
