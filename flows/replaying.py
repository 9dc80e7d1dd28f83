"""A replay before its flow: which cell, whether it can be replayed here, and the flow run on this machine."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine_adapters import ADAPTERS
from experiments.errors import AnotherSystem, DynoError, InputError, SetupError
from experiments.schema.base import METHOD_VERSION
from experiments.schema.replay import Difference, ReplayOrder, ReplayResult
from experiments.schema.result import CellResult
from flows.launch_command import find_cell
from flows.local_api import prefect_api
from tasks.analysis.replay import stored_figures
from tasks.analysis.replay_differences import another_system, differences
from tasks.campaigns.home import Home, measuring_alone, open_home
from tasks.campaigns.replays import open_replay
from tasks.serving.gpus import gpu_facts
from tasks.serving.provenance import machine

log = logging.getLogger("dyno.replay")


def replay_order(cell_id: str, *, anyway: bool) -> ReplayOrder:
    """Of the cell whose id begins so. Raises InputError where it was not measured, or has no valid figure."""
    result = find_cell(cell_id).result
    if result is None:
        raise InputError(f"cell {cell_id} was not measured yet: dyno run measures it")
    return ReplayOrder(id="", home=str(open_home().root), cell=_measured(result), anyway=anyway)


def _measured(cell: CellResult) -> CellResult:
    if not list(stored_figures(cell.points)):
        why = cell.cause or next(iter(cell.reasons), "no trial of it is valid")
        raise InputError(f"cell {cell.cell_id} is {cell.state}, and has no figure to reproduce: {why}")
    if cell.load_plan is None:
        log.warning("cell %s does not say its seed, warm-up or time limit: those of today are used", cell.cell_id)
    return cell


def differences_of(order: ReplayOrder, provenance: Mapping[str, Any]) -> tuple[Difference, ...]:
    """What is not as it was when the cell was measured."""
    cell = order.cell
    methods = dict.fromkeys(point.summary.method_version for point in cell.points)
    changed = [
        Difference(what="method version", stored=one, now=METHOD_VERSION, is_another_system=True)
        for one in methods
        if one != METHOD_VERSION
    ]
    package = ADAPTERS[cell.variant.engine].release_package
    return (*changed, *differences(cell.provenance, provenance, package=package))


def refuse_another_system(order: ReplayOrder, provenance: Mapping[str, Any]) -> None:
    """Raises AnotherSystem unless the order says to replay anyway."""
    told = another_system(differences_of(order, provenance))
    if told and not order.anyway:
        raise AnotherSystem(
            f"cell {order.cell.cell_id} was measured on another system ({told}): whatever came out would say nothing "
            "of that one. --anyway measures all the same"
        )
    if told:
        log.warning("measured on another system: %s", told)


def run_replay(order: ReplayOrder) -> ReplayResult:
    """Runs the flow, on Prefect's API of this store. Raises AnotherSystem, at once where the machine tells, else when
    the server is ready; SetupError where the flow itself broke."""
    home = Home(Path(order.home)).make()
    refuse_another_system(order, {"machine": machine(), "gpus": gpu_facts()})
    with measuring_alone(home, log.info), prefect_api(home, log.info) as wait_until_ready:
        replay, named = open_replay(home.replays, order)
        wait_until_ready()
        from flows.replay_cell import replay_cell

        log.info("replay %s of %s", replay.id, order.cell.variant.label)
        state = replay_cell(named, return_state=True)
        result = replay.result()
        if result is None:
            broken = state.result(raise_on_failure=False)
            raise broken if isinstance(broken, DynoError) else SetupError(f"the replay did not end: {state.message}")
    return result
