"""Conversations as people write them, and that a workload without one is what it always was."""

from typing import Any

import pytest
from pydantic import ValidationError

from experiments.schema.base import content_id
from experiments.schema.conversation import Conversation
from experiments.schema.workload import Workload

ALONE = {"name": "w", "prompt_tokens": 8, "output_tokens": 4}


def workload(**conversation: Any) -> Workload:
    return Workload.model_validate({**ALONE, "conversation": {"turns": 3, **conversation}})


def test_a_workload_without_a_conversation_keeps_its_identity() -> None:
    """The id is that of METHOD_VERSION 1 before there were conversations."""
    assert content_id(Workload.model_validate(ALONE).identity()) == "96b2928a44fa"


@pytest.mark.parametrize(
    "change",
    [
        {"turns": 4},
        {"turns": {"min": 1, "max": 3}},
        {"think_time_s": 1.0},
        {"think_time_s": {"kind": "exponential", "mean_s": 1.0}},
        {"think_time_s": {"kind": "lognormal", "mean_s": 1.0}},
        {"first_prompt_tokens": 9},
        {"turn_prompt_tokens": 9},
    ],
)
def test_all_of_a_conversation_takes_part_in_identity(change: dict[str, Any]) -> None:
    assert workload(**change).identity() != workload().identity()
    assert workload().identity() != Workload.model_validate(ALONE).identity()


@pytest.mark.parametrize(
    "wrong",
    [
        {"turns": 1},
        {"turns": {"min": 4, "max": 3}},
        {"turns": {"min": 1, "max": 1}},
        {"think_time_s": -1},
        {"think_time_s": {"kind": "gamma", "mean_s": 1.0}},
        {"think_time_s": {"kind": "exponential", "mean_s": 0}},
        {"turn_prompt_tokens": 0},
        {"user": "x"},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        workload(**wrong)


def test_nobody_thinks_before_the_first_turn() -> None:
    assert Conversation(turns=4, think_time_s=2).mean_think_s == pytest.approx((0 + 2 + 2 + 2) / 4)
    drawn = {"turns": {"min": 1, "max": 3}, "think_time_s": {"kind": "exponential", "mean_s": 3.0}}
    assert Conversation.model_validate(drawn).mean_think_s == pytest.approx((0 + 0 + 3 + 0 + 3 + 3) / 6)


def test_the_last_turn_needs_room_for_all_that_was_said() -> None:
    conversation = Conversation(turns=3, first_prompt_tokens=100, turn_prompt_tokens=10)
    said = [100, 5, 10, 5, 10, 5]
    assert conversation.context_tokens(8, 5) == sum(said)
