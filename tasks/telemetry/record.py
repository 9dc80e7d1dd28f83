"""What was seen beside a trial: two Parquet files in its folder, or why there are none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

GPU_FILE = "gpu_telemetry.parquet"
ENGINE_FILE = "engine_metrics.parquet"

GPU_SCHEMA = pa.schema(
    [
        pa.field("at_ns", pa.int64(), nullable=False),
        pa.field("gpu", pa.int16(), nullable=False),
        pa.field("utilisation_percent", pa.float32()),
        pa.field("memory_used_bytes", pa.int64()),
        pa.field("power_w", pa.float64()),
        pa.field("temperature_c", pa.float32()),
        pa.field("sm_clock_mhz", pa.int32()),
        pa.field("memory_clock_mhz", pa.int32()),
        pa.field("throttle_reasons", pa.int64()),
        pa.field("energy_j", pa.float64()),
    ]
)
"""One row a sample of a GPU, whose number is NVML's. Times are CLOCK_MONOTONIC, as those of requests.parquet; energy
counts from the load of the driver; throttle_reasons are NVML's bits (THROTTLE_REASONS)."""

ENGINE_SCHEMA = pa.schema(
    [
        pa.field("at_ns", pa.int64(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
    ]
)
"""One row a sample of one metric, by our name, at the time when the answer had come."""

THROTTLE_REASONS: Mapping[int, str] = {
    0x1: "idle",
    0x2: "application clocks",
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
    0x100: "display clocks",
}
"""NVML's nvmlClocksEventReason bits."""

SOFTWARE_POWER_CAP = 0x4
THROTTLED = 0x8 | 0x20 | 0x40 | 0x80
"""What makes a GPU slower than it is: heat, a power brake, a hardware slowdown. Not its power limit, at which a busy
GPU runs by design, nor clocks that a person has set: both are part of the hardware that is measured."""

COUNTERS = ("prompt_tokens", "uncached_prompt_tokens", "cached_prompt_tokens", "output_tokens", "preemptions")
"""Our names of what only grows while a server lives. All others are gauges."""

NOT_TAKEN = "no telemetry was taken beside this trial"


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Tables of GPU_SCHEMA and ENGINE_SCHEMA; None with the reason."""

    gpu: pa.Table | None = None
    engine: pa.Table | None = None
    gpu_reason: str = NOT_TAKEN
    engine_reason: str = NOT_TAKEN


def gpu_table(rows: list[list[Any]]) -> pa.Table:
    """Rows in the order of the schema's columns."""
    return pa.table([list(column) for column in zip(*rows, strict=True)], schema=GPU_SCHEMA)


def engine_table(samples: Sequence[tuple[int, Mapping[str, float]]]) -> pa.Table:
    """A time and the values by name, for each sample."""
    rows = [(at, name, value) for at, values in samples for name, value in values.items()]
    return pa.table([list(column) for column in zip(*rows, strict=True)], schema=ENGINE_SCHEMA)


def write_telemetry(folder: Path, telemetry: Telemetry) -> None:
    """Written aside and renamed; what was not seen has no file."""
    for table, name in ((telemetry.gpu, GPU_FILE), (telemetry.engine, ENGINE_FILE)):
        if table is not None:
            aside = (folder / name).with_suffix(".partial")
            pq.write_table(table, aside, compression="zstd")
            aside.rename(folder / name)


def read_telemetry(folder: Path) -> Telemetry:
    """What a trial's folder holds."""
    gpu, engine = folder / GPU_FILE, folder / ENGINE_FILE
    return Telemetry(
        gpu=pq.read_table(gpu, schema=GPU_SCHEMA) if gpu.exists() else None,
        engine=pq.read_table(engine, schema=ENGINE_SCHEMA) if engine.exists() else None,
    )
