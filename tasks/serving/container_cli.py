"""The docker or podman of this machine: which one answers, what it has, what it pulls, and what it left behind."""

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.errors import LaunchError, SetupError
from tasks.serving.container import MOST_PROCESSES, ContainerCLI, Flavour, Limits
from tasks.serving.lease import Container, is_left_behind

LABEL = "dyno.lease"
KNOWN: tuple[Flavour, ...] = ("docker", "podman")
PATIENCE_S = 60.0
MEMORY_SHARE = 0.95
"""Of the machine's memory: a server that takes more is ended by the kernel before the machine is."""


def find_cli(environ: Mapping[str, str] = os.environ) -> ContainerCLI:
    """DYNO_CONTAINER_CLI (a name or a path), else the first of docker and podman that answers.

    Raises SetupError with what each of them said."""
    named = environ.get("DYNO_CONTAINER_CLI", "")
    refusals = []
    for name in (named,) if named else KNOWN:
        path = shutil.which(name, path=environ.get("PATH"))
        if path is None:
            refusals.append(f"{name} is not on PATH")
            continue
        found = _asked(path)
        if isinstance(found, ContainerCLI):
            return found
        refusals.append(f"{path}: {found}")
    raise SetupError(
        f"no container can be started here: {'; '.join(refusals)}. Install docker or podman, or name one in "
        "DYNO_CONTAINER_CLI; runtime: environment needs neither."
    )


def _asked(path: str) -> ContainerCLI | str:
    """The program, or why it is of no use. Whose it is, it says itself: podman may be called docker."""
    try:
        flavour: Flavour = "podman" if "podman" in _output([path, "--version"]).lower() else "docker"
        form = "{{.Version.Version}}" if flavour == "podman" else "{{.ServerVersion}}"
        version = _output([path, "info", "--format", form]).strip()
    except LaunchError as error:
        return error.message
    return ContainerCLI(path, flavour, version) if version else "its service does not answer"


def call(cli: ContainerCLI, *words: str, timeout_s: float = PATIENCE_S) -> str:
    """What a command of it prints. Raises LaunchError with its own last words."""
    return _output([cli.path, *words], timeout_s)


def _output(command: Sequence[str], timeout_s: float = PATIENCE_S) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=timeout_s
        )
    except subprocess.TimeoutExpired as error:
        raise LaunchError(f"{command[0]} {command[1]}: no answer within {timeout_s:g} s") from error
    except OSError as error:
        raise LaunchError(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        words = [line for line in done.stderr.splitlines() if line.strip()]
        raise LaunchError(
            f"{Path(command[0]).name} {command[1]}: {words[-1] if words else f'status {done.returncode}'}",
            log_excerpt="\n".join(words[-15:]),
        )
    return done.stdout


def inspected(cli: ContainerCLI, kind: str, *names: str) -> list[dict[str, Any]]:
    """What it knows of images or containers (`kind`). Raises LaunchError where one of them is not there."""
    found = json.loads(call(cli, "inspect", "--type", kind, *names))
    return [item for item in found if isinstance(item, dict)]


def reap_containers(cli: ContainerCLI, say: Callable[[str], None]) -> list[str]:
    """Removes the containers whose labels name an owner that is gone; returns their names."""
    ids = call(cli, "ps", "--all", "--quiet", "--filter", f"label={LABEL}").split()
    gone = []
    for number in ids:
        try:
            (facts,) = inspected(cli, "container", number)
        except (LaunchError, ValueError):
            continue  # it ended in the meantime
        if is_left_behind(facts["Config"].get("Labels") or {}) and Container(cli.path, number).remove():
            gone.append(str(facts["Name"]).removeprefix("/"))
            say(f"removed the container {gone[-1]}, which a dyno that was killed had left behind")
    return gone


def default_limits() -> Limits:
    """Nearly all memory of the machine, no throttle, and the resource limits of this process where they are the most
    that may be given: a container that asks for more than its starter has does not start."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    wanted = (
        ("nofile", resource.RLIMIT_NOFILE, 1_048_576),
        ("nproc", resource.RLIMIT_NPROC, MOST_PROCESSES),  # and podman lowers its own to this
        ("memlock", resource.RLIMIT_MEMLOCK, resource.RLIM_INFINITY),
        ("stack", resource.RLIMIT_STACK, 64 * 2**20),
    )
    ulimits = tuple((name, _capped(value, resource.getrlimit(which)[1])) for name, which, value in wanted)
    return Limits(memory_bytes=int(memory_bytes * MEMORY_SHARE), ulimits=ulimits)


def _capped(wanted: int, hard: int) -> int:
    """Both may be infinite, which is -1 here and on the command line."""
    if hard == resource.RLIM_INFINITY:
        return wanted
    return hard if wanted == resource.RLIM_INFINITY else min(wanted, hard)
