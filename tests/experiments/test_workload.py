"""Workloads: old ones keep their identity, new ones contradict themselves nowhere, errors name their place."""

import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from engine_adapters import ADAPTERS
from experiments.errors import InputError
from experiments.schema.base import content_id
from experiments.schema.experiment import Experiment
from experiments.schema.length import LogNormal, longest, shortest
from experiments.schema.read import read_experiment
from experiments.schema.workload import Workload

HERE = Path(__file__).parents[2] / "experiments"
PLAIN: dict[str, Any] = {"name": "w", "prompt_tokens": 128, "output_tokens": 16}
DATASET = {"prompts": {"kind": "dataset", "path": "d.jsonl"}, "prompt_tokens": {"kind": "data"}}


def workload(**fields: Any) -> Workload:
    return Workload.model_validate(PLAIN | fields)


def test_a_workload_without_the_later_fields_is_the_content_that_it_was_before_they_existed() -> None:
    before = {"prompt_tokens": 128, "output_tokens": 16, "endpoint": "completions", "cache": "cold"}
    assert workload().identity() == before
    assert content_id(workload().identity()) == "7952388540f4"


def test_the_cells_of_a_workload_without_the_later_fields_keep_their_ids(tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(
        'variants: [{engine: llama_cpp, engine_version: "1", model: tiny-llama-8m, quantization: f16}]\n'
        "workloads: [in128-out16]\n"
    )
    (cell,) = read_experiment(file, ["llama_cpp"]).cells()
    assert cell.id == "dc7f284a2142"


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt_tokens": {"kind": "uniform", "min": 128, "max": 128}},
        {"output_tokens": {"kind": "natural", "max": 16}},
        {"prompts": {"kind": "english"}},
        {"cache": "shared", "shared_prefix": {"tokens": 64}},
        {"cache": "shared", "system_prompt": "Be brief."},
        {"cache": "hot"},
        {"cache": "hot", "hot_prompts": 9},
        {"json_schema": {"type": "object"}},
        {"conversation": {"turns": 2}},
        DATASET,
    ],
)
def test_each_later_field_makes_another_workload(fields: dict[str, Any]) -> None:
    assert content_id(workload(**fields).identity()) != content_id(workload().identity())


def test_what_is_written_out_as_the_default_is_the_same_workload() -> None:
    assert workload(prompts={"kind": "synthetic"}, hot_prompts=8).identity() == workload().identity()


def test_a_workload_survives_being_written_and_read() -> None:
    for fields in ({}, DATASET, {"prompt_tokens": {"kind": "normal", "mean": 9, "std": 2}, "json_schema": {"a": [1]}}):
        asked = workload(**fields)
        assert Workload.model_validate_json(asked.model_dump_json()) == asked


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"prompt_tokens": {"kind": "uniform", "min": 9, "max": 8}}, "out of order"),
        ({"prompt_tokens": {"kind": "normal", "mean": 90, "std": 1, "max": 80}}, "out of order"),
        ({"prompt_tokens": {"kind": "normal", "mean": 9, "std": -1}}, "greater than or equal to 0"),
        ({"prompt_tokens": {"kind": "lognormal", "mean": 9, "median": 9, "sigma": 1}}, "either mean or median"),
        ({"prompt_tokens": {"kind": "lognormal", "mean": 9}}, "either sigma"),
        ({"prompt_tokens": {"kind": "lognormal", "median": 9, "std": 3}}, "std goes with mean"),
        ({"prompt_tokens": {"kind": "natural"}}, "does not match any"),
        ({"prompt_tokens": 0}, "greater than or equal to 1"),
        ({"prompt_tokens": {"kind": "data"}}, "go together"),
        ({"prompts": {"kind": "dataset", "path": "x"}}, "go together"),
        ({"output_tokens": {"kind": "data"}}, "needs prompts"),
        (DATASET | {"prompts": {"kind": "dataset"}}, "either path"),
        (DATASET | {"prompts": {"kind": "dataset", "path": "x", "split": "train"}}, "go with repo"),
        ({"cache": "shared"}, "something that is shared"),
        ({"shared_prefix": {"tokens": 8}}, "say cache: shared"),
        ({"system_prompt": "Hello"}, "say cache: shared"),
        ({"cache": "hot", "shared_prefix": {"tokens": 8}}, "repeat as a whole"),
        ({"hot_prompts": 3}, "goes with cache: hot"),
        ({"cache": "shared", "shared_prefix": {"tokens": 128}}, "leaves nothing"),
        ({"cache": "shared", "shared_prefix": {"tokens": 8, "share": 0}}, "greater than 0"),
        ({"cache": "shared", "shared_prefix": {"tokens": 8}} | DATASET, "as they are"),
        (
            {"conversation": {"turns": 2}, "cache": "shared", "shared_prefix": {"tokens": 8}},
            "goes without shared_prefix",
        ),
        ({"conversation": {"turns": 2}, "cache": "hot"}, "goes without cache: hot"),
    ],
)
def test_what_contradicts_itself_is_refused_with_what_to_do(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        workload(**fields)


@pytest.mark.parametrize(
    ("written", "where", "what"),
    [
        ("{kind: unifrom, min: 1, max: 2}", "workloads[0].prompt_tokens.kind", "Did you mean uniform?"),
        ("{kind: uniform, min: 1, mx: 2}", "workloads[0].prompt_tokens.mx", "Did you mean max?"),
        ("{kind: uniform, min: 1, max: 0}", "workloads[0].prompt_tokens.max", "greater than or equal to 1"),
        ("0", "workloads[0].prompt_tokens", "greater than or equal to 1"),
        ("many", "workloads[0].prompt_tokens", "valid integer"),
        ("{min: 1, max: 2}", "workloads[0].prompt_tokens", "needs a `kind`"),
    ],
)
def test_an_error_in_a_length_names_its_place_in_the_file(tmp_path: Path, written: str, where: str, what: str) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(
        'variants: [{engine: llama_cpp, engine_version: "1", model: tiny-llama-8m, quantization: f16}]\n'
        f"workloads: [{{name: w, prompt_tokens: {written}, output_tokens: 4}}]\n"
    )
    with pytest.raises(InputError) as raised:
        read_experiment(file, ["llama_cpp"])
    assert any(where in str(problem) and what in str(problem) for problem in raised.value.problems), raised.value


def test_planning_makes_room_for_the_longest_that_may_be_drawn() -> None:
    asked = workload(
        prompt_tokens={"kind": "normal", "mean": 100, "std": 10},
        output_tokens={"kind": "lognormal", "median": 20, "sigma": 0.5, "max": 77},
    )
    assert (asked.longest_prompt_tokens, asked.longest_output_tokens) == (140, 77)
    assert (longest(5), shortest(5), shortest(asked.prompt_tokens)) == (5, 5, 1)


def test_a_lognormal_of_mean_and_std_has_the_moments_that_the_textbook_gives() -> None:
    spec = LogNormal(mean=200, std=150)
    mean = math.exp(spec.log_mean + spec.log_std**2 / 2)
    variance = (math.exp(spec.log_std**2) - 1) * math.exp(2 * spec.log_mean + spec.log_std**2)
    assert mean == pytest.approx(200)
    assert math.sqrt(variance) == pytest.approx(150)


def test_every_experiment_that_ships_can_be_read() -> None:
    for file in HERE.glob("*.yaml"):
        assert isinstance(read_experiment(file, ADAPTERS), Experiment)
