"""The sentences claim what the figures show."""

from collections.abc import Callable

from experiments.schema.result import Capacity, CellResult, CellState
from tasks.reporting.headlines import caveat, findings, title
from tasks.reporting.summary_table import summary_table

MakeCell = Callable[..., CellResult]


def measured(
    make: MakeCell, quantization: str, workload: str, rps: float, certified: float | None = None
) -> CellResult:
    return make(
        quantization=quantization,
        workload=workload,
        state="measured", grade="A", stage="", cause="",
        headlines={"saturation_rps": rps, "saturation_output_tokens_per_s": 8 * rps, "floor_ttft_p50_ms": 1000 / rps},
        capacities=(Capacity(slo="ttft:p95<300ms", name="x", verdict="unknown", certified_rps=certified),),
    )  # fmt: skip


def test_the_leader_of_every_workload_is_the_title(failed: MakeCell) -> None:
    cells = [measured(failed, q, w, r) for w in ("long-in", "long-out") for q, r in (("f16", 10.0), ("q8_0", 20.0))]
    assert title(cells) == "q8_0 serves the most requests on both workloads"
    assert title(cells[:2]) == "q8_0 serves the most requests on long-in"


def test_variants_within_three_percent_are_level(failed: MakeCell) -> None:
    cells = [measured(failed, "f16", "long-in", 100.0), measured(failed, "q8_0", "long-in", 98.0)]
    assert title(cells) == "f16 and q8_0 are level and serve the most requests on long-in"
    assert "are level at saturation" in findings(cells, "long-in")[0]
    apart = [measured(failed, "f16", "long-in", 100.0), measured(failed, "q8_0", "long-in", 96.0)]
    assert title(apart) == "f16 serves the most requests on long-in"


def test_different_leaders_are_named_by_workload(failed: MakeCell) -> None:
    cells = [
        measured(failed, "f16", "long-in", 20.0), measured(failed, "q8_0", "long-in", 10.0),
        measured(failed, "f16", "long-out", 10.0), measured(failed, "q8_0", "long-out", 20.0),
    ]  # fmt: skip
    assert title(cells) == "No variant leads everywhere: f16 on long-in; q8_0 on long-out"


def test_one_variant_alone_leads_nothing(failed: MakeCell) -> None:
    cells = [measured(failed, "f16", "long-in", 20.0), measured(failed, "f16", "long-out", 10.0)]
    assert title(cells) == "f16 serves 20.0 requests a second on long-in and 10.0 requests a second on long-out"


def test_failure_of_everything_is_the_title(failed: MakeCell) -> None:
    assert title([failed(), failed()]) == "Nothing could be measured: 2 of 2 cells failed"
    assert title([]) == "Nothing was measured"
    assert findings([failed()], "long-out") == ["No variant has a valid saturation point here."]


def test_findings_give_ceiling_floor_and_capacity(failed: MakeCell) -> None:
    cells = [measured(failed, "f16", "long-in", 10.0), measured(failed, "q8_0", "long-in", 20.0, certified=12.0)]
    assert findings(cells, "long-in") == [
        "q8_0 reaches 20.0 requests/s (160 output tokens/s) at saturation, 2.00 × f16, the slowest of 2.",
        "One request at a time, q8_0 has the lowest median TTFT, 50.0 ms.",
        "With p95 TTFT under 300 ms, the highest certified rate is 12.0 rps, by q8_0 (f16 unknown).",
    ]


def test_no_rate_is_claimed_where_none_is_certified(failed: MakeCell) -> None:
    cells = [measured(failed, "f16", "long-in", 10.0)]
    assert findings(cells, "long-in")[-1] == "With p95 TTFT under 300 ms, no rate is certified."


def test_a_lead_over_cells_that_could_not_be_measured_says_so(failed: MakeCell) -> None:
    cells = [
        measured(failed, "f16", "long-in", 10.0),
        measured(failed, "q8_0", "long-in", 20.0),
        failed(workload="long-in"),
    ]
    assert title(cells) == "q8_0 serves the most requests on long-in, of those that could be measured"


def test_cells_that_carry_little_are_named(failed: MakeCell) -> None:
    good, weak = measured(failed, "f16", "long-in", 10.0), measured(failed, "q8_0", "long-in", 20.0)
    assert caveat([good]) == ""
    cells = [good, weak.model_copy(update={"grade": "D"}), failed()]
    assert caveat(cells).startswith("2 of 3 cells rest on few valid points or none")
    assert "q8_0 on long-in and q4_0 on long-out" in caveat(cells)


def test_stand_ins_lead_nothing_and_are_not_compared(failed: MakeCell) -> None:
    plain = [measured(failed, "f16", "long-in", 20.0, 5.0), measured(failed, "q8_0", "long-in", 10.0, 2.0)]
    cells = [
        cell.model_copy(
            update={"variant": cell.variant.model_copy(update={"stand_in": True}), "state": CellState.STAND_IN}
        )
        for cell in plain
    ]
    assert title(cells) == "Stand-ins answered in the place of engines, and nothing was measured"
    assert len(findings(cells, "long-in")) == 1
    assert "not compared" in findings(cells, "long-in")[0]
    assert caveat(cells) == ""
    names = {cell.variant.id: "name" for cell in cells}
    assert "best" in summary_table(plain, {cell.variant.id: "name" for cell in plain})
    assert "best" not in summary_table(cells, names)
    assert "Stand-in" in summary_table(cells, names)
