"""What a run would do: each cell with its state, before anything starts."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from engine_adapters import ADAPTERS
from engine_adapters.base import UnsupportedVariant
from experiments.errors import InputError, Problem
from experiments.schema.experiment import Cell, Experiment
from experiments.schema.failure import FailureClass
from experiments.schema.hardware import Hardware
from experiments.schema.load import LoadPlan
from experiments.schema.prices import price_of
from experiments.schema.read import catalog, nearest
from experiments.schema.result import CellState
from experiments.schema.variant import Variant
from experiments.schema.workload import Workload
from tasks.campaigns.campaign import Campaign, Retry, to_measure

SECONDS_PER_LAUNCH = 5.0


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """A cell and what a run would do with it; `reason` says why where it is not measured."""

    cell: Cell
    state: Literal["to measure", "measured", "stand_in", "invalid", "failed", "excluded", "unsupported", "not measured"]
    reason: str = ""
    stage: str = ""
    failure_class: FailureClass | None = None

    def row(self) -> dict[str, object]:
        """For tables and JSON."""
        v, w = self.cell.variant, self.cell.workload
        names = {
            "cell_id": self.cell.id,
            "engine": v.engine_name,
            "engine_version": v.engine_version,
            "model": v.model.name,
        }
        backend = {"engine_backend": v.engine_backend} if v.engine_backend else {}
        more = {**backend, "quantization": str(v.quantization), "hardware": v.hardware, "workload": w.name}
        why = {"state": self.state, "reason": self.reason, "stage": self.stage, "failure_class": self.failure_class}
        trust = {"trust_remote_code": True} if v.trust_remote_code else {}
        return {**names, **more, **why, **trust}


@dataclass(frozen=True, slots=True)
class Estimate:
    """What measuring would take: seconds of one worker, and GPU-hours of those cells that use GPUs. Dollars are (low,
    high) of those cells whose hardware has a price; None where none has. `most_seconds` is where every rate below the
    ceiling takes all of the time that certifying its limits may."""

    cells: int
    seconds: float
    gpu_hours: float
    usd: tuple[float, float] | None = None
    most_seconds: float = 0.0

    def body(self) -> dict[str, Any]:
        """For JSON."""
        rounded = {key: round(value, 2) for key, value in asdict(self).items() if key != "usd"}
        return rounded | {"usd": [round(value, 2) for value in self.usd] if self.usd else None}

    @property
    def money(self) -> str:
        """ ", $1.20–3.00", or nothing."""
        if self.usd is None:
            return ""
        low, high = self.usd
        return f", ${low:.2f}" if low == high else f", ${low:.2f}–{high:.2f}"


def check_lines(experiment: Experiment, file: str) -> None:
    """Raises InputError for each line of `variants` of which no cell can run, excluded ones not counted, and for
    hardware that nobody knows."""
    problems = [*_unknown_hardware(experiment, file)]
    cells = experiment.cells()
    for index in range(len(experiment.variants)):
        refusals = [refusal(cell.variant, cell.workload) for cell in cells if cell.line == index and not cell.excluded]
        if refusals and all(refusals):
            field, reason = next(r for r in refusals if r)
            where = f"variants[{index}].{field}" if field else f"variants[{index}]"
            problems.append(Problem(file, where, reason))
    if problems:
        raise InputError(problems=tuple(problems))


def _unknown_hardware(experiment: Experiment, file: str) -> Iterable[Problem]:
    known = catalog("hardware")
    for index, line in enumerate(experiment.variants):
        for name in dict.fromkeys(variant.hardware for variant in line):
            if name not in known:
                yield Problem(file, f"variants[{index}].hardware", f"unknown hardware {name!r}.{nearest(name, known)}")


def refusal(variant: Variant, workload: Workload) -> tuple[str, str] | None:
    """(field, reason) where this variant cannot be or cannot serve this workload; None where it can."""
    adapter = ADAPTERS[variant.engine]
    if refused := _refused(variant, adapter.launch_spec, adapter.checkpoint, adapter.build_spec):
        return refused
    if workload.json_schema is not None and workload.endpoint not in adapter.request_dialect(variant).structured_output:
        return "engine", f"{adapter.title} takes no JSON schema on {workload.endpoint}, and {workload.name} has one"
    if adapter.no_exact_output and not workload.ends_by_itself:
        what = f"{workload.name}, which holds answers to a length"
        return "engine", f"{adapter.title} cannot do {what}: {adapter.no_exact_output}"
    needed, room = workload.context_tokens, _context(variant)
    if room is not None and needed > room:
        return "max_model_len", f"{workload.name} needs {needed} tokens of context, and there are {room}"
    return None


@functools.lru_cache(maxsize=16)  # cells come variant by variant, each with all its workloads
def _refused(variant: Variant, *specs: Callable[[Variant], object]) -> tuple[str, str] | None:
    try:
        for spec in specs:
            spec(variant)
    except UnsupportedVariant as unsupported:
        return unsupported.field, str(unsupported)
    return None


def _context(variant: Variant) -> int | None:
    """Tokens that a request may have, where the variant or its model says so."""
    source = variant.model.source
    limits = [variant.max_model_len, source.context_length if source.kind == "synthetic" else None]
    return min((limit for limit in limits if limit is not None), default=None)


def plan_cells(experiment: Experiment, campaign: Campaign, *, retry: Retry = "") -> list[PlannedCell]:
    """Every cell of an experiment, in its order."""
    cells = experiment.cells()
    due = {cell.id for cell in to_measure(campaign, cells, retry=retry, launches=experiment.load_plan.launches)}
    return [_planned(cell, cell.id in due, campaign) for cell in cells]


def _planned(cell: Cell, is_due: bool, campaign: Campaign) -> PlannedCell:
    if cell.excluded:
        return PlannedCell(cell, "excluded", cell.excluded)
    refused = refusal(cell.variant, cell.workload)
    if refused:
        return PlannedCell(cell, "unsupported", refused[1])
    if is_due:
        return PlannedCell(cell, "to measure")
    result = campaign.result(cell.id)
    if result is None:
        return PlannedCell(cell, "not measured", "it has no result yet: dyno run measures it")
    reason = result.cause or "; ".join(result.reasons) if result.state != "measured" else ""
    told = (result.stage, result.failure_class) if result.state == CellState.FAILED else ("", None)
    return PlannedCell(cell, result.state.value, reason, *told)  # type: ignore[arg-type]


def estimate(
    planned: Iterable[PlannedCell], plan: LoadPlan, prices: Mapping[str, float] | None = None, *, slos: int = 0
) -> Estimate:
    """A rough one, before anything is known of the speed: each point takes its least time and half as much again.
    `prices` are a person's own, in dollars an hour by hardware; the catalog's stand behind them."""
    cells = [p.cell for p in planned if p.state == "to measure"]
    seconds_per_cell = seconds_on_a_launch(plan) * plan.launches
    variants = {id(cell.variant): cell.variant for cell in cells}.values()
    launches = len({variant.id for variant in variants}) * plan.launches
    hardware = {name: Hardware.model_validate(entry) for name, entry in catalog("hardware").items()}
    gpu_seconds = sum(seconds_per_cell * hardware[cell.variant.hardware].gpus for cell in cells)
    paid = [price for cell in cells if (price := price_of(hardware[cell.variant.hardware], prices or {}))]
    hours = seconds_per_cell / 3600
    usd = (hours * sum(price.low for price in paid), hours * sum(price.high for price in paid)) if paid else None
    seconds = seconds_per_cell * len(cells) + SECONDS_PER_LAUNCH * launches
    longer = _seconds_to_certify(plan) * plan.launches * len(cells) if slos else 0.0
    return Estimate(len(cells), seconds, gpu_seconds / 3600, usd, seconds + longer)


def _seconds_to_certify(plan: LoadPlan) -> float:
    """The most by which the rates below the ceiling are looked at longer than `seconds_on_a_launch` says. A search for
    capacities has a budget of its own."""
    if plan.ramp is not None or plan.ladder is not None or plan.capacity is not None:
        return 0.0
    fractions = plan.open_loop.fractions
    below = plan.open_loop.points if fractions is None else sum(fraction <= 1 for fraction in fractions)
    return max(0.0, plan.max_seconds - 1.5 * plan.min_seconds) * below * len(plan.open_loop.arrivals)


def seconds_on_a_launch(plan: LoadPlan) -> float:
    """Of one cell: its points, and the whole budget of its search for capacities."""
    if plan.ramp is not None:
        return plan.ramp.seconds * len(plan.ramp.users)
    if plan.ladder is not None:
        return (plan.ladder.seconds or 1.5 * plan.min_seconds) * (len(plan.ladder.concurrency) + 2)
    rates = len(plan.open_loop.fractions) if plan.open_loop.fractions is not None else plan.open_loop.points + 1
    points = 1 + math.ceil(math.log2(plan.saturation.max_concurrency)) + rates * len(plan.open_loop.arrivals)
    return 1.5 * plan.min_seconds * (points + 2) + (plan.capacity.budget_seconds if plan.capacity else 0.0)
