"""The findings of a run in sentences, written by rules from its headlines. They claim no more than the data do."""

from collections.abc import Mapping, Sequence

from experiments.schema.result import CellResult, CellState
from tasks.reporting.wording import capacity_text, cell_names, is_stand_in, number, slo_text

WEAK_GRADES = frozenset({"D", "E", "F"})
"""A headline point is missing, or half of the points are invalid."""

LEVEL = 1.03
"""Variants within 3 % of each other are called level: one launch each does not tell them apart."""


def title(cells: Sequence[CellResult]) -> str:
    """One sentence: who serves the most, where."""
    measured = [cell for cell in cells if "saturation_rps" in cell.headlines]
    if not measured:
        return _nothing_measured(cells)
    if any(is_stand_in(cell) for cell in cells):
        return "Stand-ins answered in the place of engines, and nothing was measured"
    names = cell_names(cells)
    among = "" if len(measured) == len(cells) else ", of those that could be measured"
    leaders = {workload: _leaders(measured, workload) for workload in _workloads(measured)}
    sets = {frozenset(cell.variant.id for cell in lead) for lead in leaders.values()}
    if len({cell.variant.id for cell in measured}) == 1:
        return _only_one(measured, names)
    if len(sets) == 1:
        lead = next(iter(leaders.values()))
        return (
            f"{_listed([names[cell.variant.id] for cell in lead])} {_serve(len(lead))} {_where(list(leaders))}{among}"
        )
    each = [f"{_listed([names[cell.variant.id] for cell in lead])} on {workload}" for workload, lead in leaders.items()]
    return f"No variant leads everywhere: {'; '.join(each)}"


def _nothing_measured(cells: Sequence[CellResult]) -> str:
    failed = sum(cell.state is CellState.FAILED for cell in cells)
    return f"Nothing could be measured: {failed} of {len(cells)} cells failed" if failed else "Nothing was measured"


def _only_one(measured: Sequence[CellResult], names: Mapping[str, str]) -> str:
    each = [
        f"{number(cell.headlines['saturation_rps'])} requests a second on {cell.workload.name}" for cell in measured
    ]
    return f"{names[measured[0].variant.id]} serves {_listed(each)}"


def _leaders(measured: Sequence[CellResult], workload: str) -> list[CellResult]:
    """The fastest at saturation, and those level with it."""
    on_it = [cell for cell in measured if cell.workload.name == workload]
    best = max(cell.headlines["saturation_rps"] for cell in on_it)
    level = [cell for cell in on_it if best <= cell.headlines["saturation_rps"] * LEVEL]
    return sorted(level, key=lambda cell: -cell.headlines["saturation_rps"])


def _serve(count: int) -> str:
    return "serves the most requests" if count == 1 else "are level and serve the most requests"


def _where(workloads: Sequence[str]) -> str:
    if len(workloads) == 1:
        return f"on {workloads[0]}"
    return "on both workloads" if len(workloads) == 2 else f"on all {len(workloads)} workloads"


def caveat(cells: Sequence[CellResult]) -> str:
    """Which cells carry little, where there are such; "" where every one carries."""
    judged = [cell for cell in cells if not is_stand_in(cell)]
    weak = [cell for cell in judged if cell.state is not CellState.MEASURED or cell.grade in WEAK_GRADES]
    if not weak:
        return ""
    names = cell_names(cells)
    which = _listed([f"{names[cell.variant.id]} on {cell.workload.name}" for cell in weak])
    return f"{len(weak)} of {len(cells)} cells rest on few valid points or none, and are compared with care: {which}."


def findings(cells: Sequence[CellResult], workload: str) -> list[str]:
    """What one workload showed: the ceiling, the floor, the capacity at each SLO."""
    names = cell_names(cells)
    on_it = [cell for cell in cells if cell.workload.name == workload]
    if any(is_stand_in(cell) for cell in on_it):
        return ["Stand-ins answered here: their figures say nothing of an engine, and are not compared."]
    sentences = [_ceiling(on_it, names), _floor(on_it, names)]
    for slo in dict.fromkeys(capacity.slo for cell in on_it for capacity in cell.capacities):
        sentences.append(_capacity(on_it, slo, names))
    return [sentence for sentence in sentences if sentence]


def _ceiling(cells: Sequence[CellResult], names: Mapping[str, str]) -> str:
    measured = [cell for cell in cells if "saturation_rps" in cell.headlines]
    if not measured:
        return "No variant has a valid saturation point here."
    lead = _leaders(measured, measured[0].workload.name)
    best, least = lead[0], min(measured, key=lambda cell: cell.headlines["saturation_rps"])
    tokens = best.headlines.get("saturation_output_tokens_per_s")
    rate = f"{number(best.headlines['saturation_rps'])} requests/s"
    rate += f" ({number(tokens)} output tokens/s)" if tokens is not None else ""
    if len(lead) > 1:
        return f"{_listed([names[cell.variant.id] for cell in lead])} are level at saturation, about {rate}."
    sentence = f"{names[best.variant.id]} reaches {rate} at saturation"
    if least is best:
        return f"{sentence}."
    ratio = best.headlines["saturation_rps"] / least.headlines["saturation_rps"]
    return f"{sentence}, {ratio:.2f} × {names[least.variant.id]}, the slowest of {len(measured)}."


def _floor(cells: Sequence[CellResult], names: Mapping[str, str]) -> str:
    measured = [cell for cell in cells if "floor_ttft_p50_ms" in cell.headlines]
    if not measured:
        return ""
    best = min(measured, key=lambda cell: cell.headlines["floor_ttft_p50_ms"])
    low = number(best.headlines["floor_ttft_p50_ms"])
    level = [c for c in measured if c.headlines["floor_ttft_p50_ms"] <= best.headlines["floor_ttft_p50_ms"] * LEVEL]
    if len(level) > 1 and len(level) == len(measured):
        return f"One request at a time, all have a median TTFT of about {low} ms."
    return f"One request at a time, {names[best.variant.id]} has the lowest median TTFT, {low} ms."


def _capacity(cells: Sequence[CellResult], slo: str, names: Mapping[str, str]) -> str:
    found = {names[c.variant.id]: capacity for c in cells for capacity in c.capacities if capacity.slo == slo}
    certified = {name: c for name, c in found.items() if c.certified_rps is not None}
    if not certified:
        known = [f"{name} {capacity_text(capacity)} rps" for name, capacity in found.items() if capacity.refuted_rps]
        return f"With {slo_text(slo)}, no rate is certified{': ' + ', '.join(known) if known else ''}."
    best = max(certified, key=lambda name: certified[name].certified_rps or 0.0)
    rate = number(certified[best].certified_rps or 0.0)
    others = [f"{name} {_with_unit(capacity_text(c))}" for name, c in found.items() if name != best]
    beside = f" ({_listed(others)})" if others else ""
    return f"With {slo_text(slo)}, the highest certified rate is {rate} rps, by {best}{beside}."


def _with_unit(text: str) -> str:
    return text if text == "unknown" else f"{text} rps"


def _workloads(cells: Sequence[CellResult]) -> list[str]:
    return list(dict.fromkeys(cell.workload.name for cell in cells))


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else ""
