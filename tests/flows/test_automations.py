"""Which runs an automation minds, by Prefect's own matching of what its server says of a run."""

import pytest
from prefect import states
from prefect.automations import EventTrigger, ResourceSpecification
from prefect.client.schemas.objects import State, StateType
from prefect.events.schemas.events import Resource

from flows.automations import automations, begun_in_vain, goes_on, never_begun


def trigger_of(automation: object) -> EventTrigger:
    found = getattr(automation, "trigger", None)
    assert isinstance(found, EventTrigger)
    return found


def minds(automation: object, *, run_count: int, **related: str) -> bool:
    """Whether a run of so many starts, with this beside it, is one that the automation minds."""
    trigger = trigger_of(automation)
    run = Resource({"prefect.resource.id": "prefect.flow-run.1", "prefect.run-count": str(run_count)})
    other = Resource({"prefect.resource.id": "x", **{f"prefect.resource.{key}": text for key, text in related.items()}})
    assert isinstance(trigger.match, ResourceSpecification)
    assert isinstance(trigger.match_related, ResourceSpecification)
    return trigger.match.matches(run) and trigger.match_related.matches(other)


def test_every_state_before_a_run_begins_is_waited_for() -> None:
    """Prefect gives the type PENDING several names, and its events bear the name."""
    made = [make() for name, make in vars(states).items() if name in ("Pending", "Submitting", "InfrastructurePending")]
    pending = {one.name for one in made if isinstance(one, State) and one.type is StateType.PENDING}
    assert len(pending) == 3
    assert trigger_of(never_begun()).after == {f"prefect.flow-run.{name}" for name in pending}


@pytest.mark.parametrize(("pool", "is_minded"), [("dyno", True), ("dyno-control", True), ("containers", False)])
def test_only_where_a_process_is_started_minutes_are_too_long(pool: str, is_minded: bool) -> None:
    assert minds(never_begun(), run_count=0, role="work-pool", name=pool) is is_minded


@pytest.mark.parametrize("flow", ["engine-release", "full-matrix"])
def test_what_crashed_goes_on_once_after_it_ran_and_later_before(flow: str) -> None:
    assert [minds(goes_on(), run_count=n, role="flow", name=flow) for n in range(3)] == [False, True, False]
    assert [minds(begun_in_vain(), run_count=n, role="flow", name=flow) for n in range(3)] == [True, False, False]


def test_a_variant_that_crashed_is_left_to_who_sent_it() -> None:
    assert not any(
        minds(one, run_count=count, role="flow", name="measure-on-worker")
        for one in automations(None)
        for count in (0, 1)
    )
