"""A command run to its end in a container of an engine's image: what compiles an engine, for one."""

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.serving.container import ContainerRun, Mount, client_environment, run_argv
from tasks.serving.container_cli import LABEL, default_limits, reap_containers
from tasks.serving.guarded_run import guarded_run
from tasks.serving.images import EngineImage
from tasks.serving.lease import Container, owner_labels, this_process
from tasks.serving.server import OFFLINE, inherited_environment

SHM_GIB = 8.0


def run_in_container(
    argv: Sequence[str],
    *,
    image: EngineImage,
    env: Mapping[str, str],
    reads: Sequence[Path],
    writes: Sequence[Path],
    log: Path,
    leases: Path,
    what: str,
    gpus: Sequence[str],
) -> tuple[int, int | None]:
    """Exit status, and None for its memory. Folders have the same paths inside; there is no network. What a dyno that
    was killed left of its own is removed before."""
    reap_containers(image.cli, lambda _: None)
    container = Container(image.cli.path, f"dyno-{uuid.uuid4().hex[:12]}")
    run = command_run(argv, image, container.name, env=env, reads=reads, writes=writes, what=what, gpus=gpus)
    client = client_environment(run, inherited_environment())
    return guarded_run(run_argv(image.cli, run), env=client, log=log, leases=leases, what=what, container=container)


def command_run(
    argv: Sequence[str],
    image: EngineImage,
    name: str,
    *,
    env: Mapping[str, str],
    reads: Sequence[Path],
    writes: Sequence[Path],
    what: str,
    gpus: Sequence[str],
) -> ContainerRun:
    """The command as one container, through the image's own entry point."""
    mounts = {str(folder): Mount(folder.resolve(), str(folder)) for folder in reads}
    mounts |= {str(folder): Mount(folder.resolve(), str(folder), is_writable=True) for folder in writes}
    return ContainerRun(
        image=image.pinned,
        name=name,
        command=tuple(argv),
        env=tuple((OFFLINE | dict(env)).items()),
        mounts=tuple(mounts.values()),
        labels=((LABEL, name), ("dyno.what", what), *owner_labels(this_process()).items()),
        gpus=tuple(gpus),
        shm_gib=SHM_GIB,
        network="none",
        limits=default_limits(),
    )
