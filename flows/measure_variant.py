"""One variant: download, quantize, build, launch, warm up, sweep, teardown, analyse, track. One flow for all."""

import logging
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from engine_adapters import ADAPTERS
from experiments.errors import DynoError, hidden_stop
from experiments.schema.base import content_id
from experiments.schema.cold_start import ColdStart
from experiments.schema.failure import FailureClass
from experiments.schema.load import ClosedLoop, StopRule
from experiments.schema.order import CellOrder, ExperimentOrder, VariantOrder
from experiments.schema.quality import QualityResult
from experiments.schema.result import CellResult, CellState, PointResult, WarmUpResult
from flows.diagnosis import measured_machine
from tasks.analyse import analyse
from tasks.analysis.model_shape import kept_config
from tasks.analysis.rounds import launches_of, open_round
from tasks.analysis.sweep import next_point
from tasks.artifacts.manifest import Artifact
from tasks.artifacts.model_files import read_config
from tasks.build import build, make_environment
from tasks.campaigns.campaign import Campaign
from tasks.campaigns.home import Home, stand_ins
from tasks.campaigns.ledger import Ledger
from tasks.cold_start import Before, before_start, cold_start, keep_starts, kept_starts, start_cold
from tasks.diagnose import diagnose
from tasks.download import download, download_dataset
from tasks.load_sweep import load_sweep, trial_seed
from tasks.loadgen.plan import Endpoint, TrialPlan
from tasks.loadgen.pool import Pool
from tasks.pull import pull
from tasks.quantize import quantize
from tasks.rejudge import held_against
from tasks.score import score_variant
from tasks.serve import Loadable, is_there_already, launched, runs_in_container, serve
from tasks.serving.environment import Environment
from tasks.serving.gpus import gpu_facts
from tasks.serving.images import EngineImage
from tasks.serving.provenance import software
from tasks.serving.server import Server
from tasks.stand_in import use_stand_ins
from tasks.teardown import teardown
from tasks.track import track
from tasks.warm_up import warm_up, warm_up_result

log = logging.getLogger("dyno.variant")

SPOILED = frozenset({FailureClass.TIMEOUT, FailureClass.WRONG_OUTPUT, FailureClass.OUT_OF_MEMORY, FailureClass.CRASHED})
"""After such a failure of one cell the next gets another launch, even where the server still runs."""


@flow(
    name="measure-variant", flow_run_name="{order.variant.engine_name} {order.variant.model.name}", persist_result=False
)
def measure_variant(run: ExperimentOrder, order: VariantOrder) -> State[Any]:
    """Every cell of the order ends with a result on disk; the state says how many failed."""
    log.info("%s", order.variant.label, extra={"heading": True})
    campaign = campaign_of(run)
    results = [track(result, run, campaign) for result in _measure(run, order, campaign)]
    failed = [result for result in results if result.state == CellState.FAILED]
    if failed:
        return Failed(message=f"{len(failed)} of {len(results)} cells failed: {failed[0].cause}")
    return Completed(message=f"{len(results)} cells measured")


def campaign_of(run: ExperimentOrder) -> Campaign:
    """Where the results of this run lie."""
    return Campaign(run.experiment, Home(Path(run.home)).campaigns / run.experiment / str(run.campaign))


def _measure(run: ExperimentOrder, order: VariantOrder, campaign: Campaign) -> list[CellResult]:
    """Launch after launch measures what its cells still lack; where a server dies, the cells after that get another."""
    results: dict[str, CellResult] = {}
    while pending := tuple(cell for cell in order.cells if not _is_whole(results.get(cell.cell_id))):
        ledger = Ledger(run, order.variant, campaign, campaign.next_launch(order.variant.id), str(flow_run.id or ""))
        here = measured_machine(Home(Path(run.home)))
        ledger.provenance = {"machine": here, "gpus": gpu_facts(), "software": software()}
        if not results:
            _begin_invalid_anew(ledger, pending)
        results |= {result.cell_id: result for result in _on_one_launch(ledger, pending)}
    return list(results.values())


def _is_whole(result: CellResult | None) -> bool:
    """Whether nothing of a cell is left to measure."""
    return result is not None and result.state is not CellState.INTERRUPTED


def _begin_invalid_anew(ledger: Ledger, cells: tuple[CellOrder, ...]) -> None:
    """Of a cell that is retried because no point of it is valid, nothing is kept; of any other what was measured is."""
    for cell in cells:
        result = ledger.campaign.result(cell.cell_id)
        if result is not None and result.state is CellState.INVALID:
            ledger.campaign.begin_anew(cell.cell_id, ledger.launch)


def _on_one_launch(ledger: Ledger, pending: tuple[CellOrder, ...]) -> list[CellResult]:
    """At least one result: those that were measured, and those that a failure cost. Each is saved when it is known."""
    results: list[CellResult] = []
    try:
        _launch(ledger, pending, results)
    except Exception as error:  # the outermost loop over launches: whatever fails becomes a result
        if hidden_stop(error):
            # Prefect's engine may fail for its own reasons while it handles a signal.
            _interrupted(ledger, pending[len(results) :])
            raise KeyboardInterrupt from error
        for cell in pending[len(results) :]:
            kept = ledger.campaign.kept_points(cell.cell_id)
            results.append(_saved(ledger, _failed(ledger, cell, error, kept)))
    except BaseException:
        _interrupted(ledger, pending[len(results) :])
        raise
    return results


def _failed(ledger: Ledger, cell: CellOrder, error: Exception, points: tuple[PointResult, ...] = ()) -> CellResult:
    log_file = ledger.campaign.server_log(ledger.variant.id, ledger.launch)
    result = ledger.failure(cell, error, points, **diagnose(error, ledger.variant, log_file))
    log.error("%s: %s at %s: %s", cell.workload.name, result.failure_class, result.stage, result.cause)
    return result


def _interrupted(ledger: Ledger, cells: tuple[CellOrder, ...]) -> None:
    for cell in cells:
        kept = ledger.campaign.kept_points(cell.cell_id)
        stopped = ledger.result(cell, CellState.INTERRUPTED, stage=ledger.stage, cause="it was stopped", points=kept)
        _saved(ledger, stopped)


def _saved(ledger: Ledger, result: CellResult) -> CellResult:
    """With how the servers of its launches started, whatever became of it."""
    launches = sorted({*launches_of(result.points), ledger.launch})
    result = result.model_copy(update={"cold_starts": kept_starts(ledger.campaign, ledger.variant, launches)})
    ledger.campaign.save(result)
    return result


def _launch(ledger: Ledger, pending: tuple[CellOrder, ...], results: list[CellResult]) -> None:
    """Adds the result of each cell as it is measured, and stops early where the server has ended. Raises what keeps
    the launch from measuring at all."""
    loadable, tokenizer = (None, None) if is_there_already(ledger.variant) else prepare_launch(ledger)
    log_file = ledger.campaign.server_log(ledger.variant.id, ledger.launch)
    home = Home(Path(ledger.run.home))
    ledger.stage = "launch"
    starts = _started_cold(ledger, loadable)
    before = before_start(ledger.variant, loadable, home) if loadable else None
    with serve(ledger.variant, loadable=loadable, log_file=log_file, leases=home.leases) as server:
        ledger.stages_s["launch"] = server.timings_s["first_token_s"]
        if before:
            starts.append(_start(ledger, before, server, log_file))
            keep_starts(ledger.campaign, ledger.variant, ledger.launch, starts)
        ledger.provenance |= launched(ledger.variant, server)
        with Pool() as pool:
            for cell in pending:
                results.append(_saved(ledger, _measure_cell(ledger, cell, server, tokenizer, pool)))
                if server.has_ended() or results[-1].failure_class in SPOILED:
                    break
        ledger.stage = "teardown"
    teardown(server)


def _started_cold(ledger: Ledger, loadable: Loadable | None) -> list[ColdStart]:
    """One start before the launch that is measured, where the experiment asks for cold ones."""
    plan = ledger.run.cold_start
    if plan is None or loadable is None:
        return []
    log_file, home = ledger.campaign.cold_log(ledger.variant.id, ledger.launch), Home(Path(ledger.run.home))
    stages_s, launch = ledger.stages_s, ledger.launch
    return [start_cold(ledger.variant, loadable, plan, home=home, log_file=log_file, launch=launch, stages_s=stages_s)]


def _start(ledger: Ledger, before: Before, server: Server, log_file: Path) -> ColdStart:
    return cold_start(ledger.variant, before, server, log_file=log_file, launch=ledger.launch, stages_s=ledger.stages_s)


def prepare_launch(ledger: Ledger) -> tuple[Loadable, Path]:
    """What the server is started from, and the folder of the model's own files."""
    home, variant = Home(Path(ledger.run.home)), ledger.variant
    with ledger.during("download"):
        model = download(variant.model, home.artifacts)
    runs_in = _runtime(ledger, home)
    with ledger.during("quantize"):
        environment = runs_in if isinstance(runs_in, Environment) and not variant.stand_in else None
        checkpoint = quantize(variant, model, home.artifacts, environment, home.environments)
    with ledger.during("build"):
        built = build(
            variant,
            checkpoint=checkpoint,
            model=model,
            runs_in=runs_in,
            home=home,
            log_file=ledger.campaign.build_log(variant.id, ledger.launch),
        )
    ledger.provenance |= {
        "runtime": runs_in.facts(),
        "packages": {name: version for name, version, *_ in runs_in.packages},
        "model": _weights(model),
        "checkpoint": {"key": checkpoint.key, "bytes": checkpoint.bytes, **checkpoint.facts},
        **({"build": dict(built.facts)} if built.facts else {}),
    }
    return Loadable(runs_in, built.path), model.path


def _weights(model: Artifact) -> dict[str, object]:
    """Which weights: the hub's commit where they are from there, and a hash of all their files anywhere."""
    commit = model.manifest.made_from.get("commit")
    named = {"revision": commit} if commit else {}
    hashed = {"bytes": model.bytes, "sha256": model.manifest.content_sha256}
    return {"key": model.key, **hashed, **named, "config": kept_config(read_config(model.path) or {})}


def _runtime(ledger: Ledger, home: Home) -> Environment | EngineImage:
    """In a container there is nothing to install, and of a stand-in neither."""
    if ledger.variant.stand_in:
        folder = stand_ins()
        assert folder is not None, "a variant is a stand-in only where DYNO_STAND_INS names them"
        return use_stand_ins(ledger.variant, folder)
    if runs_in_container(ledger.variant):
        with ledger.during("pull"):
            return pull(ledger.variant)
    with ledger.during("environment"):
        return make_environment(ledger.variant, home.environments)


def _measure_cell(launch: Ledger, cell: CellOrder, server: Server, tokenizer: Path | None, pool: Pool) -> CellResult:
    """What the cell still lacks, as far as one launch goes; what fails on the way is the cell's result, with the points
    until then. Interrupted where further launches are due."""
    run, ledger = launch.run, launch.page()
    before = kept_points(ledger, cell)
    points = list(before)
    try:
        with ledger.during("download"):
            dataset = download_dataset(cell.workload.prompts, Home(Path(run.home)).artifacts)
        plan = trial_plan(ledger, cell, server, tokenizer, dataset)
        unfinished = open_round(run.load_plan, before, run.slos)
        if unfinished is not None:
            _measure_round(ledger, cell, plan, unfinished, points, server, pool)
    except DynoError as error:
        return _failed(ledger, cell, server.explain(error), tuple(points))
    ledger.stage = "analyse"
    done = launches_of(points)
    # A launch that found nothing to add, such as a search without budget for one look, leaves nothing to another.
    if len(points) > len(before) and open_round(run.load_plan, points, run.slos) is not None:
        cause = f"{len(done)} launches are measured, and more are asked for"
        return ledger.result(cell, CellState.INTERRUPTED, stage="load sweep", cause=cause, points=tuple(points))
    found = ledger.result(
        cell,
        CellState.MEASURED,
        points=tuple(points),
        warm_ups=_warm_ups(ledger, cell, done),
        quality=_quality(ledger, server, tokenizer),
    )
    return analyse(found, run.slos, run.load_plan)


def _quality(ledger: Ledger, server: Server, tokenizer: Path | None) -> QualityResult | None:
    """After the sweep, so that no request of it meets what scoring left in a cache."""
    if ledger.run.quality is None:
        return None
    with ledger.during("quality"):
        return score_variant(ledger.run.quality, ledger.variant, server, tokenizer, ledger.campaign, ledger.launch)


def kept_points(ledger: Ledger, cell: CellOrder) -> tuple[PointResult, ...]:
    """What earlier launches measured of a cell, held against the SLOs of now."""
    kept = ledger.campaign.kept_points(cell.cell_id)
    if kept:
        log.info("%s: %d load points are kept from before", cell.workload.name, len(kept))
    return tuple(held_against(ledger.campaign, cell.cell_id, point, ledger.run.slos) for point in kept)


def _measure_round(
    ledger: Ledger,
    cell: CellOrder,
    plan: TrialPlan,
    unfinished: tuple[int, list[PointResult]],
    points: list[PointResult],
    server: Server,
    pool: Pool,
) -> None:
    """Warms up and adds to `points` what the round lacks; each is on disk before the next one begins."""
    run, (number, done) = ledger.run, unfinished
    folder = ledger.campaign.launch_folder(cell.cell_id, ledger.launch)
    with ledger.during("warm up"):
        preflight, rps = warm_up(plan, folder, pool, run.load_plan.warm_up, server.check_alive)
    with ledger.during("load sweep"):
        while True:
            point = next_point(run.load_plan, done, slos=run.slos, warm_up_rps=rps, launch=ledger.launch)
            if point is None:
                return
            measured = load_sweep(point, plan, preflight, folder, run.slos, server, pool)
            done.append(measured.model_copy(update={"launch": ledger.launch, "round": number}))
            ledger.campaign.keep_point(cell.cell_id, done[-1])
            points.append(done[-1])


def _warm_ups(ledger: Ledger, cell: CellOrder, launches: tuple[int, ...]) -> tuple[WarmUpResult, ...]:
    folders = {launch: ledger.campaign.launch_folder(cell.cell_id, launch) for launch in launches}
    found = (warm_up_result(folder, launch) for launch, folder in folders.items())
    return tuple(result for result in found if result is not None)


def trial_plan(
    ledger: Ledger, cell: CellOrder, server: Server, tokenizer: Path | None, dataset: Path | None
) -> TrialPlan:
    """What all trials of a cell on one launch share; load and stop rule are each point's own."""
    adapter = ADAPTERS[ledger.variant.engine]
    seed = int(content_id(ledger.run.seed, cell.cell_id, ledger.run.campaign)[:8], 16)
    return TrialPlan(
        endpoint=Endpoint(server.url, server.model, server.api_key_env),
        dialect=adapter.request_dialect(ledger.variant),
        workload=cell.workload,
        load=ClosedLoop(concurrency=1),
        stop=StopRule(requests=1),
        seed=trial_seed(seed, ledger.launch),
        timeout_s=ledger.run.load_plan.request_timeout_s,
        tokenizer=tokenizer,
        dataset=dataset,
        metric_names=adapter.metric_names,
        metrics_path=adapter.launch_spec(ledger.variant).metrics_path,
        metrics_dialect=adapter.metrics_dialect,
        gpus=server.gpus,
    )
