"""What the deployments share: which experiments a fleet minds, how a deployment finds them, and how it is minded."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from prefect import tags
from prefect.variables import Variable

import experiments
from experiments.errors import InputError
from experiments.schema.experiment import Experiment
from flows.cancelling import ended_when_cancelled
from flows.terminal import read_file

EXPERIMENTS = "dyno_experiments"
"""The Prefect variable that lists what scheduled deployments measure."""

TAG = "dyno"
"""Of runs whose heartbeats an automation minds: once they stop, the run has crashed."""

HEARTBEAT_S = 30
"""As prefect.yaml asks of runs of a worker."""


@contextlib.contextmanager
def minded_by_fleet() -> Iterator[None]:
    """What runs in the block ends when its run is cancelled; flows within it are called crashed too once their process
    has been killed, and not only the run of the deployment."""
    with tags(TAG), ended_when_cancelled():
        yield


def fleet_experiments(asked: Sequence[str]) -> list[Experiment]:
    """Those that were asked for, else those of the variable. Raises InputError where there are none, or one is no
    experiment."""
    names = list(asked) or cast(list[str], Variable.get(EXPERIMENTS, []))
    if not names:
        raise InputError(f"name an experiment, or list some in the Prefect variable {EXPERIMENTS}")
    return [read_file(experiment_file(name)) for name in names]


def experiment_file(name: str) -> Path:
    """A shipped experiment by its name, or a file by its path. Raises InputError where neither is there."""
    shipped = Path(experiments.__file__).parent / f"{name}.yaml"
    for file in (Path(name).expanduser(), shipped):
        if file.suffix in (".yaml", ".yml") and file.is_file():
            return file
    known = ", ".join(sorted(file.stem for file in shipped.parent.glob("*.yaml")))
    raise InputError(f"{name}: neither a file on this host, nor one of the shipped experiments ({known})")
