"""A trial over time: its requests, its engine and its GPUs on one axis, thinned to what a page can show."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from experiments.schema.timeline import Curve, Timeline, Track
from tasks.analysis.columns import NS_PER_S, Columns, Floats, Integers, read_columns
from tasks.analysis.energy import GpuColumns, gpu_columns
from tasks.analysis.engine import Samples, engine_samples
from tasks.analysis.latency import ttft_ms
from tasks.analysis.throughput import tokens_of_chunks
from tasks.telemetry.record import THROTTLED, Telemetry

SLICES = 160
CHUNKS_A_SLICE = 20
"""Fewer tokens in a slice of time than these make a rate that only jumps."""

DOT_SLICES = 100
MOST_DOTS = 3 * DOT_SLICES


def trial_timeline(table: pa.Table, telemetry: Telemetry, window: tuple[int, int]) -> Timeline:
    """`table` is requests.parquet, `window` W in CLOCK_MONOTONIC ns."""
    columns = read_columns(table, window)
    start_s, stop_s = _extent_s(columns)
    zero_ns = window[0] + round(start_s * NS_PER_S)
    tracks = list(_requests(columns, start_s, stop_s))
    throttled: tuple[tuple[float, float], ...] = ()
    if telemetry.engine is not None:
        tracks += _engine(engine_samples(telemetry.engine, zero_ns), stop_s - start_s)
    if telemetry.gpu is not None:
        gpus = [gpu.within(stop_s - start_s) for gpu in gpu_columns(telemetry.gpu, zero_ns)]
        tracks += _gpus(gpus, stop_s - start_s)
        throttled = tuple(span for gpu in gpus for span in _throttled(gpu))
    return Timeline(
        span_s=stop_s - start_s,
        window_s=(-start_s, columns.window_s - start_s),
        tracks=tuple(tracks),
        throttled_s=throttled,
    )


def _extent_s(columns: Columns) -> tuple[float, float]:
    """From the first due time, or the window's start, to the last end, or the window's; in s from its start."""
    times = np.concatenate([columns.due, columns.sent, columns.end, [0.0, columns.window_ns]]) / NS_PER_S
    return float(np.nanmin(times)), float(np.nanmax(times))


def _requests(columns: Columns, start_s: float, stop_s: float) -> Iterator[Track]:
    span_s = stop_s - start_s
    sent, end = columns.sent / NS_PER_S - start_s, columns.end / NS_PER_S - start_s
    at_s, flying = in_flight(sent[~np.isnan(sent)], np.where(np.isnan(end), span_s, end)[~np.isnan(sent)], span_s)
    yield Track("Requests", "in flight", "requests", (Curve("in flight", _tuple(at_s), _tuple(flying)),))
    tokens, arrived = tokens_of_chunks(columns), columns.chunk_at / NS_PER_S - start_s
    if len(tokens) and not np.isnan(tokens).all():
        slices = int(np.clip(len(tokens) / CHUNKS_A_SLICE, 10, SLICES))
        edges = np.linspace(0, span_s, slices + 1)
        rate = np.histogram(arrived, edges, weights=np.nan_to_num(tokens))[0] * slices / span_s
        curve = Curve("output", _tuple((edges[1:] + edges[:-1]) / 2), _tuple(rate))
        yield Track("Requests", "output", "tokens/s", (curve,))
    yield from _first_tokens(columns, sent)


def in_flight(sent_s: Floats, end_s: Floats, span_s: float) -> tuple[Floats, Floats]:
    """The mean number of requests between their sending and their end in each slice of the span, and its middle."""
    edges = np.linspace(0, span_s, SLICES + 1)
    spent = _seconds_since(sent_s, edges) - _seconds_since(end_s, edges)
    return (edges[1:] + edges[:-1]) / 2, np.diff(spent) * SLICES / span_s


def _seconds_since(events: Floats, at: Floats) -> Floats:
    """Σ max(0, t − event) over the events, for each t."""
    ordered = np.sort(events)
    count = np.searchsorted(ordered, at)
    summed = np.concatenate(([0.0], np.cumsum(ordered)))
    return np.asarray(count * at - summed[count], dtype=np.float64)


def _first_tokens(columns: Columns, sent_s: Floats) -> Iterator[Track]:
    ttft = ttft_ms(columns)
    told = np.flatnonzero(columns.completed & ~np.isnan(ttft) & ~np.isnan(sent_s))
    if not len(told):
        return
    shown = thinned(sent_s[told], ttft[told])
    note = f"{len(shown):,} of {len(told):,} requests: of each moment the fastest, the median and the slowest"
    yield Track(
        "Requests",
        "TTFT",
        "ms",
        dots=tuple((round(float(sent_s[told][i]), 4), float(ttft[told][i])) for i in shown),
        note=note if len(shown) < len(told) else "",
    )


def thinned(at_s: Floats, values: Floats) -> Integers:
    """Which to show: all, or of each slice of time the smallest, the middle and the largest. No extreme is lost."""
    if len(at_s) <= MOST_DOTS:
        return np.arange(len(at_s))
    edges = np.linspace(at_s.min(), at_s.max(), DOT_SLICES + 1)[1:-1]
    order = np.lexsort((values, np.digitize(at_s, edges)))
    groups = np.split(order, np.flatnonzero(np.diff(np.digitize(at_s, edges)[order])) + 1)
    return np.unique(np.concatenate([group[[0, len(group) // 2, -1]] for group in groups]))


def _engine(samples: dict[str, Samples], span_s: float) -> Iterator[Track]:
    """The highest of each slice where there are more samples than slices."""
    waits = {name: samples[f"requests_{name}"] for name in ("running", "waiting") if f"requests_{name}" in samples}
    if waits:
        curves = tuple(_highest(name, metric, span_s) for name, metric in waits.items())
        yield Track("Engine", " and ".join(waits), "requests", curves)
    if "kv_cache_usage" in samples:
        usage = samples["kv_cache_usage"]
        curve = _highest("KV cache", Samples(usage.at_s, usage.values * 100), span_s)
        yield Track("Engine", "KV cache in use", "%", (curve,), top=100.0)


def _highest(name: str, metric: Samples, span_s: float) -> Curve:
    inside = (metric.at_s >= 0) & (metric.at_s <= span_s)
    at_s, highest = metric.at_s[inside], metric.values[inside]
    if len(at_s) > SLICES:
        at_s, _, _, highest = _sliced(at_s, highest, span_s, SLICES)
    return Curve(name, _tuple(at_s), _tuple(highest))


def _gpus(gpus: list[GpuColumns], span_s: float) -> Iterator[Track]:
    """Means over the GPUs of a launch; the band is from the lowest to the highest of them."""
    shown = (("power", "power_w", "W", None), ("busy", "utilisation_percent", "%", 100.0),
             ("SM clock", "sm_clock_mhz", "MHz", None))  # fmt: skip
    whose = "GPU" if len(gpus) == 1 else f"{len(gpus)} GPUs"
    for title, name, unit, top in shown:
        at_s, values = (np.concatenate(parts) for parts in zip(*((g.at_s, g.values[name]) for g in gpus), strict=True))
        told = ~np.isnan(values)
        if told.any():
            each = int(told.sum()) // len(gpus)
            sliced_at_s, mean, low, high = _sliced(at_s[told], values[told], span_s, max(1, min(SLICES, each)))
            band = (_tuple(low), _tuple(high)) if len(gpus) > 1 or each > SLICES else ((), ())
            yield Track(whose, title, unit, (Curve(title, _tuple(sliced_at_s), _tuple(mean), *band),), top=top)


def _sliced(at_s: Floats, values: Floats, span_s: float, slices: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Times, means, lowest and highest of the slices that hold a sample."""
    which = np.minimum((at_s / span_s * slices).astype(np.int64), slices - 1)
    order = np.argsort(which, kind="stable")
    starts = np.flatnonzero(np.diff(which[order], prepend=-1))
    count = np.diff(starts, append=len(order))
    middle, mean = (np.add.reduceat(column[order], starts) / count for column in (at_s, values))
    return (middle, mean, np.minimum.reduceat(values[order], starts), np.maximum.reduceat(values[order], starts))


def _throttled(gpu: GpuColumns) -> Iterator[tuple[float, float]]:
    """From the first slowed sample of a row of them to the one after its last."""
    slowed = (np.nan_to_num(gpu.values["throttle_reasons"]).astype(np.int64) & THROTTLED) != 0
    edges = np.flatnonzero(np.diff(slowed.astype(np.int8), prepend=0, append=0))
    for first, after in zip(edges[::2], edges[1::2], strict=True):
        yield float(gpu.at_s[first]), float(gpu.at_s[min(after, len(gpu.at_s) - 1)])


def _tuple(values: Floats) -> tuple[float, ...]:
    return tuple(values.tolist())
