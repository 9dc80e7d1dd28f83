"""Stage: in the place of an engine's environment or image, a folder of programs that bear its programs' names."""

import logging
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from engine_adapters import ADAPTERS
from experiments.schema.variant import Variant
from tasks.serving.environment import StandInEnvironment

log = logging.getLogger("dyno.stand_in")


@task(name="stand-in", task_run_name="stand-in of {variant.engine}", cache_policy=NO_CACHE)
def use_stand_ins(variant: Variant, folder: Path) -> StandInEnvironment:
    """Whatever the variant's runtime is: its commands are found in the folder first, and their arguments are exactly
    those of a launch of the engine."""
    log.warning("STAND-IN of %s: no engine runs, and nothing is measured", ADAPTERS[variant.engine].title)
    package = (f"STAND-IN of {ADAPTERS[variant.engine].release_package or variant.engine}", variant.engine_version, "")
    return StandInEnvironment(folder / "python", (package,), 0.0)
