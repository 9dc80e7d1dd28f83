"""The command line that starts a container: docker and podman, from data, without acting."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.errors import LaunchError

Flavour = Literal["docker", "podman"]

STEERS_THE_CLIENT = (
    "PATH",
    "HOME",
    "LD_",
    "DOCKER_",
    "CONTAINER",
    "PODMAN",
    "XDG_",
    "REGISTRY_",
    "TMPDIR",
    "HTTP",
    "NO_",
)
"""Variables that docker or podman itself would obey: those go by value, all others by name."""


MOST_PROCESSES = 32_768
"""Of a container and, as a limit of its user, of podman too, which lowers its own to this many."""


@dataclass(frozen=True, slots=True)
class ContainerCLI:
    """The program that starts containers: its path, whose it is, and the version that it says."""

    path: str
    flavour: Flavour
    version: str


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or folder of this machine inside the container, read-only unless something is to be written there."""

    source: Path
    target: str
    is_writable: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """What a container may take at most; None is no limit. `cpus` throttles, and so distorts latencies: nothing sets it
    unasked. Swap is never given: what does not fit ends, and is not slow. `ulimits` are (name, soft and hard value)."""

    memory_bytes: int | None = None
    cpus: float | None = None
    processes: int = MOST_PROCESSES
    ulimits: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerRun:
    """One container. `image` names content (`…@sha256:…` or an image's id), never a tag. `gpus` are indices, UUIDs or
    MIG names; none: no GPU is visible. `env` of a name that says secret, as all others, reaches it by inheritance."""

    image: str
    name: str
    command: tuple[str, ...]
    entrypoint: str = ""
    env: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    gpus: tuple[str, ...] = ()
    shm_gib: float = 0.0
    network: Literal["host", "none"] = "host"
    limits: Limits = Limits()


def run_argv(cli: ContainerCLI, run: ContainerRun) -> tuple[str, ...]:
    """The argument list. No value of an inherited variable is on it: see `client_environment`."""
    words = [cli.path, "run", "--name", run.name, "--pull", "never", "--log-driver", "none", "--network", run.network]
    words += ["--stop-timeout", "2"]  # podman's `rm --force` waits for this long, docker's not at all
    words += [word for name, value in run.labels for word in ("--label", f"{name}={value}")]
    words += ["--cap-drop", "all", "--cap-add", "DAC_OVERRIDE"]
    words += ["--security-opt", "no-new-privileges", "--security-opt", "label=disable"]
    words += [*_limits(run.limits), *_gpus(cli.flavour, run.gpus)]
    words += ["--shm-size", f"{round(run.shm_gib * 2**30)}b"] if run.shm_gib else []
    words += [word for mount in run.mounts for word in ("--mount", _mount(mount))]
    words += [word for name, value in run.env for word in ("--env", _variable(name, value))]
    words += ["--entrypoint", run.entrypoint] if run.entrypoint else []
    return (*words, run.image, *run.command)


def client_environment(run: ContainerRun, inherited: Mapping[str, str]) -> dict[str, str]:
    """What the client is started with: its own variables, and the values that `--env NAME` takes from there."""
    return dict(inherited) | {name: value for name, value in run.env if not _steers(name)}


def _limits(limits: Limits) -> list[str]:
    words = ["--pids-limit", str(limits.processes)]
    if limits.memory_bytes is not None:
        words += ["--memory", f"{limits.memory_bytes}b", "--memory-swap", f"{limits.memory_bytes}b"]
    words += ["--cpus", f"{limits.cpus:g}"] if limits.cpus is not None else []
    return words + [word for name, value in limits.ulimits for word in ("--ulimit", f"{name}={value}:{value}")]


def _gpus(flavour: Flavour, gpus: tuple[str, ...]) -> list[str]:
    if not gpus:
        return []
    if flavour == "podman":
        return [word for gpu in gpus for word in ("--device", f"nvidia.com/gpu={gpu}")]
    # docker reads this value as CSV: without its own quotes the comma would end the list of devices.
    return ["--gpus", f'"device={",".join(gpus)}"']


def _variable(name: str, value: str) -> str:
    return f"{name}={value}" if _steers(name) else name


def _steers(name: str) -> bool:
    return name.upper().startswith(STEERS_THE_CLIENT)


def _mount(mount: Mount) -> str:
    source = str(mount.source)
    if "," in source:
        raise LaunchError(f"{source}: a path with a comma cannot be mounted into a container; move the store elsewhere")
    return f"type=bind,source={source},target={mount.target}{'' if mount.is_writable else ',readonly'}"
