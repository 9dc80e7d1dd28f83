"""A profiler's trace of a few requests, on a launch of its own: it is never measured, since tracing costs time."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from engine_adapters import ADAPTERS
from engine_adapters.base import LaunchSpec, Profiler
from experiments.errors import InputError, PublishError
from experiments.schema.load import ClosedLoop, StopRule
from experiments.schema.result import CellResult
from experiments.schema.variant import Variant
from experiments.schema.workload import Workload
from tasks.build import build, make_environment
from tasks.campaigns.home import Home
from tasks.download import download, download_dataset
from tasks.loadgen.plan import Endpoint, TrialPlan
from tasks.loadgen.preflight import run_preflight
from tasks.loadgen.trial import run_trial
from tasks.pull import pull
from tasks.quantize import quantize
from tasks.serve import Loadable, runs_in_container, serve
from tasks.serving.environment import Environment
from tasks.serving.profiling import Trace, profiling, traces_in, with_profiler
from tasks.serving.server import Server
from tasks.track import tracking_store

log = logging.getLogger("dyno.profile")


@dataclass(frozen=True, slots=True)
class Profiled:
    """Where the traces lie, and each of them."""

    folder: Path
    traces: tuple[Trace, ...]


def profiler_of(variant: Variant) -> Profiler:
    """Raises InputError where the engine has none that can be told to start."""
    profiler = ADAPTERS[variant.engine].profiler
    if profiler is None:
        have = ", ".join(adapter.name for adapter in ADAPTERS.values() if adapter.profiler is not None)
        raise InputError(
            f"{ADAPTERS[variant.engine].title} has no profiler that dyno can start; engines that have one: {have}"
        )
    return profiler


def profile(variant: Variant, workload: Workload, folder: Path, home: Home, *, requests: int) -> Profiled:
    """`folder` is new; it receives server.log, requests.parquet and traces/. What failed leaves its log."""
    profiler = profiler_of(variant)
    traces = folder / "traces"
    traces.mkdir(parents=True)
    loadable, tokenizer = _prepared(variant, home, folder / "build.log")

    def adapted(spec: LaunchSpec) -> LaunchSpec:
        return with_profiler(spec, profiler, traces)

    log.info("starting %s with its profiler", ADAPTERS[variant.engine].title)
    with serve(
        variant, loadable=loadable, log_file=folder / "server.log", leases=home.leases, adapted=adapted
    ) as server:
        plan = _plan(variant, workload, server, tokenizer, home, requests)
        preflight = run_preflight(plan)
        with profiling(server.url, profiler, traces):
            log.info("tracing %d requests, one after the other", requests)
            run_trial(plan, preflight, out_dir=folder)
            log.info("the server writes its trace")
    found = tuple(traces_in(traces))
    log.info("%d traces, %d events", len(found), sum(trace.events for trace in found))
    return Profiled(folder, found)


def _prepared(variant: Variant, home: Home, log_file: Path) -> tuple[Loadable, Path]:
    model = download.fn(variant.model, home.artifacts)
    runs_in = pull.fn(variant) if runs_in_container(variant) else make_environment.fn(variant, home.environments)
    environment = runs_in if isinstance(runs_in, Environment) else None
    checkpoint = quantize.fn(variant, model, home.artifacts, environment, home.environments)
    built = build.fn(variant, checkpoint=checkpoint, model=model, runs_in=runs_in, home=home, log_file=log_file)
    return Loadable(runs_in, built.path), model.path


def _plan(
    variant: Variant, workload: Workload, server: Server, tokenizer: Path, home: Home, requests: int
) -> TrialPlan:
    return TrialPlan(
        endpoint=Endpoint(server.url, server.model, server.api_key_env),
        dialect=ADAPTERS[variant.engine].request_dialect(variant),
        workload=workload,
        load=ClosedLoop(concurrency=1),
        stop=StopRule(requests=requests),
        tokenizer=tokenizer,
        dataset=download_dataset.fn(workload.prompts, home.artifacts),
        processes=1,
    )


def publish_profile(profiled: Profiled, result: CellResult | None, home: Home) -> str:
    """The cell's run in MLflow, which has the traces now; "" where the cell has none, or MLflow is out of reach."""
    run_id = result.mlflow_run_id if result else ""
    if not run_id:
        return ""
    try:
        tracking_store(home).add_files(run_id, {f"profiles/{profiled.folder.name}": profiled.folder / "traces"})
    except PublishError as error:
        log.warning("%s", error)
        return ""
    return run_id


def new_folder(cell_folder: Path) -> Path:
    """profile-N, the next number; one that failed before it had a trace gives its number away."""
    number = 1
    while (folder := cell_folder / f"profile-{number}").exists():
        if not any((folder / "traces").glob("*")):
            shutil.rmtree(folder)
            break
        number += 1
    return folder
