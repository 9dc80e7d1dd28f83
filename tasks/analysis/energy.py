"""What the GPUs did in the window W: energy, means and peaks, and whether they were slowed down."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from tasks.analysis.columns import NS_PER_S, Floats
from tasks.telemetry.record import SOFTWARE_POWER_CAP, THROTTLE_REASONS, THROTTLED, Telemetry

LONGEST_GAP_S = 1.0
"""Ten samples lost in a row: what a GPU did in the meantime is not known."""

THROTTLED_SHARE = 0.01
"""Of a GPU's samples in W; one in a hundred is within what the window's other limits allow."""

GIB = 2.0**30


@dataclass(frozen=True, slots=True)
class GpuFigures:
    """`energy_j` is of all GPUs of the launch together; None with `reason`. `figures` are as in TrialSummary.gpu."""

    energy_j: float | None = None
    reason: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    invalid_reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class GpuColumns:
    """One GPU's samples, in the order of time, which is in s from the start of W; NaN where it did not tell."""

    gpu: int
    at_s: Floats
    values: Mapping[str, Floats]

    def within(self, window_s: float) -> "GpuColumns":
        """Those in W."""
        inside = (self.at_s >= 0) & (self.at_s <= window_s)
        return GpuColumns(self.gpu, self.at_s[inside], {name: value[inside] for name, value in self.values.items()})


def gpu_columns(table: pa.Table, start_ns: int) -> list[GpuColumns]:
    """Each GPU for itself."""
    at_s = (table["at_ns"].to_numpy() - start_ns) / NS_PER_S
    gpus = table["gpu"].to_numpy()
    values = {
        name: table[name].to_pandas().to_numpy(dtype=np.float64, na_value=np.nan)
        for name in table.column_names
        if name not in ("at_ns", "gpu")
    }
    found = []
    for gpu in np.unique(gpus):
        mine = np.flatnonzero(gpus == gpu)
        mine = mine[np.argsort(at_s[mine], kind="stable")]
        found.append(GpuColumns(int(gpu), at_s[mine], {name: value[mine] for name, value in values.items()}))
    return found


def gpu_figures(telemetry: Telemetry, window: tuple[int, int]) -> GpuFigures:
    """`window` is W in CLOCK_MONOTONIC ns."""
    if telemetry.gpu is None:
        return GpuFigures(reason=telemetry.gpu_reason)
    window_s = (window[1] - window[0]) / NS_PER_S
    gpus = gpu_columns(telemetry.gpu, window[0])
    hole = next((why for gpu in gpus if (why := _hole(gpu.at_s, window_s, gpu.gpu))), "")
    if hole:
        return GpuFigures(reason=hole)
    energies = [energy_j(gpu, window_s) for gpu in gpus]
    untold = [str(gpu.gpu) for gpu, energy in zip(gpus, energies, strict=True) if energy is None]
    inside = [gpu.within(window_s) for gpu in gpus]
    energy = None if untold else float(sum(told for told in energies if told is not None))
    return GpuFigures(
        energy_j=energy,
        reason=f"GPU {', '.join(untold)} tells neither its energy nor its power" if untold else "",
        figures=dict(_figures(inside, energy, window_s)),
        invalid_reasons=tuple(_throttled(inside)),
    )


def _hole(at_s: Floats, window_s: float, gpu: int) -> str:
    """Why the samples do not cover W; the ends of W count as samples of which nothing is known."""
    inside = at_s[(at_s > 0) & (at_s < window_s)]
    before, after = at_s[at_s <= 0], at_s[at_s >= window_s]
    first, last = (before[-1] if len(before) else 0.0), (after[0] if len(after) else window_s)
    gap_s = float(np.max(np.diff(np.concatenate(([first], inside, [last])))))
    if gap_s > LONGEST_GAP_S or not len(before) or not len(after):
        return f"the samples of GPU {gpu} do not cover the window: {gap_s:.2g} s of it are without any"
    return ""


def energy_j(gpu: GpuColumns, window_s: float) -> float | None:
    """Of one GPU in W: by its own counter, which is read between two samples at each end of W; else by the trapezoid of
    its power."""
    counted = gpu.values["energy_j"]
    if not np.isnan(counted).any() and bool((np.diff(counted) >= 0).all()):
        return float(np.diff(np.interp([0.0, window_s], gpu.at_s, counted))[0])
    power_w = gpu.values["power_w"]
    if np.isnan(power_w).any():
        return None
    inside = gpu.at_s[(gpu.at_s > 0) & (gpu.at_s < window_s)]
    at_s = np.concatenate(([0.0], inside, [window_s]))
    power_w = np.interp(at_s, gpu.at_s, power_w)
    return float((np.diff(at_s) * (power_w[1:] + power_w[:-1]) / 2).sum())


def _figures(gpus: list[GpuColumns], energy: float | None, window_s: float) -> Iterator[tuple[str, float]]:
    """Means are over time and GPUs, peaks are of the GPU that had it; what no GPU tells is left out."""
    if energy is not None:
        yield "mean_power_w", energy / window_s
    told = {name: _told(gpus, name) for name in gpus[0].values}
    for name in ("utilisation_percent", "sm_clock_mhz"):
        if len(told[name]):
            yield f"mean_{name}", float(told[name].mean())
    if len(told["memory_used_bytes"]):
        yield "max_memory_used_gib", float(told["memory_used_bytes"].max()) / GIB
    if len(told["temperature_c"]):
        yield "max_temperature_c", float(told["temperature_c"].max())
    if len(told["throttle_reasons"]):
        capped = told["throttle_reasons"].astype(np.int64) & SOFTWARE_POWER_CAP
        yield "power_capped_share", float((capped != 0).mean())


def _told(gpus: list[GpuColumns], name: str) -> Floats:
    values: Floats = np.concatenate([gpu.values[name] for gpu in gpus])
    return values[~np.isnan(values)]


def _throttled(gpus: list[GpuColumns]) -> Iterator[str]:
    for gpu in gpus:
        told = _told([gpu], "throttle_reasons").astype(np.int64)
        slowed = told[(told & THROTTLED) != 0]
        if len(slowed) > THROTTLED_SHARE * len(told):
            bits = int(np.bitwise_or.reduce(slowed)) & THROTTLED
            why = ", ".join(name for bit, name in THROTTLE_REASONS.items() if bits & bit)
            yield (
                f"GPU {gpu.gpu} throttled in {len(slowed) / len(told):.1%} of the window ({why}), above "
                f"{THROTTLED_SHARE:.0%}: see to its cooling and power supply, and measure again"
            )
