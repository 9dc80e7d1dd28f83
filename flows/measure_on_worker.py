"""What a worker of a pool does with one variant: measures it in the store of its own host."""

import logging
import time
from collections.abc import Sequence
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from experiments.errors import PublishError
from experiments.schema.order import ExperimentOrder, VariantOrder
from flows.diagnosis import know_bandwidth
from flows.fan_out import NAMED, run_name
from flows.fleet import minded_by_fleet
from flows.hosts import alone_on_host, remember_weights
from flows.measure_variant import campaign_of, measure_variant
from tasks.campaigns.home import Home, measuring_alone, open_home
from tasks.publish import sync
from tasks.serving.engine_log import engine_logs_told
from tasks.serving.lease import reap
from tasks.serving.parent_death import end_with_worker

log = logging.getLogger("dyno.worker")

PAUSES_S = (0.0, 15.0, 30.0, 60.0)
"""Before each try to reach MLflow at the end of a run. The host measures nothing meanwhile."""


def worker_run_name() -> str:
    """As whoever sent it named it; of a run that is started by hand, what runs."""
    if NAMED in (name := str(flow_run.name or "")):
        return name
    run = ExperimentOrder.model_validate(flow_run.parameters["run"])
    return run_name(run, VariantOrder.model_validate(flow_run.parameters["order"]))


@flow(name="measure-on-worker", flow_run_name=worker_run_name, persist_result=False)
def measure_on_worker(run: ExperimentOrder, order: VariantOrder) -> State[Any]:
    """Measures the cells of one variant, alone on this host, and tells MLflow. The run's home is this worker's own.

    Args:
        run: the experiment and the campaign that the results belong to
        order: the variant, and which cells of it
    """
    end_with_worker()
    home = open_home().make()
    for what in reap(home.leases):
        log.warning("ended %s, which a run that was killed had left", what)
    here = run.model_copy(update={"home": str(home.root)})
    run_campaign = campaign_of(here)
    servers = run_campaign.folder / "servers"
    with minded_by_fleet(), measuring_alone(home, log.info), alone_on_host(order.variant):
        know_bandwidth(home)
        remember_weights(order.variant)
        with engine_logs_told(servers, f"{order.variant.id}-*.log", logging.getLogger("dyno.engine").info):
            state: State[Any] = measure_variant(here, order, return_state=True)
    tell_mlflow(home, {run_campaign.name: run.invocation_run_id})
    return state


def tell_mlflow(home: Home, parents: dict[str, str], pauses_s: Sequence[float] = PAUSES_S) -> None:
    """Of all that lies in this store and did not reach it, this run's and earlier ones', after pauses where it is out
    of reach; then it is left to the next run here, or to `dyno sync`."""
    for pause_s in pauses_s:
        time.sleep(pause_s)
        try:
            sync(home, parents)
            return
        except PublishError as error:
            log.warning("%s", error)
