"""What the page is given: every cell and point, short numbers that never flatter, no secret."""

import json
from decimal import Decimal
from math import ceil, floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.schema.result import CellResult, CellState
from tasks.reporting.almanac.columns import BOUND_DIGITS, short
from tasks.reporting.almanac.document import Offer, almanac_document
from tasks.reporting.almanac.packing import packed, unpacked
from tests.tasks.reporting.almanac.synthetic_cells import synthetic_cells, synthetic_comparisons


@pytest.fixture(scope="module")
def cells() -> list[CellResult]:
    return synthetic_cells(60)


@given(st.floats(min_value=1e-6, max_value=1e9))
def test_bounds_are_rounded_outwards_by_less_than_a_hundredth_to_three_digits(value: float) -> None:
    low, high = short(value, BOUND_DIGITS, floor), short(value, BOUND_DIGITS, ceil)
    assert low is not None
    assert high is not None
    assert value * 0.99 <= low <= value * (1 + 1e-8)  # what is nearer to a round number than that counts as it
    assert value * (1 - 1e-8) <= high <= value * 1.0101
    assert all(len(Decimal(str(bound)).normalize().as_tuple().digits) <= BOUND_DIGITS for bound in (low, high))


@pytest.mark.parametrize(("value", "text"), [(0.3, "0.3"), (12345.678, "12346"), (0.00123456, "0.0012346"), (0, "0")])
def test_numbers_are_short(value: float, text: str) -> None:
    assert json.dumps(short(value)) == text


def test_every_cell_and_every_point_is_there_once(cells: list[CellResult]) -> None:
    document = almanac_document(cells)
    assert document["cells"]["id"] == [cell.cell_id for cell in cells]
    assert len(document["points"]["cell"]) == sum(len(cell.points) for cell in cells)
    assert {len(column) for column in document["cells"].values()} == {len(cells)}
    assert len({len(column) for column in document["points"].values()}) == 1


def test_an_open_loop_point_carries_latencies_from_when_requests_were_due(cells: list[CellResult]) -> None:
    points = almanac_document(cells)["points"]
    cell = next(cell for cell in cells if cell.points)
    index = next(
        i for i, role in enumerate(points["role"]) if role == "open_loop" and points["cell"][i] == cells.index(cell)
    )
    (point, *_) = [one for one in cell.points if one.point.role == "open_loop"]
    asked = point.summary.latencies["ttft_response_ms"].p95
    assert asked is not None
    assert points["first_p95"][index] == pytest.approx(asked, rel=1e-3)
    assert points["first_p95"][index] != pytest.approx(point.summary.latencies["ttft_ms"].p95, rel=2e-4)


def test_a_failed_cell_keeps_its_class_and_its_cause(cells: list[CellResult]) -> None:
    many = synthetic_cells(100)
    document = almanac_document(many)["cells"]
    index = next(i for i, cell in enumerate(many) if cell.state is CellState.FAILED)
    assert document["failure_class"][index] == "out_of_memory"
    assert "do not fit" in document["cause"][index]


def test_a_ladder_of_users_keeps_its_intervals_and_the_way_to_saturation_has_none(cells: list[CellResult]) -> None:
    (alone, *_) = [cell for cell in cells if cell.points]
    saturating = next(point for point in alone.points if point.point.role == "saturation")
    rung = saturating.model_copy(update={"point": saturating.point.model_copy(update={"role": "ladder"})})
    document = almanac_document([alone.model_copy(update={"points": (saturating, rung)})])["points"]
    low, high = saturating.summary.latencies["ttft_ms"].intervals["p95"]
    assert document["first_p95_low"] == [None, pytest.approx(low, rel=1e-2)]
    assert document["first_p95_high"] == [None, pytest.approx(high, rel=1e-2)]


def test_a_cell_with_a_cold_start_tells_that_one_and_its_phases() -> None:
    document = almanac_document(synthetic_cells(1))["cells"]
    assert document["cold_start"][0] | {"cold": True, "compile_s": 33, "healthy_s": 71} == document["cold_start"][0]


def test_quality_carries_its_interval_and_what_is_past_a_limit() -> None:
    many = [cell for cell in synthetic_cells(30) if cell.points]
    document = almanac_document(many)["cells"]
    for cell, quality in zip(many, document["quality"], strict=True):
        assert (quality is None) == (cell.variant.quantization == "bf16")
        if quality:
            low, high = quality["agreement_interval"]
            assert low < quality["agreement"] < high
            assert bool(quality["flags"]) == (quality["agreement"] < 0.95)


def test_no_secret_of_a_command_or_a_log_reaches_the_page(cells: list[CellResult]) -> None:
    secret = "hf_abcdefghijklmnopqrstuvwx"
    leaky = cells[0].model_copy(update={"log_excerpt": f"using token {secret}", "cause": f"--api-key {secret}"})
    document = almanac_document([leaky], commands={leaky.cell_id: f"HF_TOKEN={secret} vllm serve"})
    assert secret not in json.dumps(document)


def test_what_is_packed_comes_out_as_it_was(cells: list[CellResult]) -> None:
    document = almanac_document(cells, synthetic_comparisons(), Offer(models=("a",)), notice="é <&>")
    assert unpacked(packed(document)) == json.loads(json.dumps(document))


def test_changes_carry_the_verdict_and_the_interval() -> None:
    changes = almanac_document([], synthetic_comparisons())["changes"]
    assert set(changes["verdict"]) == {"equivalent", "regressed"}
    assert all(
        low < change < high
        for low, change, high in zip(changes["low"], changes["change"], changes["high"], strict=True)
    )


def test_a_store_without_cells_makes_a_document_without_rows() -> None:
    assert almanac_document([])["cells"] == {}
