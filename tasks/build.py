"""Stage: the engine's environment, and a compiled engine where the engine needs one."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from engine_adapters import ADAPTERS
from engine_adapters.base import BuildSpec, LaunchSpec
from experiments.errors import BuildError
from experiments.schema.base import content_id
from experiments.schema.variant import Variant
from tasks.artifacts.manifest import Artifact
from tasks.artifacts.store import ArtifactStore
from tasks.building.build import Ended, Inputs, Step, Toolchain, build_engine
from tasks.building.identity import GPU
from tasks.campaigns.home import Home
from tasks.serving.environment import Environment, check_release, engine_environment
from tasks.serving.gpu_identity import gpu_identity
from tasks.serving.guarded_run import guarded_run
from tasks.serving.server import programs_first, server_environment

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


@dataclass(frozen=True, slots=True)
class Built:
    """What the server is to load; `facts` are empty where nothing was compiled for it."""

    path: Path
    facts: Mapping[str, Any] = field(default_factory=dict)


@task(name="build", task_run_name="build {variant.engine}", cache_policy=NO_CACHE)
def build(
    variant: Variant,
    *,
    checkpoint: Artifact,
    model: Artifact,
    environment: Environment | None,
    home: Home,
    log_file: Path,
) -> Built:
    """The checkpoint itself where there is nothing to compile, else what is compiled from it, cached in the store.
    Without an environment the engine runs in a container."""
    adapter = ADAPTERS[variant.engine]
    spec = adapter.build_spec(variant)
    if spec is None:
        log.info("%s: nothing to build, it loads the checkpoint as it is", adapter.title)
        return Built(checkpoint.entry)
    made = build_engine(
        variant,
        spec,
        Inputs(checkpoint, model),
        ArtifactStore(home.artifacts),
        toolchain_of(spec, environment, home),
        log=log_file,
        say=lambda text: log.info("%s", text),
    )
    verb = "compiled" if made.was_made else "kept, compiled"
    log.info("%s: %.1f MB, %s in %.0f s", spec.kind, made.bytes / 1e6, verb, made.facts["seconds"])
    facts = {"key": made.key, "bytes": made.bytes, "was_made": made.was_made, **made.facts}
    return Built(made.entry, facts | {"made_from": made.manifest.made_from})


def toolchain_of(spec: BuildSpec, environment: Environment | None, home: Home) -> Toolchain:
    """Where the commands run: the environment in which the server would. Raises BuildError for an image."""
    if spec.image or environment is None:
        raise BuildError(
            f"the {spec.kind} would be compiled in {spec.image}, and no stage here runs a build in an image"
        )
    env = programs_first(environment.python, server_environment(LaunchSpec(argv=(), env=spec.env)))
    seen = {name: value for name, value in env.items() if name != "CUDA_VISIBLE_DEVICES"}

    def run(step: Step) -> Ended:
        status, peak_bytes = guarded_run(
            step.argv, env=seen, log=step.log, leases=home.leases, what=f"a build of {spec.kind}", cwd=step.cwd
        )
        return Ended(status, peak_bytes)

    gpu = gpu_identity()
    identity = content_id([list(package) for package in environment.packages])
    return Toolchain(run, str(environment.python), identity, GPU(**gpu) if gpu else None)
