"""What may be asked of a cell, how short it may be said, and what contradicts."""

from typing import Any

import pytest
from pydantic import ValidationError

from experiments.schema.experiment import Experiment
from experiments.schema.load import Constant, Gamma, LoadPlan, Poisson
from experiments.schema.variant import Variant


def plan(**fields: Any) -> LoadPlan:
    return LoadPlan.model_validate(fields)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("poisson", (Poisson(),)),
        ({"kind": "gamma", "shape": 0.5}, (Gamma(shape=0.5),)),
        (["constant", "poisson", {"kind": "gamma", "shape": 0.25}], (Constant(), Poisson(), Gamma(shape=0.25))),
    ],
)
def test_arrivals_are_one_process_or_several(written: object, meant: object) -> None:
    assert plan(open_loop={"arrivals": written}).open_loop.arrivals == meant


def test_the_warm_up_may_be_said_in_short() -> None:
    assert plan(warm_up_max_seconds=20) == plan(warm_up={"max_seconds": 20})
    assert plan().warm_up.max_seconds == 60


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"warm_up_max_seconds": 20, "warm_up": {"windows": 3}}, "warm_up_max_seconds and warm_up contradict"),
        ({"warm_up": {"max_seconds": 1, "windows": 2}}, "2 windows of 1 s do not fit into max_seconds"),
        ({"open_loop": {"fractions": [0.5], "points": 7}}, "fractions and points contradict"),
        ({"open_loop": {"arrivals": ["poisson", "poisson"]}}, "names one process twice"),
        ({"open_loop": {"arrivals": ["poisson", {"kind": "trace", "path": "t"}]}}, "cannot stand beside"),
        ({"ladder": {"concurrency": [1, 2], "seconds": 5}, "ramp": {}}, "ladder and ramp contradict"),
        ({"ladder": {"concurrency": [1, 2]}}, "give one of the two"),
        ({"ladder": {"concurrency": [1, 2], "seconds": 5, "requests": 5}}, "give one of the two"),
        ({"ladder": {"concurrency": [2, 2], "seconds": 5}}, "must rise from step to step"),
        ({"ladder": {"concurrency": [1], "seconds": 5}, "capacity": {}}, "ladder is a whole plan: capacity would"),
        ({"ramp": {}, "saturation": {"max_concurrency": 8}}, "ramp is a whole plan: saturation would never"),
        ({"ramp": {"seconds": 20}}, "after a ramp of 20 s, 20 s leave no bucket of 5 s"),
        ({"capacity": {}, "open_loop": {"arrivals": {"kind": "trace", "path": "t"}}}, "a trace has its own"),
        ({"launches": 0}, "greater than or equal to 1"),
    ],
)
def test_what_contradicts_is_said(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        plan(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"launches": 3, "capacity": {"budget_seconds": 60, "resolution": 0.05, "max_looks": 6}},
        {"ladder": {"concurrency": [1, 2, 4], "requests": 50}},
        {"ramp": {"users": [10, 50], "ramp_seconds": 1, "seconds": 10, "bucket_seconds": 2}},
        {"open_loop": {"arrivals": ["constant", "poisson"], "points": 6}},
    ],
)
def test_a_plan_that_is_written_down_is_read_back_the_same(fields: dict[str, Any]) -> None:
    asked = plan(**fields)
    assert LoadPlan.model_validate_json(asked.model_dump_json()) == asked


def cell_id(variant: Variant, load_plan: dict[str, Any], slos: list[str]) -> str:
    workloads = [{"name": "w", "prompt_tokens": 8, "output_tokens": 4}]
    asked = {"name": "e", "workloads": workloads, "variants": [variant], "load_plan": load_plan, "slos": slos}
    (cell,) = Experiment.model_validate(asked | {"variants": [variant.model_dump()]}).cells()
    return cell.id


def test_more_launches_of_a_cell_are_the_same_cell(variant: Variant) -> None:
    assert cell_id(variant, {"launches": 3}, []) == cell_id(variant, {}, [])
    assert cell_id(variant, {"min_seconds": 4}, []) != cell_id(variant, {}, [])


def test_slos_are_part_of_what_is_measured_only_where_their_capacity_is_searched(variant: Variant) -> None:
    assert cell_id(variant, {}, ["ttft:p95<1s"]) == cell_id(variant, {}, [])
    search = {"capacity": {"budget_seconds": 9}}
    assert cell_id(variant, search, ["ttft:p95<1s"]) != cell_id(variant, search, ["ttft:p95<2s"])
