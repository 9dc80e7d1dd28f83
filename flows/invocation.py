"""What `dyno run` and `dyno retry` do around the flow: the plan, Prefect's server, what is kept, the report."""

import logging
import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from experiments.errors import EXIT_MEASUREMENT, EXIT_OK, EXIT_SETUP, SETUP_STAGES, InputError, PublishError
from experiments.schema.experiment import Experiment
from experiments.schema.order import CellOrder, ExperimentOrder, VariantOrder
from experiments.schema.result import CellResult, CellState
from flows.diagnosis import know_bandwidth
from flows.local_api import prefect_api, quiet_environment
from tasks.campaigns.campaign import Campaign, Retry, open_campaign
from tasks.campaigns.home import Home, measuring_alone, open_home
from tasks.campaigns.planning import PlannedCell, estimate, plan_cells
from tasks.campaigns.slots import pool_campaign
from tasks.quality.material import read_material

log = logging.getLogger("dyno.plan")

Printer = Callable[[dict[str, Any], object], None]
POOL_ATTEMPTS = 3
"""Runs of a variant on the workers of a pool, where its worker dies."""


def invoke(experiment: Experiment, *, force: bool, retry: Retry, print_result: Printer) -> int:
    """Measures what is due, and shows everything that the experiment asks for; returns the exit code."""
    home = open_home().make()
    _check_material(experiment)
    campaign, planned = _plan(experiment, home, force=force, retry=retry)
    _judge_kept_again(experiment, campaign, planned)
    if retry:
        _say_what_is_left(planned)
    if _due(planned):
        with measuring_alone(home, log.info):
            # Another dyno may have measured, while this one waited, what is due here.
            campaign, planned = _plan(experiment, home, force=force, retry=retry)
            order = _order(experiment, home, campaign, planned)
            if order.variants:
                _announce(planned, experiment)
                know_bandwidth(home)
                return _measure_and_conclude(order, campaign, planned, print_result)
    quiet_environment(home)
    return _conclude(_order(experiment, home, campaign, planned), campaign, planned, print_result)


def _check_material(experiment: Experiment) -> None:
    """A file of `quality` that cannot be read is said before anything is launched. Raises InputError."""
    if experiment.quality is not None:
        read_material(experiment.quality)


def invoke_in_pool(experiment: Experiment, pool: str, *, force: bool, retry: Retry, print_result: Printer) -> int:
    """The same on the workers of a Prefect work pool, wherever those are; what they measured arrives through MLflow."""
    if not os.environ.get("PREFECT_API_URL"):
        raise InputError("--pool: its workers meet at a Prefect server: set PREFECT_API_URL to that server's /api")
    home = open_home().make()
    _check_material(experiment)
    campaign = pool_campaign(home.campaigns, experiment.name, now=datetime.now(UTC), new=force)
    planned = plan_cells(experiment, campaign, retry=retry)
    _judge_kept_again(experiment, campaign, planned)
    if retry:
        _say_what_is_left(planned)
    quiet_environment(home)
    with prefect_api(home, log.info):
        return measure_in_pool(experiment, campaign, planned, pool, attempts=POOL_ATTEMPTS, print_result=print_result)


def measure_in_pool(
    experiment: Experiment,
    campaign: Campaign,
    planned: list[PlannedCell],
    pool: str,
    *,
    attempts: int,
    print_result: Printer = lambda _body, _table: None,
    only: Collection[str] | None = None,
) -> int:
    """Measures what is due on a pool's workers, of `only` those cells where given; the exit code. Prefect's API is
    there, and so may be a flow that this is part of."""
    from flows.fan_out import check_pool

    home = open_home().make()
    if only is not None:
        planned = [_left(cell) if cell.state == "to measure" and cell.cell.id not in only else cell for cell in planned]
    order = _order(experiment, home, campaign, planned)
    whole = True
    if order.variants:
        check_pool(pool, order.variants)
        campaign.folder.mkdir(
            parents=True, exist_ok=True
        )  # the same command finds it again, whatever becomes of this one
        _announce(planned, experiment)
        order = _opened(order, home, campaign)
        try:
            whole = _run_flow(order, pool, attempts)
        except BaseException:
            _close_stopped(order, home, campaign, planned)
            log.warning("its runs in the pool %s go on: the same command gathers what they measure", pool)
            raise
    return _conclude(order, campaign, planned, print_result) or (EXIT_OK if whole else EXIT_SETUP)


def _left(cell: PlannedCell) -> PlannedCell:
    return replace(cell, state="not measured", reason="it is not due yet")


def _judge_kept_again(experiment: Experiment, campaign: Campaign, planned: Iterable[PlannedCell]) -> None:
    """Cells that are kept keep their records, and not the verdicts on other SLOs than the experiment's."""
    from tasks.rejudge import rejudge

    kept = [cell.cell.id for cell in planned if cell.state in ("measured", "invalid", "failed")]
    rejudge(campaign, kept, experiment.slos, experiment.load_plan)


def _plan(experiment: Experiment, home: Home, *, force: bool, retry: Retry) -> tuple[Campaign, list[PlannedCell]]:
    campaign = open_campaign(home.campaigns, experiment.name, new=force)
    return campaign, plan_cells(experiment, campaign, retry=retry)


def _due(planned: Iterable[PlannedCell]) -> list[PlannedCell]:
    return [cell for cell in planned if cell.state == "to measure"]


def _announce(planned: list[PlannedCell], experiment: Experiment) -> None:
    takes = estimate(planned, experiment.load_plan)
    rest = len(planned) - takes.cells
    log.info("%d cells to measure, about %.0f min; %d others", takes.cells, max(1, takes.seconds / 60), rest)


def _say_what_is_left(planned: Iterable[PlannedCell]) -> None:
    """The failed cells that are not due: another launch would fail for the same reason."""
    for cell in planned:
        if cell.state == "failed":
            about = f"{cell.cell.variant.label} on {cell.cell.workload.name}"
            named = f"{cell.failure_class} at {cell.stage}: {cell.reason}"
            log.warning("left: %s: %s. Change what causes it, or give --all", about, named)


def _order(experiment: Experiment, home: Home, campaign: Campaign, planned: list[PlannedCell]) -> ExperimentOrder:
    """What is due, by variant: one launch of a server measures all the workloads of its variant."""
    by_variant: dict[str, list[PlannedCell]] = {}
    for cell in _due(planned):
        by_variant.setdefault(cell.cell.variant.id, []).append(cell)
    variants = tuple(
        VariantOrder(
            variant=cells[0].cell.variant,
            cells=tuple(CellOrder(cell_id=c.cell.id, workload=c.cell.workload) for c in cells),
        )
        for cells in by_variant.values()
    )
    return ExperimentOrder(
        experiment=experiment.name,
        description=experiment.description,
        campaign=int(campaign.folder.name),
        home=str(home.root),
        variants=variants,
        kept=tuple(p.cell.id for p in planned if p.state in ("measured", "stand_in", "invalid", "failed")),
        load_plan=experiment.load_plan,
        slos=experiment.slos,
        quality=experiment.quality,
        cold_start=experiment.cold_start,
        seed=experiment.seed,
    )


def _measure_and_conclude(
    order: ExperimentOrder, campaign: Campaign, planned: list[PlannedCell], print_result: Printer
) -> int:
    home = open_home()
    with prefect_api(home, log.info) as wait_until_ready:
        from flows.prepare import prepare

        prepare(order)
        wait_until_ready()
        order = _opened(order, home, campaign)
        try:
            _run_flow(order)
        except BaseException:
            _close_stopped(order, home, campaign, planned)
            raise
    return _conclude(order, campaign, planned, print_result)


def _run_flow(order: ExperimentOrder, pool: str = "", attempts: int = POOL_ATTEMPTS) -> bool:
    """Whether the flow says that everything went well."""
    from prefect import tags
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows.fleet import HEARTBEAT_S, TAG
    from flows.run_experiment import run_experiment
    from flows.run_in_pool import run_in_pool

    # In a fleet an automation waits for heartbeats. The thread that sends them is joined at the end of each flow run,
    # in steps of a second: a run of one machine does without.
    heartbeat_s = HEARTBEAT_S if pool else None
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: heartbeat_s}):
        if pool:
            with tags(TAG):
                state = run_in_pool(order, pool, attempts, return_state=True)
        else:
            state = run_experiment(order, return_state=True)
    if pool and not state.is_completed():
        log.error("%s", state.message)
    return bool(state.is_completed())


def _opened(order: ExperimentOrder, home: Home, campaign: Campaign) -> ExperimentOrder:
    """With a parent run in MLflow; where that cannot be, measuring goes on, and the results stay on disk."""
    from tasks.publish import open_invocation

    try:
        return order.model_copy(update={"invocation_run_id": open_invocation(order, home, campaign)})
    except PublishError as error:
        log.warning("%s", error)
        return order


def _close_stopped(order: ExperimentOrder, home: Home, campaign: Campaign, planned: list[PlannedCell]) -> None:
    from tasks.publish import close_invocation

    log.warning("stopping: what was measured is kept")
    try:
        close_invocation(order, home, _results(campaign, planned), status="KILLED")
    except PublishError as error:
        log.warning("%s", error)


def _results(campaign: Campaign, planned: Iterable[PlannedCell]) -> list[CellResult]:
    return [result for cell in planned if (result := campaign.result(cell.cell.id)) is not None]


def _conclude(order: ExperimentOrder, campaign: Campaign, planned: list[PlannedCell], print_result: Printer) -> int:
    """The report, MLflow's parent run, the table, the exit code."""
    from tasks.publish import publish
    from tasks.reporting.tables import result_rows, result_table

    home = open_home()
    if not order.variants:
        log.info("nothing to measure: %d cells are kept from before; --force measures again", len(order.kept))
    is_published = publish(order, home, campaign, _results(campaign, planned))
    results = _results(campaign, planned)
    body = {
        "experiment": order.experiment,
        "campaign": campaign.name,
        "cells": result_rows(results),
        "not_measured": [p.row() for p in planned if p.state in ("excluded", "unsupported")],
        "where": _where(home, campaign),
    }
    print_result(body, result_table(results))
    return max(exit_code(results), EXIT_OK if is_published else EXIT_SETUP)


def _where(home: Home, campaign: Campaign) -> dict[str, str]:
    return {
        "report": _as_typed(campaign.folder / "report.html"),
        "records": _as_typed(campaign.folder),
        "MLflow": "dyno ui" if home.tracking_uri.startswith("sqlite") else home.shown_tracking_uri,
    }


def _as_typed(path: Path) -> str:
    """From the current folder where it lies below, as a person would type it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def exit_code(results: Iterable[CellResult]) -> int:
    """3 where setting up failed, 4 where measuring did."""
    failed = [result for result in results if result.state in (CellState.FAILED, CellState.INTERRUPTED)]
    codes = [EXIT_SETUP if result.stage in SETUP_STAGES else EXIT_MEASUREMENT for result in failed]
    return max(codes, default=EXIT_OK)
