"""What can be made before the flow runs, while Prefect's server starts: datasets, environments, models, checkpoints."""

import logging
from pathlib import Path

from experiments.errors import DynoError
from experiments.schema.order import ExperimentOrder
from experiments.schema.variant import Variant
from tasks.build import make_environment
from tasks.campaigns.home import Home
from tasks.download import download, download_dataset
from tasks.pull import pull
from tasks.quantize import quantize
from tasks.serve import is_there_already, runs_in_container
from tasks.serving.environment import Environment

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
            environment = _runtime(variant, home)
            quantize.fn(variant, model, home.artifacts, environment, home.environments)
        except DynoError as error:
            log.warning("%s: %s", variant.label, error)


def _runtime(variant: Variant, home: Home) -> Environment | None:
    """None where there is nothing to install: of an image, which is had, and of a stand-in."""
    if variant.stand_in:
        return None
    if runs_in_container(variant):
        pull.fn(variant)
        return None
    return make_environment.fn(variant, home.environments)
