"""The document of `dyno load --json`."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from experiments.schema.load import ClosedLoop
from experiments.schema.slo import parse_slo
from experiments.schema.workload import Workload
from tasks.analysis.trial import summarize_trial
from tasks.analysis.trial_json import trial_json
from tasks.loadgen.record import Outcome, RequestRecord, records_table

TOP = {
    "requests", "outcomes", "valid", "invalid_reasons", "offered_rps", "achieved_rps", "output_tokens_per_s", "ttft_ms",
    "ttft_response_ms", "tpot_ms", "itl_ms", "icl_ms", "e2e_ms", "longest_stall_ms", "client",
}  # fmt: skip


def document(records: list[RequestRecord], client: dict[str, Any]) -> dict[str, Any]:
    window = (min(r.due_at_ns for r in records), max(r.end_at_ns or r.due_at_ns + 1 for r in records))
    summary = summarize_trial(
        records_table(records), window=window, load=ClosedLoop(concurrency=1), slos=[parse_slo("ttft:p95<300ms")],
        workload=Workload(name="w", prompt_tokens=100, output_tokens=8), client=client, method_version="1",
    )  # fmt: skip
    found: dict[str, Any] = json.loads(json.dumps(trial_json(summary), allow_nan=False))
    return found


def absent_figures(node: Any, path: str = "") -> list[str]:
    """Every null that has no reason beside it."""
    if not isinstance(node, dict):
        return []
    bare = [
        f"{path}{key}"
        for key, value in node.items()
        if value is None and not key.endswith("_reason") and not node.get(f"{key}_reason")
    ]
    return bare + [found for key, value in node.items() for found in absent_figures(value, f"{path}{key}.")]


def test_the_document_has_the_promised_keys(steady_records: Callable[..., list[RequestRecord]]) -> None:
    client = {"stamp": "kernel", "cpu_us_per_event": 9.5, "events_sharing_a_stamp": 0.0, "cpu_share": 0.2}
    found = document(steady_records(), client)
    assert set(found) >= TOP
    assert set(found["outcomes"]) == {outcome.value for outcome in Outcome}
    assert sum(found["outcomes"].values()) == found["requests"] == 100
    for name in ("ttft_ms", "icl_ms"):
        assert set(found[name]) >= {"n", "mean", "p50", "p90", "p95", "p99", "p99_reason"}
    assert set(found["client"]) >= {"lateness_ms", "cpu_us_per_event", "stamp", "events_sharing_a_stamp"}
    assert found["client"]["lateness_ms"]["p50"] == 0.0
    assert found["valid"] is True
    assert found["offered_rps"] is None
    assert "closed loop" in found["offered_rps_reason"]


@pytest.mark.parametrize("completed", [True, False])
def test_no_figure_is_absent_without_its_reason(
    steady_records: Callable[..., list[RequestRecord]], record: Callable[..., RequestRecord], completed: bool
) -> None:
    lost = record(0, 0, outcome=Outcome.NEVER_SENT, sent_at_ns=None, end_at_ns=None, output_tokens=None)
    found = document(steady_records(3) if completed else [lost], {})
    for slo in found.pop("slos"):
        assert slo["verdict"] != "unknown" or slo["reason"]
    assert absent_figures(found) == []
    assert found["ttft_ms"]["p99"] is None
    assert found["ttft_ms"]["p99_reason"]
