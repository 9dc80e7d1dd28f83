"""What a new release is compared with."""

import pytest

from experiments.errors import InputError
from experiments.schema.requests import ReleaseRequest
from flows.engine_release import baseline_version

REQUEST = ReleaseRequest(engine="vllm", version="0.10.0", previous="0.9.9")
BARE = REQUEST.model_copy(update={"previous": ""})


def nobody_knows(engine: str, version: str) -> str:
    return ""


def test_the_newest_measured_release_before_the_new_one_by_version_and_not_by_spelling() -> None:
    assert baseline_version(["0.9.0", "0.9.2", "0.10.0", "0.11.0", "0.8"], REQUEST, nobody_knows) == "0.9.2"


def test_where_none_was_measured_it_is_the_release_before() -> None:
    assert baseline_version(["0.11.0", "nightly"], REQUEST, nobody_knows) == "0.9.9"


def test_without_either_there_is_nothing_to_compare() -> None:
    with pytest.raises(InputError, match=r"vllm: no release before 0\.10\.0 was measured"):
        baseline_version([], BARE, nobody_knows)


def test_an_event_that_names_no_release_before_gets_that_of_the_index() -> None:
    assert baseline_version([], BARE, lambda engine, version: f"before {engine} {version}") == "before vllm 0.10.0"
    assert baseline_version(["0.9.2"], BARE, nobody_knows) == "0.9.2"
