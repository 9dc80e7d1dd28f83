"""Which failed cells are retried by themselves, and when."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from experiments.schema.failure import FailureClass
from experiments.schema.requests import RetryRequest
from experiments.schema.result import CellResult, CellState
from experiments.schema.variant import Variant
from experiments.schema.workload import Workload
from tasks.campaigns.campaign import Campaign
from tasks.campaigns.retries import count_retries, looked_over, read_retries

FAILED_AT = datetime(2026, 11, 21, 10, tzinfo=UTC)
REQUEST = RetryRequest(max_retries=3, first_delay_hours=1, growth=4)


@pytest.fixture
def failed(variant: Variant) -> CellResult:
    return CellResult(
        cell_id="c1",
        experiment="e",
        campaign="e-1",
        launch=1,
        variant=variant,
        workload=Workload(name="w", prompt_tokens=1, output_tokens=1),
        state=CellState.FAILED,
        failure_class=FailureClass.TIMEOUT,
        ended_at=FAILED_AT.isoformat(),
    )


@pytest.mark.parametrize(("retries", "hours"), [(0, 1), (1, 4), (2, 16)])
def test_each_retry_waits_longer_than_the_one_before(failed: CellResult, retries: int, hours: int) -> None:
    (found,) = looked_over([failed], {"c1": retries}, REQUEST)
    due = FAILED_AT + timedelta(hours=hours)
    assert found.is_due(due)
    assert not found.is_due(due - timedelta(seconds=1))


def test_after_so_many_retries_a_cell_stays_failed(failed: CellResult) -> None:
    (found,) = looked_over([failed], {"c1": 3}, REQUEST)
    assert not found.is_due(datetime.max.replace(tzinfo=UTC))
    assert "3 times" in found.reason


def test_on_demand_nothing_waits_and_the_bound_holds(failed: CellResult) -> None:
    now = REQUEST.model_copy(update={"now": True})
    assert looked_over([failed], {}, now)[0].is_due(FAILED_AT)
    assert looked_over([failed], {"c1": 3}, now)[0].due_at is None


@pytest.mark.parametrize(
    ("changes", "is_retried"),
    [
        ({"failure_class": FailureClass.BAD_FLAG}, False),
        ({"failure_class": FailureClass.OUT_OF_MEMORY}, False),
        ({"failure_class": FailureClass.CRASHED}, True),
        ({"state": CellState.INVALID, "failure_class": None}, True),
        ({"state": CellState.INTERRUPTED, "failure_class": None}, True),
    ],
)
def test_the_class_of_a_failure_decides(failed: CellResult, changes: dict[str, Any], is_retried: bool) -> None:
    (found,) = looked_over([failed.model_copy(update=changes)], {}, REQUEST)
    assert (found.due_at is not None) == is_retried


def test_a_measured_cell_is_not_looked_at(failed: CellResult) -> None:
    assert looked_over([failed.model_copy(update={"state": CellState.MEASURED})], {}, REQUEST) == []


def test_retries_are_counted_by_cell_and_kept(tmp_path: Path) -> None:
    campaign = Campaign("e", tmp_path)
    assert read_retries(campaign) == {}
    count_retries(campaign, ["c1", "c2"])
    count_retries(campaign, ["c2"])
    assert read_retries(campaign) == {"c1": 1, "c2": 2}
