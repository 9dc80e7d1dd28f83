"""A new release of an engine: compared with the last one that was measured, on the experiments that name the engine."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

from packaging.version import InvalidVersion, Version
from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from experiments.errors import DynoError, InputError, PublishError
from experiments.schema.comparison import ChangeVerdict, ComparisonResult
from experiments.schema.experiment import Experiment
from experiments.schema.requests import ReleaseRequest
from flows.announcing import announce_verdict
from flows.comparing import comparison_order, looks_from, run_comparison
from flows.fleet import fleet_experiments, minded_by_fleet
from flows.hosts import alone_on_host
from flows.measure_on_worker import tell_mlflow
from tasks.campaigns.campaign import all_results
from tasks.campaigns.comparison import Comparison, all_comparisons
from tasks.campaigns.home import Home, open_home
from tasks.find_releases import release_before
from tasks.patience import patiently
from tasks.releases.settings import pip_settings
from tasks.serving.lease import reap
from tasks.serving.parent_death import end_with_worker
from tasks.show_results import link_mlflow
from tasks.track import tracking_store

log = logging.getLogger("dyno.release")


def release_run_name() -> str:
    """The engine and its new release."""
    request = flow_run.parameters.get("request") or {}
    asked = request if isinstance(request, dict) else request.model_dump()
    return f"{asked.get('engine', '?')} {asked.get('version', '?')} against the last one measured"


@flow(name="engine-release", flow_run_name=release_run_name, persist_result=False)
def engine_release(request: ReleaseRequest) -> State[Any]:
    """Compares on every experiment that names the engine; the state is failed where nothing could be said.

    Args:
        request: the release, and what it is compared on
    """
    end_with_worker()
    home = open_home().make()
    for what in reap(home.leases):
        log.warning("ended %s, which a run that was killed had left", what)
    naming = [one for one in fleet_experiments(request.experiments) if request.engine in _engines(one)]
    if not naming:
        return Completed(message=f"none of the experiments names {request.engine}: nothing is compared")
    verdicts, problems = [], []
    with minded_by_fleet():
        for experiment in naming:
            try:
                verdicts.append(f"{experiment.name}: {_compared(experiment, request, home)}")
            except DynoError as error:
                log.error("%s: %s", experiment.name, error.message)
                problems.append(f"{experiment.name}: {error.message}")
    message = "; ".join(verdicts + problems)
    return Failed(message=message) if problems else Completed(message=message)


def _engines(experiment: Experiment) -> set[str]:
    return {cell.variant.engine for cell in experiment.cells() if not cell.excluded}


def _compared(experiment: Experiment, request: ReleaseRequest, home: Home) -> str:
    """The verdict; that of an earlier run of this very comparison, on any host, where there is one: a release is judged
    once. It is announced in any case: who judged may have died before, and the server takes an event once."""
    baseline = baseline_version(_measured(experiment, request.engine, home), request, _one_before)
    result = _known(home, experiment, request, baseline) or _judged(experiment, request, baseline, home)
    _show(result, home)
    patiently(lambda: announce_verdict(result))
    if result.verdict is ChangeVerdict.VOID:
        raise DynoError(f"the comparison is void: {result.reason}")
    return f"{result.verdict.value} ({baseline} to {request.version})"


def _judged(experiment: Experiment, request: ReleaseRequest, baseline: str, home: Home) -> ComparisonResult:
    """Compared now, alone on this host, and told to MLflow: also of what could not be told when it was known."""
    order = comparison_order(
        experiment,
        engine=request.engine,
        baseline={"engine_version": baseline},
        candidate={"engine_version": request.version},
        looks=looks_from(request.launches, escalate=True),
        margin=request.margin,
        canary=request.canary,
        budget_s=60 * request.budget_minutes if request.budget_minutes is not None else None,
        home=home.root,
    )
    with alone_on_host(order.systems[0].baseline):
        result = run_comparison(order)
    if result.mlflow_run_id:
        return result
    tell_mlflow(home, {})
    return Comparison(home.comparisons / result.id).result() or result


def baseline_version(measured: Iterable[str], request: ReleaseRequest, one_before: Callable[[str, str], str]) -> str:
    """The newest release before the new one of which something was measured, else the one before it: that of the
    request, or the one that `one_before` (engine, version) knows. Raises InputError where there is none."""
    older = [version for version in measured if _is_older(version, request.version)]
    found = max(older, key=Version, default="") or request.previous or one_before(request.engine, request.version)
    if not found:
        raise InputError(f"{request.engine}: no release before {request.version} was measured, and none is known")
    return found


def _one_before(engine: str, version: str) -> str:
    try:
        return release_before(engine, version, pip_settings())
    except DynoError as error:
        log.warning("%s", error)
        return ""


def _is_older(version: str, than: str) -> bool:
    try:
        return Version(version) < Version(than)
    except InvalidVersion:
        return False


def _measured(experiment: Experiment, engine: str, home: Home) -> set[str]:
    """On any host where MLflow can be reached, in this store in any case."""
    here = {
        one.variant.engine_version
        for one in all_results(home.campaigns)
        if one.experiment == experiment.name and one.variant.engine == engine and one.state == "measured"
    }
    try:
        return here | tracking_store(home).measured_versions(experiment.name, engine)
    except PublishError as error:
        log.warning("%s", error)
        return here


def _known(home: Home, experiment: Experiment, request: ReleaseRequest, baseline: str) -> ComparisonResult | None:
    """In MLflow, else in this store, whose last comparison may not have reached it."""
    try:
        told = tracking_store(home).known_comparison(
            experiment.name, engine=request.engine, from_version=baseline, to_version=request.version
        )
        if told is not None:
            return told
    except PublishError as error:
        log.warning("%s", error)
    wanted = (experiment.name, request.engine, baseline, request.version)
    for one in reversed(all_comparisons(home.comparisons)):
        found = (one.experiment, one.engine, one.from_version, one.to_version)
        if found == wanted and one.ended_at and one.verdict is not ChangeVerdict.VOID:
            return one
    return None


def _show(result: ComparisonResult, home: Home) -> None:
    if result.mlflow_run_id:
        try:
            link_mlflow(home, result.mlflow_run_id, key="mlflow-comparison")
        except PublishError as error:
            log.warning("%s", error)
    log.info("%s: %s: %s", result.id, result.verdict.value, result.reason)
