"""What a worker of a pool does with one variant: measures it in the store of its own host."""

import logging
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from experiments.schema.order import ExperimentOrder, VariantOrder
from flows.cancelling import ended_when_cancelled
from flows.diagnosis import know_bandwidth
from flows.hosts import alone_on_host, remember_weights
from flows.measure_variant import measure_variant
from tasks.campaigns.campaign import Campaign
from tasks.campaigns.home import measuring_alone, open_home
from tasks.serving.engine_log import engine_logs_told
from tasks.serving.parent_death import end_with_worker

log = logging.getLogger("dyno.worker")


@flow(name="measure-on-worker", persist_result=False)
def measure_on_worker(run: ExperimentOrder, order: VariantOrder) -> State[Any]:
    """Measures the cells of one variant, alone on this host, and tells MLflow. The run's home is this worker's own.

    Args:
        run: the experiment and the campaign that the results belong to
        order: the variant, and which cells of it
    """
    end_with_worker()
    home = open_home().make()
    here = run.model_copy(update={"home": str(home.root)})
    servers = Campaign(run.experiment, home.campaigns / run.experiment / str(run.campaign)).folder / "servers"
    with ended_when_cancelled(), measuring_alone(home, log.info), alone_on_host(order.variant):
        know_bandwidth(home)
        remember_weights(order.variant)
        with engine_logs_told(servers, f"{order.variant.id}-*.log", logging.getLogger("dyno.engine").info):
            state: State[Any] = measure_variant(here, order, return_state=True)
    return state
