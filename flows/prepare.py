"""What can be made before the flow runs, while Prefect's server starts: datasets, environments, models, checkpoints."""

import logging
from pathlib import Path

from experiments.errors import DynoError
from experiments.schema.order import ExperimentOrder
from tasks.build import make_environment
from tasks.campaigns.home import Home
from tasks.download import download, download_dataset
from tasks.pull import pull
from tasks.quantize import quantize
from tasks.serve import is_there_already, runs_in_container

log = logging.getLogger("dyno.prepare")


def prepare(order: ExperimentOrder) -> None:
    """Fills the store; the flow's own stages then find what is here. What fails here fails there, with its cells."""
    home = Home(Path(order.home))
    for prompts in {cell.workload.prompts for item in order.variants for cell in item.cells}:
        try:
            download_dataset.fn(prompts, home.artifacts)
        except DynoError as error:
            log.warning("%s", error)
    for variant in (item.variant for item in order.variants):
        if is_there_already(variant):
            continue
        try:
            model = download.fn(variant.model, home.artifacts)
            environment = None if runs_in_container(variant) else make_environment.fn(variant, home.environments)
            if environment is None:
                pull.fn(variant)
            quantize.fn(variant, model, home.artifacts, environment, home.environments)
        except DynoError as error:
            log.warning("%s: %s", variant.label, error)
