"""The report shows the share of the bound beside each point, and bounds and cost of a cell with their reasons."""

from experiments.schema.bound import CellBounds, CellCost, PointBound, TokenCost
from experiments.schema.result import CellResult
from tasks.reporting.cell_section import cell_section

BOUNDS = CellBounds(
    hardware="cpu", gpus=0, weights="q8_0", total_params=8_000_000, active_params=8_000_000,
    matmul_active_params=6_000_000, weight_bytes=8.5e6, kv_bytes_per_token=2048, prompt_tokens=128, context_tokens=144,
    bandwidth_gb_per_s=20.0, latency_floor_ms=0.32, reasons={"prefill_ms": "the peak is not known"},
)  # fmt: skip


def shown(cell: CellResult) -> str:
    return str(cell_section(cell, "a variant", {}))


def bounded(cell: CellResult) -> CellResult:
    """The first point attained a quarter of its bound; the others have none, and say why."""
    quarter = PointBound(share=0.254, bound_tokens_per_s=400.0, binds="weights bandwidth")
    points = [
        point.model_copy(update={"bound": PointBound(reason="no bound here") if index else quarter})
        for index, point in enumerate(cell.points)
    ]
    return cell.model_copy(update={"points": tuple(points), "bounds": BOUNDS})


def test_each_point_shows_its_share_and_what_binds_or_why_not(cells: list[CellResult]) -> None:
    page = shown(bounded(cells[0]))
    assert "Of bound" in page
    assert "25 %" in page
    assert "weights bandwidth" in page
    assert "no bound here" in page
    assert "latency floor 0.320 ms a token, at 20.0 GB/s" in page
    assert "prefill of 128 tokens: none: the peak is not known" in page


def test_a_cell_without_bounds_has_no_empty_column(cells: list[CellResult]) -> None:
    assert "Of bound" not in shown(cells[0])
    assert "Bounds and cost" not in shown(cells[0])
    assert "no bound: because" in shown(cells[0].model_copy(update={"bound_reason": "because"}))


def test_cost_is_told_per_million_tokens_with_unit_and_dollars(cells: list[CellResult]) -> None:
    at = TokenCost(input=100.0, output=900.0, total=90.0, usd_output=(0.5, 1.25))
    cost = CellCost(unit="GPU-seconds", gpus=1, saturation=at, reasons={"usd": "only one price"})
    page = shown(cells[0].model_copy(update={"cost": cost}))
    assert "at saturation: 100 GPU-seconds a million input, 900 GPU-seconds ($0.500–$1.25) a million output" in page
    assert "no usd: only one price" in page
