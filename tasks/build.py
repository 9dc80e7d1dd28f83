"""Stage: the engine's environment, and a compiled engine where the engine needs one."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from engine_adapters import ADAPTERS
from engine_adapters.base import BuildSpec, LaunchSpec
from experiments.schema.base import content_id
from experiments.schema.variant import Variant
from tasks.artifacts.manifest import Artifact
from tasks.artifacts.store import ArtifactStore
from tasks.building.build import Ended, Inputs, Step, Toolchain, build_engine
from tasks.building.identity import GPU
from tasks.campaigns.home import Home
from tasks.serving.container_command import run_in_container
from tasks.serving.environment import Environment, check_release, engine_environment
from tasks.serving.gpu_lease import leased_gpus
from tasks.serving.gpus import GpuFacts, NoNvml, chosen_gpus, describe_gpus
from tasks.serving.guarded_run import guarded_run
from tasks.serving.images import EngineImage
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


@task(name="build", task_run_name="build {variant.engine_name}", cache_policy=NO_CACHE)
def build(
    variant: Variant,
    *,
    checkpoint: Artifact,
    model: Artifact,
    runs_in: Environment | EngineImage,
    home: Home,
    log_file: Path,
) -> Built:
    """The checkpoint itself where there is nothing to compile, else what is compiled from it, cached in the store."""
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
        toolchain_of(variant, spec, runs_in, home),
        log=log_file,
        say=lambda text: log.info("%s", text),
    )
    verb = "compiled" if made.was_made else "kept, compiled"
    log.info("%s: %.1f MB, %s in %.0f s", spec.kind, made.bytes / 1e6, verb, made.facts["seconds"])
    facts = {"key": made.key, "bytes": made.bytes, "was_made": made.was_made, **made.facts}
    return Built(made.entry, facts | {"made_from": made.manifest.made_from})


def toolchain_of(variant: Variant, spec: BuildSpec, runs_in: Environment | EngineImage, home: Home) -> Toolchain:
    """Where the commands run: in the server's image or environment, on GPUs that nobody else has meanwhile."""
    gpu = gpu_of(_gpus())
    needed = ADAPTERS[variant.engine].launch_spec(variant).gpus if gpu else 0

    def run(step: Step) -> Ended:
        with leased_gpus(needed, home.leases, log.warning) as gpus:
            numbers = tuple(str(one.index) for one in gpus)
            return Ended(*_run(step, runs_in, home.leases, f"a build of {spec.kind}", numbers))

    if isinstance(runs_in, EngineImage):
        return Toolchain(run, "python3", runs_in.digest or runs_in.image_id, gpu)
    identity = content_id([list(package) for package in runs_in.packages])
    return Toolchain(run, str(runs_in.python), identity, gpu)


def _run(
    step: Step, runs_in: Environment | EngineImage, leases: Path, what: str, gpus: tuple[str, ...]
) -> tuple[int, int | None]:
    if isinstance(runs_in, EngineImage):
        return run_in_container(
            step.argv, image=runs_in, env=dict(step.env), reads=step.reads, writes=step.writes, log=step.log,
            leases=leases, what=what, gpus=gpus,
        )  # fmt: skip
    env = programs_first(runs_in.python, server_environment(LaunchSpec(argv=(), env=step.env), gpus))
    return guarded_run(step.argv, env=env, log=step.log, leases=leases, what=what, cwd=step.cwd)


def _gpus() -> list[GpuFacts]:
    """Those that may be used here; none where no driver answers."""
    try:
        return chosen_gpus(describe_gpus())
    except NoNvml:
        return []


def gpu_of(gpus: Sequence[GpuFacts]) -> GPU | None:
    """What is compiled for; different GPUs together are another kind than either. None where there is none."""
    if not gpus:
        return None
    kinds = sorted({(gpu.name, gpu.compute_capability) for gpu in gpus})
    names, capabilities = (" + ".join(dict.fromkeys(column)) for column in zip(*kinds, strict=True))
    return GPU(names, capabilities, gpus[0].driver)
