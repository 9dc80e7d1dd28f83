"""Telemetry as time series under the names by which MLflow draws system metrics: `system/…`, on the wall clock."""

from collections.abc import Iterator, Mapping
from datetime import datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.telemetry.record import Telemetry

Series = Mapping[str, list[tuple[int, float]]]
"""By name samples in the order of time: milliseconds since 1970, and the value."""

MOST_SAMPLES = 60
"""A trial and series: neighbours are averaged. MLflow's charts draw hundreds of points, not thousands."""

GPU_COLUMNS = {
    "utilisation_percent": ("utilization_percentage", 1.0),
    "power_w": ("power_usage_watts", 1.0),
    "memory_used_bytes": ("memory_usage_megabytes", 1e-6),
    "temperature_c": ("temperature_celsius", 1.0),
    "sm_clock_mhz": ("sm_clock_mhz", 1.0),
}
"""Our columns, MLflow's names where it has one, and the factor between their units."""


def telemetry_series(telemetry: Telemetry, started_at: datetime) -> Series:
    """`started_at` is when watching began; it is known to the second, and so are these times."""
    tables = [table for table in (telemetry.gpu, telemetry.engine) if table is not None and table.num_rows]
    if not tables:
        return {}
    origin_ns = min(int(np.min(table["at_ns"].to_numpy())) for table in tables)
    began_ms = int(started_at.timestamp() * 1000)
    found: dict[str, list[tuple[int, float]]] = {}
    for name, at_ns, values in (*_gpus(telemetry.gpu), *_engine(telemetry.engine)):
        at_ms = began_ms + (at_ns - origin_ns) / 1e6
        found[name] = list(_thinned(at_ms, values))
    return {name: samples for name, samples in found.items() if samples}


Named = tuple[str, NDArray[np.int64], NDArray[np.float64]]


def _gpus(table: pa.Table | None) -> Iterator[Named]:
    if table is None:
        return
    gpu, at_ns = table["gpu"].to_numpy(), table["at_ns"].to_numpy()
    for number in np.unique(gpu):
        for column, (name, factor) in GPU_COLUMNS.items():
            values = np.asarray(table[column].to_numpy(), dtype=np.float64) * factor
            yield f"system/gpu_{number}_{name}", at_ns[gpu == number], values[gpu == number]


def _engine(table: pa.Table | None) -> Iterator[Named]:
    """By our names: running_requests, waiting_requests, kv_cache_usage_ratio, …"""
    if table is None:
        return
    names = np.asarray(table["name"].to_pylist(), dtype=np.str_)
    at_ns, values = table["at_ns"].to_numpy(), np.asarray(table["value"].to_numpy(), dtype=np.float64)
    for name in np.unique(names):
        yield f"system/engine_{name}", at_ns[names == name], values[names == name]


def _thinned(at_ms: NDArray[np.float64], values: NDArray[np.float64]) -> Iterator[tuple[int, float]]:
    known = np.isfinite(values)
    if not known.any():
        return
    pieces = min(MOST_SAMPLES, int(known.sum()))
    for times, figures in zip(np.array_split(at_ms[known], pieces), np.array_split(values[known], pieces), strict=True):
        yield int(times[0]), float(figures.mean())
