"""What becomes of a variant's run in each state, and which runs are the same."""

import pytest

from experiments.schema.order import CellOrder, ExperimentOrder, VariantOrder
from experiments.schema.variant import Variant
from experiments.schema.workload import Workload
from tasks.campaigns.dispatch import OFFER_LIMIT_S, PENDING_LIMIT_S, Dispatch, asked_id, next_step


@pytest.mark.parametrize(
    ("state", "seconds", "host_is_there", "tries_left", "step"),
    [
        ("COMPLETED", 0, True, 2, "done"),
        ("FAILED", 0, True, 2, "done"),
        ("CANCELLED", 0, True, 2, "lost"),
        ("CRASHED", 0, True, 1, "again"),
        ("CRASHED", 0, True, 0, "lost"),
        ("RUNNING", 1e6, False, 2, "wait"),
        ("CANCELLING", 0, True, 2, "wait"),
        ("SCHEDULED", 1e6, True, 2, "wait"),
        ("SCHEDULED", 1, False, 2, "again"),
        ("SCHEDULED", 1, False, 0, "wait"),
        ("PENDING", PENDING_LIMIT_S - 1, True, 2, "wait"),
        ("PENDING", PENDING_LIMIT_S + 1, True, 2, "again"),
    ],
)
def test_each_state_asks_for_one_step(
    state: str, seconds: float, host_is_there: bool, tries_left: int, step: str
) -> None:
    found = next_step(state, seconds_in_state=seconds, host_is_there=host_is_there, tries_left=tries_left)
    assert found == step


@pytest.mark.parametrize(
    ("state", "seconds", "others_idle", "step"),
    [
        ("SCHEDULED", OFFER_LIMIT_S + 1, True, "offer"),
        ("SCHEDULED", OFFER_LIMIT_S - 1, True, "wait"),
        ("SCHEDULED", OFFER_LIMIT_S + 1, False, "wait"),
        ("RUNNING", OFFER_LIMIT_S + 1, True, "wait"),
        ("PENDING", OFFER_LIMIT_S + 1, True, "wait"),
    ],
)
def test_what_waits_for_a_busy_host_is_offered_to_one_that_has_nothing_to_do(
    state: str, seconds: float, others_idle: bool, step: str
) -> None:
    found = next_step(state, seconds_in_state=seconds, host_is_there=True, tries_left=0, others_idle=others_idle)
    assert found == step


@pytest.fixture
def order(variant: Variant) -> VariantOrder:
    return VariantOrder(
        variant=variant, cells=(CellOrder(cell_id="c1", workload=Workload(name="w", prompt_tokens=1, output_tokens=1)),)
    )


def run(campaign: int = 1) -> ExperimentOrder:
    return ExperimentOrder(experiment="e", campaign=campaign, home="", variants=())


def test_who_asks_again_for_the_same_gets_the_same_run(order: VariantOrder) -> None:
    asked = {asked_id(run(), order, [""]), asked_id(run(), order, [""])}
    assert len(asked) == 1


def test_another_campaign_and_a_later_failure_are_other_runs(order: VariantOrder) -> None:
    failed = "2026-11-21T10:00:00+00:00"
    asked = [asked_id(run(), order, [""]), asked_id(run(2), order, [""]), asked_id(run(), order, [failed])]
    assert len(set(asked)) == 3


def test_a_run_again_is_for_any_host_and_has_a_key_of_its_own(order: VariantOrder) -> None:
    first = Dispatch(order, "asked", host="host-a", run_id="r1")
    second = first.again()
    assert (second.key, second.host, second.run_id, second.tries) == ("asked-2", "", "", 2)
    offered = first.offered()
    assert (offered.key, offered.host, offered.run_id, offered.tries) == ("asked-2", "", "", 1)
    assert first.past().tries == 1, "what ended before this invocation is none of its tries"
