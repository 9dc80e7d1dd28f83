"""Facets: BentoML's questions (with and without system prompt; 10, 50, 100 users) can be asked of what was measured."""

from typing import Any

import pytest

from experiments.schema.facets import load_facets, workload_facets
from experiments.schema.load import ClosedLoop, Constant, Load, OpenLoop, Poisson
from experiments.schema.workload import Workload


def asked(**fields: Any) -> Workload:
    return Workload.model_validate({"name": "w", "prompt_tokens": 128, "output_tokens": 16} | fields)


def test_with_and_without_a_system_prompt_are_told_apart() -> None:
    data = {"kind": "dataset", "repo": "databricks/databricks-dolly-15k"}
    lengths = {"prompt_tokens": {"kind": "data", "max": 1024}, "output_tokens": {"kind": "data", "max": 1024}}
    bare = workload_facets(asked(prompts=data, endpoint="chat", **lengths))
    led = workload_facets(asked(prompts=data, endpoint="chat", cache="shared", system_prompt="Be brief.", **lengths))
    assert (bare["system_prompt"], led["system_prompt"]) == ("no", "yes")
    assert (bare["system_prompt_characters"], led["system_prompt_characters"]) == (None, 9)
    assert {one["dataset"] for one in (bare, led)} == {"databricks/databricks-dolly-15k"}
    assert {one["endpoint"] for one in (bare, led)} == {"chat"}


def test_of_a_file_only_the_name_is_a_facet() -> None:
    data = {"kind": "dataset", "path": "/home/somebody/prompts.jsonl"}
    found = workload_facets(asked(prompts=data, prompt_tokens={"kind": "data", "max": 64}))
    assert found["dataset"] == "prompts.jsonl"


def test_a_shared_prefix_and_turns_are_facets() -> None:
    shared = asked(cache="shared", shared_prefix={"tokens": 100, "share": 0.5})
    found = workload_facets(shared)
    assert (found["prompt_cache"], found["shared_prefix_tokens"], found["shared_prefix_share"]) == ("shared", 100, 0.5)
    talk = workload_facets(asked(conversation={"turns": {"min": 2, "max": 5}}))
    assert talk["turns"] == 5


def test_users_are_the_concurrencies_and_arrivals_the_processes() -> None:
    loads: list[Load] = [ClosedLoop(concurrency=100), ClosedLoop(concurrency=10), ClosedLoop(concurrency=50)]
    assert load_facets(loads) == {"arrivals": "closed_loop", "users": "10 50 100"}
    mixed: list[Load] = [OpenLoop(arrivals=Poisson(), rate_rps=2), OpenLoop(arrivals=Constant(), rate_rps=2), loads[1]]
    assert load_facets(mixed) == {"arrivals": "poisson constant closed_loop", "users": "10"}


@pytest.mark.parametrize(("schema", "said"), [(None, "to the length asked"), ({"type": "object"}, "end by themselves")])
def test_whether_answers_are_held_to_a_length_is_a_facet(schema: Any, said: str) -> None:
    assert workload_facets(asked(json_schema=schema))["answers"] == said
