"""The exact command that launches the server of a cell: from what was measured, or from the experiments at hand."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine_adapters import ADAPTERS
from engine_adapters.base import LaunchSpec
from experiments.errors import InputError
from experiments.schema.read import read_experiment
from experiments.schema.result import CellResult
from experiments.schema.variant import Variant
from experiments.schema.workload import Workload
from tasks.campaigns.campaign import Campaign, all_campaigns, open_campaign
from tasks.campaigns.home import open_home
from tasks.serve import runs_in_container
from tasks.serving.container import ContainerCLI, Limits, run_argv
from tasks.serving.container_server import container_environment, container_run
from tasks.serving.images import EngineImage
from tasks.serving.server import fill, spec_environment

SHIPPED = Path(__file__).parents[1] / "experiments"


@dataclass(frozen=True, slots=True)
class FoundCell:
    """A cell by its id: what it asks for, where its results lie or would lie, and its latest result."""

    cell_id: str
    variant: Variant
    workload: Workload
    campaign: Campaign
    result: CellResult | None


def find_cell(cell_id: str) -> FoundCell:
    """The cell whose id begins with `cell_id`, of what was measured, else of the experiments at hand. Raises InputError
    where none or several do."""
    root = open_home().campaigns
    found = dict(_cells_of_files(root))
    for campaign in all_campaigns(root):
        for result in campaign.results():
            found[result.cell_id] = FoundCell(result.cell_id, result.variant, result.workload, campaign, result)
    matches = sorted(name for name in found if name.startswith(cell_id)) if cell_id else []
    if len(matches) != 1:
        raise InputError(_ambiguous(cell_id, matches))
    return found[matches[0]]


def launch_command(cell_id: str) -> dict[str, Any]:
    """argv, env and notes for a cell whose id begins with `cell_id`. Raises InputError where none or several do."""
    cell = find_cell(cell_id)
    return _as_measured(cell.result) or _as_planned(cell.cell_id, cell.variant)


def measured_command(result: CellResult) -> str:
    """As it was started, in one line to paste; empty where the launch never got that far."""
    found = _as_measured(result)
    return as_line(found) if found else ""


def as_line(command: dict[str, Any]) -> str:
    """Variables first, everything quoted for a shell."""
    words = [f"{name}={shlex.quote(value)}" for name, value in command["env"].items()]
    return " ".join([*words, shlex.join(command["argv"])])


def _ambiguous(cell_id: str, matches: list[str]) -> str:
    if matches:
        return f"{cell_id!r} begins the ids of {len(matches)} cells: {', '.join(matches[:8])}"
    return f"no cell's id begins with {cell_id!r}; `dyno plan FILE` lists the ids of an experiment's cells"


def _cells_of_files(root: Path) -> Iterator[tuple[str, FoundCell]]:
    folders = dict.fromkeys((Path("experiments").absolute(), SHIPPED))
    for path in sorted(path for folder in folders for path in folder.glob("*.yaml")):
        try:
            experiment = read_experiment(path, ADAPTERS)
        except InputError:
            continue  # a file that is not valid has no cells; `dyno validate` says why
        for cell in experiment.cells():
            campaign = open_campaign(root, experiment.name)
            yield cell.id, FoundCell(cell.id, cell.variant, cell.workload, campaign, None)


def _as_measured(result: CellResult | None) -> dict[str, Any]:
    """As it was started; {} where the launch never got that far."""
    argv = list(result.provenance.get("argv", ())) if result else []
    if not result or not argv:
        return {}
    paths = [word for word in argv if word.startswith("/") and not word.startswith("/dyno/")]
    notes = [f"{path} is gone; dyno run --force makes it again" for path in paths if not Path(path).exists()]
    return {"cell_id": result.cell_id, "argv": argv, "env": _environment(result.variant), "notes": notes}


def _as_planned(cell_id: str, variant: Variant) -> dict[str, Any]:
    spec = ADAPTERS[variant.engine].launch_spec(variant)
    if spec.url:
        return {"cell_id": cell_id, "argv": [], "env": {}, "notes": [f"nothing is launched: {spec.url} runs already"]}
    if runs_in_container(variant):
        return _planned_container(cell_id, variant, spec)
    note = (
        f"not measured yet: ENVIRONMENT is a venv with {' '.join(spec.packages)}, "
        "CHECKPOINT what `dyno run` makes; afterwards this prints the real paths"
    )
    argv = list(fill(spec, python="ENVIRONMENT/bin/python", model="CHECKPOINT", port=8000, files="FILES"))
    notes = [note, *_before(variant, spec)]
    return {"cell_id": cell_id, "argv": argv, "env": _environment(variant), "notes": notes}


def _before(variant: Variant, spec: LaunchSpec) -> list[str]:
    """What is there before the launch: the files that the server reads, and the engine that is compiled."""
    build = ADAPTERS[variant.engine].build_spec(variant)
    compiled = [f"CHECKPOINT is compiled by: {shlex.join(command)}" for command in (build.commands if build else ())]
    return [*compiled, *(f"FILES/{name} holds: {' '.join(text.split())}" for name, text in spec.files)]


def _planned_container(cell_id: str, variant: Variant, spec: LaunchSpec) -> dict[str, Any]:
    image = EngineImage(ContainerCLI("docker", "docker", ""), spec.image, spec.image, "", "")
    gpus = tuple(map(str, range(spec.gpus)))
    run = container_run(
        spec, image, "dyno-server", model=Path("/CHECKPOINT"), files=Path("/FILES"), port=8000, gpus=gpus,
        limits=Limits(), labels=(),
    )  # fmt: skip
    note = (
        "not measured yet: /CHECKPOINT is what `dyno run` makes, and so is /FILES, where there is one; it starts the "
        "image by its digest, with limits of this machine and labels that name their owner"
    )
    argv, notes = list(run_argv(image.cli, run)), [note, *_before(variant, spec)]
    return {"cell_id": cell_id, "argv": argv, "env": _environment(variant), "notes": notes}


def _environment(variant: Variant) -> dict[str, str]:
    """Of a container: what its client's `--env NAME` takes from its own."""
    spec = ADAPTERS[variant.engine].launch_spec(variant)
    return container_environment(spec) if runs_in_container(variant) else spec_environment(spec)
