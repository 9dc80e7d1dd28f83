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
    result = weighed(judge_cell(measured, slos, plan))
    if result.state == CellState.MEASURED:
        log.info("%s: grade %s", result.workload.name, result.grade)
    else:
        log.warning("%s: %s: %s", result.workload.name, result.state, shortened(result.reasons or (result.cause,)))
    return result
