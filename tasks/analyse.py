"""Stage: the points of a cell become its result."""

import logging
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from experiments.schema.hardware import Hardware
from experiments.schema.load import LoadPlan
from experiments.schema.prices import own_prices
from experiments.schema.read import catalog
from experiments.schema.result import CellResult, CellState
from experiments.schema.slo import SLO
from tasks.analysis.bounds import with_bounds
from tasks.analysis.cell import judge_cell
from tasks.analysis.cost import with_cost
from tasks.reporting.console import shortened

log = logging.getLogger("dyno.analyse")


@task(name="analyse", cache_policy=NO_CACHE)
def analyse(measured: CellResult, slos: tuple[SLO, ...], plan: LoadPlan) -> CellResult:
    """Adds to what was measured its headlines, capacities, grade, the state that follows from its validity, bounds and
    cost."""
    judged = judge_cell(measured, slos, plan)
    result = of_a_stand_in(judged) if judged.variant.stand_in else weighed(judged)
    if result.state == CellState.MEASURED:
        log.info("%s: grade %s", result.workload.name, result.grade)
    else:
        log.warning("%s: %s: %s", result.workload.name, result.state, shortened(result.reasons or (result.cause,)))
    return result


def of_a_stand_in(cell: CellResult) -> CellResult:
    """Its figures are shown, and count for nothing: no grade, bound or cost, and no state that a comparison takes."""
    why = "a stand-in answered, and no engine: nothing was measured"
    reasons = (why, *cell.reasons)
    return cell.model_copy(update={"state": CellState.STAND_IN, "grade": None, "reasons": reasons, "bound_reason": why})


def weighed(cell: CellResult) -> CellResult:
    """With what the hardware would allow and what the tokens cost, from what the result has on record, the catalog and
    the person's prices."""
    hardware = Hardware.model_validate(catalog("hardware").get(cell.variant.hardware) or _unknown(cell))
    bandwidth = cell.provenance.get("machine", {}).get("memory_bandwidth", [])
    return with_cost(with_bounds(cell, hardware, config=_config(cell), bandwidth=bandwidth), hardware, own_prices())


def _unknown(cell: CellResult) -> dict[str, Any]:
    return {"name": cell.variant.hardware, "gpus": 0}


def _config(cell: CellResult) -> dict[str, Any] | None:
    """Of the files that were served; of the catalog where there are none here."""
    recorded: dict[str, Any] = cell.provenance.get("model", {}).get("config") or {}
    known: dict[str, Any] = catalog("model_shapes").get(cell.variant.model.name) or {}
    return recorded or known.get("config")
