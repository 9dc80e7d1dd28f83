"""Bounds and cost of a cell, in the report: each figure with its unit, and a reason where there is none."""

from experiments.schema.bound import CellBounds, CellCost, TokenCost
from experiments.schema.result import CellResult
from tasks.reporting.bounds_table import money
from tasks.reporting.markup import Content, element
from tasks.reporting.wording import number


def bounds_section(cell: CellResult) -> Content:
    """Nothing where neither was computed."""
    lines = [*_bounds(cell), *_cost(cell.cost)]
    if not lines:
        return None
    return [element("h3", "Bounds and cost"), element("ul", [element("li", line) for line in lines], class_="notes")]


def _bounds(cell: CellResult) -> list[str]:
    if cell.bounds is None:
        return [f"no bound: {cell.bound_reason}"] if cell.bound_reason else []
    found = cell.bounds
    billions = number(found.total_params / 1e9), number(found.matmul_active_params / 1e9)
    sizes = f"{number(found.weight_bytes / 1e9)} GB, {number(found.kv_bytes_per_token / 1024)} KiB of KV a token"
    lines = [
        f"{billions[0]} billion parameters, {billions[1]} multiplied for each token; {found.weights} weights: {sizes}",
        f"latency floor {_ms(found.latency_floor_ms)} a token, at {number(found.bandwidth_gb_per_s or 0)} GB/s",
    ]
    return lines + _further(found)


def _further(found: CellBounds) -> list[str]:
    figures = {
        "critical_batch": ("critical batch B*", found.critical_batch, ""),
        "largest_batch": (f"largest batch of {found.context_tokens:,.0f} tokens each", found.largest_batch, ""),
        "prefill_ms": (f"prefill of {found.prompt_tokens:,.0f} tokens", found.prefill_ms, " ms"),
    }
    return [
        f"{title}: {number(value) + unit if value is not None else 'none: ' + found.reasons.get(name, '')}"
        for name, (title, value, unit) in figures.items()
    ]


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{number(value)} ms"


def _cost(cost: CellCost | None) -> list[str]:
    if cost is None:
        return []
    places = [("at saturation", cost.saturation), *((f"at {name}", at) for name, at in cost.capacities.items())]
    lines = [_tokens(name, at, cost) for name, at in places if at is not None]
    return lines + [f"no {name}: {reason}" for name, reason in cost.reasons.items()]


def _tokens(name: str, at: TokenCost, cost: CellCost) -> str:
    parts = []
    for kind in ("input", "output", "total"):
        seconds, dollars = getattr(at, kind), getattr(at, f"usd_{kind}")
        if seconds is not None:
            parts.append(f"{number(seconds)} {cost.unit} {f'({money(dollars)}) ' if dollars else ''}a million {kind}")
    return f"{name}: {', '.join(parts)} tokens"
