"""What tokens cost: device-seconds per million of them, dollars where a price is known, and what a demand takes.

Price-free first: GPU-seconds outlive every price list.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from experiments.schema.bound import CellCost, TokenCost
from experiments.schema.hardware import Hardware
from experiments.schema.prices import Price, price_of
from experiments.schema.result import CellResult, PointResult, TrialSummary
from tasks.analysis.sweep import saturation_point

CPU_WITHOUT_PRICE = (
    "a CPU's seconds are no GPU-seconds, and no price per hour is known for it: give one with --prices or DYNO_PRICES"
)


def with_cost(cell: CellResult, hardware: Hardware, prices: Mapping[str, float]) -> CellResult:
    """The result with `cost`, each point with its own, and headlines where there are GPUs or a price."""
    price = price_of(hardware, prices)
    if not hardware.gpus and price is None:
        return cell.model_copy(update={"cost": CellCost(reasons={"cost": CPU_WITHOUT_PRICE})})
    devices = hardware.gpus or 1
    points = tuple(
        p.model_copy(update={"cost": token_cost(p.summary, devices, price)}) if p.summary.valid else p
        for p in cell.points
    )
    cost = _cell_cost(cell, points, hardware.gpus, price)
    return cell.model_copy(update={"points": points, "cost": cost, "headlines": {**cell.headlines, **_headlines(cost)}})


def token_cost(summary: TrialSummary, devices: int, price: Price | None) -> TokenCost:
    """At the throughput of one trial: devices · 10⁶ / rate of input, of output, and of both together. Each bears the
    whole of the time: input and output are two ways to count the same bill, not two parts of it."""
    seconds = {
        "input": _per_million(summary.input_tokens_per_s, devices),
        "output": _per_million(summary.output_tokens_per_s, devices),
        "total": _per_million(summary.total_tokens_per_s, devices),
    }
    usd = {
        f"usd_{name}": (value / devices / 3600 * price.low, value / devices / 3600 * price.high)
        for name, value in seconds.items()
        if price is not None and value is not None
    }
    return TokenCost.model_validate({**seconds, **usd})


def _per_million(tokens_per_s: float | None, devices: int) -> float | None:
    return devices * 1e6 / tokens_per_s if tokens_per_s else None


def _cell_cost(cell: CellResult, points: tuple[PointResult, ...], gpus: int, price: Price | None) -> CellCost:
    best = saturation_point([point for point in points if point.summary.valid])
    reasons = {} if best else {"saturation": "no closed-loop point is valid"}
    if price is None:
        reasons["usd"] = "no price is known for this hardware: give one with --prices or DYNO_PRICES"
    at_capacity = {}
    for capacity in cell.capacities:
        point = _point_at(points, capacity.certified_rps)
        if point is not None and point.cost is not None:
            at_capacity[capacity.name] = point.cost
        else:
            reasons[f"capacity/{capacity.name}"] = f"{capacity.verdict}: {capacity.reason}"
    return CellCost(
        unit="GPU-seconds" if gpus else "machine-seconds",
        gpus=gpus,
        usd_per_hour=(price.low, price.high) if price else None,
        price_source=price.source if price else "",
        saturation=best.cost if best else None,
        capacities=at_capacity,
        reasons=reasons,
    )


def _point_at(points: tuple[PointResult, ...], rate_rps: float | None) -> PointResult | None:
    """The valid open-loop point at the certified rate: its throughput is what that rate delivers."""
    for point in points if rate_rps is not None else ():
        load = point.point.load
        rate = load.rate_rps if load.kind == "open_loop" and point.summary.valid else None
        if rate is not None and math.isclose(rate, rate_rps or 0.0, rel_tol=1e-6):
            return point
    return None


def _headlines(cost: CellCost) -> dict[str, float]:
    """One number each; a range of prices makes none."""
    found: dict[str, float | None] = {}
    unit = "gpu_seconds" if cost.unit == "GPU-seconds" else "machine_seconds"
    for suffix, at in [("", cost.saturation), *((f"/{name}", at) for name, at in cost.capacities.items())]:
        if at is not None:
            found[f"{unit}_per_million_output_tokens{suffix}"] = at.output
            is_one = at.usd_output is not None and at.usd_output[0] == at.usd_output[1]
            found[f"usd_per_million_output_tokens{suffix}"] = at.usd_output[0] if is_one and at.usd_output else None
    return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Demand:
    """What serving so many requests a second takes. `in_flight` is by Little's law: rate · residence, of all replicas
    together; `usd_per_day` (low, high), None without a price."""

    replicas: int
    gpus: int
    in_flight: float | None
    utilization: float
    usd_per_day: tuple[float, float] | None


def replicas_for(
    demand_rps: float,
    capacity_rps: float,
    *,
    headroom: float,
    gpus: int,
    price: Price | None = None,
    residence_s: float | None = None,
) -> Demand:
    """The replicas whose certified capacity, less `headroom` (a share: 0.2 keeps a fifth free), carries the demand."""
    replicas = max(1, math.ceil(demand_rps / (capacity_rps * (1 - headroom)) - 1e-9))
    return Demand(
        replicas=replicas,
        gpus=replicas * gpus,
        in_flight=demand_rps * residence_s if residence_s is not None else None,
        utilization=demand_rps / (replicas * capacity_rps),
        usd_per_day=(24 * replicas * price.low, 24 * replicas * price.high) if price else None,
    )
