"""Identity is content: what is another system has another id, and a name that people chose is no content."""

from typing import Any

import pytest

from experiments.schema.base import METHOD_VERSION, content_id
from experiments.schema.experiment import Experiment, expand_line
from experiments.schema.load import LoadPlan
from experiments.schema.model import Model
from experiments.schema.quality import QualityPlan
from experiments.schema.variant import Variant
from experiments.schema.workload import Workload

WORKLOAD = Workload(name="w", prompt_tokens=8, output_tokens=4)


def experiment(variant: Variant, **fields: Any) -> Experiment:
    return Experiment.model_validate(
        {"name": "e", "workloads": [WORKLOAD], "variants": [variant.model_dump()]} | fields
    )


def only_id(e: Experiment) -> str:
    (cell,) = e.cells()
    return cell.id


def test_names_take_no_part_in_identity(variant: Variant) -> None:
    renamed = variant.model_copy(update={"model": Model(name="other", source=variant.model.source)})
    other = WORKLOAD.model_copy(update={"name": "v"})
    assert renamed.id == variant.id
    assert only_id(experiment(variant)) == only_id(experiment(renamed, workloads=[other], description="x"))


@pytest.mark.parametrize(
    "change",
    [
        {"workloads": [WORKLOAD.model_copy(update={"output_tokens": 5})]},
        {"load_plan": LoadPlan(requests_per_point=99)},
        {"seed": 1},
        {"quality": {}},
        {"cold_start": {}},
    ],
)
def test_what_is_asked_takes_part_in_a_cells_identity(variant: Variant, change: dict[str, Any]) -> None:
    assert only_id(experiment(variant)) != only_id(experiment(variant, **change))


def test_a_limit_on_a_task_needs_one() -> None:
    with pytest.raises(ValueError, match="name its file"):
        QualityPlan(min_accuracy=0.5)


def test_limits_of_quality_judge_and_do_not_measure(variant: Variant) -> None:
    asked = only_id(experiment(variant, quality={}))
    assert asked == only_id(experiment(variant, quality={"min_agreement": 0.9, "reference_quantization": "f16"}))
    assert asked != only_id(experiment(variant, quality={"tokens_per_text": 65}))


def test_a_cell_without_quality_keeps_the_id_that_it_had_before_there_was_any(variant: Variant) -> None:
    e = experiment(variant)
    parts: tuple[object, ...] = (
        "cell",
        METHOD_VERSION,
        variant.identity(),
        WORKLOAD.identity(),
        e.load_plan.identity(),
        [],
        e.seed,
    )
    assert only_id(e) == content_id(*parts)


def test_slos_do_not_change_a_cell_since_they_are_judged_from_its_records(variant: Variant) -> None:
    assert only_id(experiment(variant)) == only_id(experiment(variant, slos=["ttft:p95<1s"]))


def test_equal_cells_stand_once(variant: Variant) -> None:
    line = variant.model_dump()
    assert len(experiment(variant, variants=[line, line]).cells()) == 1


def test_the_first_exclusion_that_matches_gives_the_reason(variant: Variant) -> None:
    exclude = [
        {"reason": "another workload", "workload": "v"},
        {"reason": "this one", "workload": "w", "quantization": "q8_0"},
    ]
    (cell,) = experiment(variant, exclude=exclude).cells()
    assert cell.excluded == "this one"


def test_an_exclusion_may_list_the_values_that_it_matches(variant: Variant) -> None:
    def excluded(**fields: object) -> bool:
        (cell,) = experiment(variant, exclude=[{"reason": "listed", **fields}]).cells()
        return bool(cell.excluded)

    assert excluded(workload=["v", "w"], quantization=["q8_0", "f16"])
    assert not excluded(workload=["v", "x"], quantization=["q8_0"])
    assert not excluded(workload="w", engine_backend="tensorrt")


def test_axes_multiply_and_lists_that_are_values_do_not() -> None:
    line = {"quantization": ["f16", "q8_0"], "tensor_parallel": [1, 2], "extra_args": ["--a", "b"]}
    expanded = expand_line(line)
    assert isinstance(expanded, tuple)
    assert [(v["quantization"], v["tensor_parallel"]) for v in expanded] == [
        ("f16", 1),
        ("f16", 2),
        ("q8_0", 1),
        ("q8_0", 2),
    ]
    assert all(v["extra_args"] == ["--a", "b"] for v in expanded)


def test_a_back_end_takes_part_in_identity_and_in_the_label_only_where_one_is_named(variant: Variant) -> None:
    named = variant.model_copy(update={"engine_backend": "tensorrt"})
    assert "engine_backend" not in variant.identity()
    assert named.id != variant.id
    assert named.label == variant.label.replace(variant.engine_version, f"{variant.engine_version} tensorrt")
