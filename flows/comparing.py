"""A comparison before its flow: what of an experiment is compared, and the flow run on this machine."""

import logging
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from experiments.errors import EXIT_MEASUREMENT, EXIT_OK, EXIT_SETUP, SETUP_STAGES, InputError, SetupError
from experiments.schema.base import content_id
from experiments.schema.comparison import ChangeVerdict, ComparisonOrder, ComparisonResult, System
from experiments.schema.experiment import Experiment
from experiments.schema.order import CellOrder
from experiments.schema.variant import Variant
from experiments.schema.workload import Workload
from flows.local_api import prefect_api
from tasks.campaigns.comparison import open_comparison
from tasks.campaigns.home import Home, measuring_alone
from tasks.campaigns.planning import refusal

log = logging.getLogger("dyno.compare")


def settings_of(texts: list[str], option: str) -> dict[str, Any]:
    """`max_num_seqs=1` as fields of a variant; the value is YAML. Raises InputError."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in Variant.model_fields:
            known = ", ".join(sorted(set(Variant.model_fields) - {"engine", "model"}))
            raise InputError(f"{option} {text}: write FIELD=VALUE, with one of {known}")
        found[name] = yaml.safe_load(value)
    return found


def engine_of(engine: str | None, *urls: str | None) -> str:
    """A server that is there already is an `endpoint`, unless the person says otherwise."""
    if engine is None and not any(urls):
        raise InputError("give --engine, or --from-url and --to-url for servers that are there already")
    return engine or "endpoint"


def url_of(url: str | None) -> dict[str, Any]:
    """As fields of a variant."""
    return {"endpoint_url": url} if url else {}


def looks_from(launches: int, *, escalate: bool) -> tuple[int, ...]:
    """Launches a side: at the first look, then half as many again, twice."""
    return (launches, launches * 3 // 2, launches * 2) if escalate else (launches,)


def comparison_order(
    experiment: Experiment,
    *,
    engine: str,
    baseline: dict[str, Any],
    candidate: dict[str, Any],
    looks: tuple[int, ...],
    margin: float,
    canary: bool,
    budget_s: float | None,
    home: Path,
) -> ComparisonOrder:
    """What of an experiment is compared: each variant of the engine on each workload that it can serve. `baseline` and
    `candidate` are the fields in which the sides differ from the file. Raises InputError where nothing is left."""
    systems = tuple(
        System(name=system_name(variant), baseline=sides[0], candidate=sides[1], cells=cells_of(variant, workloads))
        for variant, workloads in variants_of(experiment, engine)
        for sides in [check((changed(variant, baseline), changed(variant, candidate)), workloads)]
    )
    if any(one.baseline == one.candidate for one in systems):
        log.info("both sides are the same: A against A")
    return order_of(experiment, systems, looks=looks, margin=margin, canary=canary, budget_s=budget_s, home=home)


def variants_of(experiment: Experiment, engine: str) -> list[tuple[Variant, tuple[Workload, ...]]]:
    """Those of the engine that the file does not exclude, versions and addresses left aside, and what each is to serve.
    Raises InputError where there is none."""
    found: dict[str, tuple[Variant, list[Workload]]] = {}
    for cell in experiment.cells():
        if cell.variant.engine == engine and not cell.excluded:
            workloads = found.setdefault(system_name(cell.variant), (cell.variant, []))[1]
            workloads += [cell.workload] if cell.workload not in workloads else []
    if not found:
        engines = sorted({cell.variant.engine for cell in experiment.cells()})
        raise InputError(f"{experiment.name} has no variant of {engine}; its engines are {', '.join(engines)}")
    return [(variant, tuple(workloads)) for variant, workloads in found.values()]


def cells_of(variant: Variant, workloads: tuple[Workload, ...]) -> tuple[CellOrder, ...]:
    """What is measured of a system: both sides bear the same ids, and so get the same prompts."""
    name = system_name(variant)
    return tuple(CellOrder(cell_id=content_id("system", name, workload), workload=workload) for workload in workloads)


def order_of(
    experiment: Experiment,
    systems: tuple[System, ...],
    *,
    looks: tuple[int, ...],
    margin: float,
    canary: bool,
    budget_s: float | None,
    home: Path,
    kind: str = "",
) -> ComparisonOrder:
    """The comparison of these systems; its id says what was asked, and begins with `kind`."""
    first = systems[0].baseline
    old, new = first.engine_version, systems[0].candidate.engine_version
    order = ComparisonOrder(
        id="",
        engine=first.engine,
        from_version=old,
        to_version=new,
        experiment=experiment.name,
        home=str(home),
        systems=systems,
        load_plan=experiment.load_plan,
        slos=experiment.slos,
        seed=experiment.seed,
        looks=looks,
        margin=margin,
        canary=canary,
        budget_s=budget_s,
    )
    asked = content_id("comparison", order.model_dump(mode="json", exclude={"id", "home", "budget_s"}))
    return order.model_copy(update={"id": f"{kind}{first.engine}-{old}-{new}-{asked}"})


def changed(variant: Variant, fields: dict[str, Any]) -> Variant:
    """The variant with these fields instead of its own. Raises InputError."""
    try:
        return Variant.model_validate(variant.model_dump() | fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def system_name(variant: Variant) -> str:
    """The same for both sides, and another for each variant of the file."""
    rest = variant.model_dump(mode="json", exclude={"engine_version", "endpoint_url"})
    return f"{variant.model.name} {variant.quantization} {content_id(rest)[:4]}"


def check(sides: tuple[Variant, Variant], workloads: tuple[Workload, ...]) -> tuple[Variant, Variant]:
    """The sides, where each can be and can serve all of these. Raises InputError."""
    for side in sides:
        for workload in workloads:
            refused = refusal(side, workload)
            if refused:
                raise InputError(f"{side.engine} {side.engine_version} cannot be compared: {refused[1]}")
    return sides


def versions_of(file: Experiment, engine: str, old: str | None, new: str | None) -> tuple[str, str]:
    """Where one is not given, the file's own; where neither is, both sides are of that version."""
    named = sorted({cell.variant.engine_version for cell in file.cells() if cell.variant.engine == engine})
    if (old is None or new is None) and len(named) > 1:
        raise InputError(
            f"{file.name} names {len(named)} versions of {engine} ({', '.join(named)}): give --from and --to"
        )
    own = named[0] if named else ""
    return old or own, new or own


def run_comparison(order: ComparisonOrder) -> ComparisonResult:
    """Runs the flow, on Prefect's API of this store; the verdict as it lies on disk. Raises SetupError where the flow
    itself broke."""
    home = Home(Path(order.home)).make()
    with measuring_alone(home, log.info), prefect_api(home, log.info) as wait_until_ready:
        comparison = open_comparison(home.comparisons, order)
        wait_until_ready()
        from flows.compare_releases import compare_releases

        kept = len(comparison.launches())
        log.info("comparison %s%s", comparison.id, f": {kept} launches are there already" if kept else "")
        state = compare_releases(order, comparison.id, return_state=True)
        result = comparison.result()
    if result is None or not result.ended_at:
        raise SetupError(f"the comparison did not end: {state.message}")
    return result


def exit_code_of(result: ComparisonResult) -> int:
    """Of a comparison that is void: 3 where no server came so far as to be measured, else 4."""
    if result.verdict is not ChangeVerdict.VOID:
        return EXIT_OK
    never_ran = bool(result.launches) and all(one.cause and one.stage in SETUP_STAGES for one in result.launches)
    return EXIT_SETUP if never_ran else EXIT_MEASUREMENT
