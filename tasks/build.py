"""Stage: the engine's environment, and a compiled engine where the engine needs one."""

import logging
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from engine_adapters import ADAPTERS
from experiments.errors import BuildError
from experiments.schema.variant import Variant
from tasks.serving.environment import Environment, check_release, engine_environment

log = logging.getLogger("dyno.build")


@task(name="environment", task_run_name="environment {variant.engine} {variant.engine_version}", cache_policy=NO_CACHE)
def make_environment(variant: Variant, environments: Path) -> Environment:
    """The environment of the engine's release; two releases have two, and can be measured side by side."""
    adapter = ADAPTERS[variant.engine]
    spec = adapter.launch_spec(variant)
    made = engine_environment(environments, spec.packages, log.info, removed=spec.removed_packages)
    check_release(made, adapter.release_package, variant.engine_version)
    if made.seconds:
        log.info("environment of %s: %d packages in %.0f s", " ".join(spec.packages), len(made.packages), made.seconds)
    return made


@task(name="build", task_run_name="build {variant.engine}", cache_policy=NO_CACHE)
def build(variant: Variant, checkpoint: Path) -> Path:
    """What the server is to load: the checkpoint itself where there is nothing to compile."""
    adapter = ADAPTERS[variant.engine]
    if adapter.build_spec(variant) is None:
        log.info("%s: nothing to build, it loads the checkpoint as it is", adapter.title)
        return checkpoint
    raise BuildError(f"{adapter.title} needs a compiled engine, and no stage here compiles one yet")
