"""Stage: the points of a cell become its result."""

import logging

from prefect import task
from prefect.cache_policies import NO_CACHE

from experiments.schema.load import LoadPlan
from experiments.schema.result import CellResult, CellState
from experiments.schema.slo import SLO
from tasks.analysis.cell import judge_cell
from tasks.reporting.console import shortened
from tasks.weigh import weighed

log = logging.getLogger("dyno.analyse")


@task(name="analyse", cache_policy=NO_CACHE)
def analyse(measured: CellResult, slos: tuple[SLO, ...], plan: LoadPlan) -> CellResult:
    """Adds to what was measured its headlines, capacities, grade, the state that follows from its validity, bounds and
    cost."""
    judged = judge_cell(measured, slos, plan)
    result = weighed(of_a_stand_in(judged) if judged.variant.stand_in else judged)
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
