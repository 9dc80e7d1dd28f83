"""One invocation: every variant that is due, one after the other, then the report."""

import logging
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from experiments.errors import hidden_stop
from experiments.schema.order import ExperimentOrder, VariantOrder
from flows.measure_variant import measure_variant
from tasks.track import link_invocation

log = logging.getLogger("dyno.run")


@flow(name="run-experiment", flow_run_name="{run.experiment} campaign {run.campaign}", persist_result=False)
def run_experiment(run: ExperimentOrder) -> State[Any]:
    """A variant that fails does not stop the others; the state says which failed."""
    link_invocation(run, str(flow_run.id or ""))
    states = [_measured(run, order) for order in run.variants]
    failed = [state for state in states if not state.is_completed()]
    if failed:
        return Failed(message=f"{len(failed)} of {len(states)} variants have failed cells: {failed[0].message}")
    return Completed(message=f"{len(states)} variants measured")


def _measured(run: ExperimentOrder, order: VariantOrder) -> State[Any]:
    state = measure_variant(run, order, return_state=True)
    if isinstance(state.data, BaseException) and hidden_stop(state.data):
        raise KeyboardInterrupt from state.data
    return state
