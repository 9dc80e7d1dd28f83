"""A LaunchSpec becomes a server in a container: the same spec, the same readiness, the same end."""

import contextlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from engine_adapters.base import LaunchSpec, RequestDialect
from tasks.serving.container import ContainerRun, Limits, Mount, client_environment, run_argv
from tasks.serving.container_cli import LABEL, default_limits, reap_containers
from tasks.serving.images import EngineImage
from tasks.serving.lease import Container, owner_labels, this_process
from tasks.serving.server import (
    LAUNCHERS,
    OFFLINE,
    Command,
    Server,
    fill,
    free_port,
    inherited_environment,
    serving,
    spec_environment,
    write_files,
)

MODEL, LAUNCHERS_INSIDE, FILES_INSIDE = "/dyno/model", "/dyno/launchers", "/dyno/files"


@contextlib.contextmanager
def running_container(
    spec: LaunchSpec,
    dialect: RequestDialect,
    *,
    image: EngineImage,
    model: Path,
    log: Path,
    leases: Path,
    what: str,
    say: Callable[[str], None],
    gpus: Sequence[str] = (),
    limits: Limits | None = None,
    labels: Sequence[tuple[str, str]] = (),
) -> Iterator[Server]:
    """The server of an image runs inside the block, ready; after it neither process nor container is left. What a dyno
    that was killed left of its own is removed before. Raises LaunchError as `running_server` does."""
    reap_containers(image.cli, say)
    port, files = free_port(), write_files(spec, log)
    container = Container(image.cli.path, f"dyno-{uuid.uuid4().hex[:12]}")
    owned = {LABEL: container.name, "dyno.what": what, **owner_labels(this_process()), **dict(labels)}
    run = container_run(
        spec, image, container.name, model=model, files=files, port=port, gpus=gpus, limits=limits or default_limits(),
        labels=tuple(owned.items()),
    )  # fmt: skip
    served = _inside(model) if spec.served_model == "{model}" else spec.served_model
    shown = run_argv(image.cli, replace(run, name="dyno-server", labels=()))
    command = Command(
        run_argv(image.cli, run), client_environment(run, inherited_environment()), served, container, on_record=shown
    )
    with serving(command, spec, dialect, port=port, log=log, leases=leases, what=what, say=say) as server:
        yield server


def container_run(
    spec: LaunchSpec,
    image: EngineImage,
    name: str,
    *,
    model: Path,
    files: Path,
    port: int,
    gpus: Sequence[str],
    limits: Limits,
    labels: tuple[tuple[str, str], ...],
) -> ContainerRun:
    """The spec as one container. Its network is the host's: a published port is a proxy in the path of every token.
    A spec with an entrypoint gives docker its first word, and the others as the first arguments."""
    argv = fill(spec, python="python3", model=_inside(model), port=port, launchers=LAUNCHERS_INSIDE, files=FILES_INSIDE)
    entrypoint = spec.entrypoint[0] if spec.entrypoint else ""
    return ContainerRun(
        image=image.pinned,
        name=name,
        command=(*spec.entrypoint[1:], *argv),
        entrypoint="python3" if entrypoint == "{python}" else entrypoint,
        env=tuple(container_environment(spec).items()),
        mounts=_mounts(spec, model, files),
        labels=labels,
        gpus=tuple(gpus),
        shm_gib=spec.shm_gib,
        limits=limits,
    )


def container_environment(spec: LaunchSpec) -> dict[str, str]:
    """All that the program inside gets beside what its image sets. Where docker's default runtime is NVIDIA's, an image
    that asks for all GPUs gets them unless it is told `void`."""
    hidden = {} if spec.gpus else {"NVIDIA_VISIBLE_DEVICES": "void"}
    return OFFLINE | hidden | spec_environment(spec)


def _inside(model: Path) -> str:
    """A file is mounted with its folder: what comes in parts lies beside it."""
    return f"{MODEL}/{model.name}" if model.is_file() else MODEL


def _mounts(spec: LaunchSpec, model: Path, files: Path) -> tuple[Mount, ...]:
    found = [Mount((model.parent if model.is_file() else model).resolve(), MODEL)]
    if any(word.startswith("{launchers}/") for word in spec.argv):
        found.append(Mount(LAUNCHERS, LAUNCHERS_INSIDE))
    if spec.files:
        found.append(Mount(files.resolve(), FILES_INSIDE))
    return tuple(found)
