"""What the deployments share: which experiments a fleet minds, and how a deployment finds them."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from prefect.variables import Variable

import experiments
from experiments.errors import InputError
from experiments.schema.experiment import Experiment
from flows.terminal import read_file

TAG = "dyno"
"""Of the runs whose heartbeats are minded. A flow within a flow does not inherit it from its deployment."""

HEARTBEAT_S = 30
"""The least that Prefect takes; prefect.yaml and `dyno worker` say the same of what workers start."""

EXPERIMENTS = "dyno_experiments"
"""The Prefect variable that lists what scheduled deployments measure."""


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
