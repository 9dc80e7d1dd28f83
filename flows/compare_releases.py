"""Two releases of an engine, or two settings, on interleaved launches: pilot, rounds, looks, verdict."""

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from engine_adapters import ADAPTERS
from experiments.schema.comparison import Arm, ChangeVerdict, ComparisonOrder, ComparisonResult, LaunchResult, System
from experiments.schema.load import LoadPoint
from experiments.schema.order import ExperimentOrder
from flows.measure_launch import Next, measure_launch
from tasks.analysis.comparison import Look
from tasks.analysis.comparison_loads import comparison_points, next_compared_point, next_pilot_point
from tasks.analysis.release_verdict import Docket, arms_of, broken_systems
from tasks.campaigns.campaign import Campaign
from tasks.campaigns.comparison import Comparison, past_canaries, remember_canary
from tasks.campaigns.home import Home
from tasks.campaigns.ledger import Ledger, now
from tasks.patience import shown
from tasks.publish_comparison import publish_comparison
from tasks.reporting.comparison_report import markdown_report
from tasks.serve import is_there_already
from tasks.show_results import Progress

log = logging.getLogger("dyno.compare")

PILOT, SECOND_PILOT = -1, -2

Told = Callable[[int, int], None]
"""Is told of the launches that a look needs how many there are, and how many in all."""


@flow(
    name="compare-releases",
    flow_run_name="{order.engine} {order.from_version} to {order.to_version} on {order.experiment}",
    persist_result=False,
)
def compare_releases(order: ComparisonOrder, comparison_id: str) -> State[Any]:
    """Goes on where an earlier run of this comparison was stopped. The state is failed where the comparison is void,
    which says nothing of the release; the verdict lies in comparison.json, MLflow and an artifact of this run."""
    home = Home(Path(order.home))
    progress = Progress()

    def told(made: int, whole: int) -> None:
        progress.tell(100 * made / whole, f"{made} of {whole} launches of this look")

    result = _compare(order, Comparison(home.comparisons / comparison_id), home, told)
    shown(lambda: create_markdown_artifact(key="comparison", markdown=markdown_report(result), description=result.id))
    message = f"{result.verdict}: {result.reason}"
    return Failed(message=message) if result.verdict is ChangeVerdict.VOID else Completed(message=message)


def _compare(
    order: ComparisonOrder, comparison: Comparison, home: Home, told: Told = lambda _made, _whole: None
) -> ComparisonResult:
    started_at, deadline = now(), time.monotonic() + (order.budget_s or float("inf"))
    hardware = order.systems[0].baseline.hardware
    docket = Docket(order, past_canaries(home.canaries, hardware, but=comparison.id))
    launches = comparison.launches()
    started_at = launches[0].started_at if launches else started_at
    for look in docket.looks:
        _launch_for(look, docket, comparison, launches, deadline, told)
        docket.take(look, launches)
        comparison.save_result(docket.result(launches, name=comparison.id, started_at=started_at, ended_at=""))
        if not docket.open_systems(launches) or time.monotonic() > deadline:
            break
    remember_canary(
        home.canaries, hardware, comparison.id, docket.canary_ratios(launches), launches=docket.looks[0].launches
    )
    judged = docket.result(launches, name=comparison.id, started_at=started_at, ended_at=now())
    result = publish_comparison(judged, order, comparison, home)
    comparison.save_result(result)
    return result


def _launch_for(
    look: Look,
    docket: Docket,
    comparison: Comparison,
    launches: list[LaunchResult],
    deadline: float,
    told: Told,
) -> None:
    """Adds every launch that the look needs and that is not there yet, system by system."""
    is_open = docket.open_systems(launches) if docket.judgements else {one.name for one in docket.order.systems}
    systems = [one for one in docket.order.systems if one.name in is_open]
    whole = sum(len(list(_slots(docket, look, one))) - 1 for one in systems)  # the second pilot is rarely needed
    for system in systems:
        for round_, arm in _slots(docket, look, system):
            if time.monotonic() > deadline or system.name in broken_systems(launches):
                break
            if not any((one.system, one.round, one.arm) == (system.name, round_, arm) for one in launches):
                _make(docket.order, comparison, launches, system, round_, arm)
                made = sum(one.system in is_open for one in launches)
                told(min(made, whole), whole)


def _slots(docket: Docket, look: Look, system: System) -> Iterator[tuple[int, Arm]]:
    """In the order of launching; the canary has as many as the first look. The second pilot is for where the first
    failed."""
    yield PILOT, "pilot"
    yield SECOND_PILOT, "pilot"
    for round_ in range(look.launches):
        has_canary = docket.order.canary and system.has_canary and round_ < docket.looks[0].launches
        yield from ((round_, arm) for arm in arms_of(round_, canary=has_canary))


def _make(
    order: ComparisonOrder,
    comparison: Comparison,
    launches: list[LaunchResult],
    system: System,
    round_: int,
    arm: Arm,
) -> None:
    """Measures one launch, and keeps it on disk before it counts."""
    pilots = [one for one in launches if one.system == system.name and one.arm == "pilot"]
    pilot = next((one for one in pilots if not one.cause), None)
    if (arm == "pilot") == (pilot is not None):
        return  # one pilot is enough, and without the baseline's rates there is nothing to compare at
    number = 1 + max((one.number for one in launches), default=0)
    variant = system.candidate if arm == "candidate" else system.baseline
    gpus = ADAPTERS[variant.engine].launch_spec(variant).gpus
    whose = LaunchResult(
        number=number, round=round_, arm=arm, system=system.name, variant=variant, gpus=gpus, started_at=now()
    )
    log.info("launch %d: %s, round %d: %s %s", number, arm, round_ + 1, variant.engine, variant.engine_version)
    folder = comparison.open_launch(number)
    ledger = _ledger(order, comparison, whose)
    done = measure_launch(ledger, system.cells, whose, folder=folder, next_point=_plan(order, pilot))
    comparison.save_launch(done)
    launches.append(done)


def _ledger(order: ComparisonOrder, comparison: Comparison, whose: LaunchResult) -> Ledger:
    """Rounds stand for launches in the seed of prompts and arrivals: both sides of a round get the same. A server that
    was there before may remember what it was asked: it never gets a prompt twice."""
    seed_number = whose.number if is_there_already(whose.variant) else whose.round + 2
    run = ExperimentOrder(
        experiment=order.experiment,
        campaign=1,
        home=order.home,
        variants=(),
        load_plan=order.load_plan,
        slos=order.slos,
        seed=order.seed,
    )
    campaign = Campaign(order.experiment, comparison.folder)
    return Ledger(run, whose.variant, campaign, seed_number, str(flow_run.id or ""))


def _plan(order: ComparisonOrder, pilot: LaunchResult | None) -> Next:
    """The pilot looks for the ceiling; every other launch measures what follows from it."""
    if pilot is None:
        return lambda _workload, done, rps: next_pilot_point(order.load_plan, done, rps)
    fixed: dict[str, tuple[LoadPoint, ...]] = {
        workload: comparison_points(order.load_plan, points) for workload, points in pilot.points.items()
    }
    return lambda workload, done, _rps: next_compared_point(order.load_plan, fixed.get(workload, ()), done, order.slos)
