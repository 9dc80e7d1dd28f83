"""Cost: seconds of devices per million tokens, dollars under a price, replicas for a demand."""

from collections.abc import Callable
from typing import Any

import pytest

from experiments.schema.hardware import Hardware
from experiments.schema.load import LoadPlan
from experiments.schema.model import Model, SyntheticSource
from experiments.schema.prices import Price, price_of
from experiments.schema.read import catalog
from experiments.schema.result import CellResult, CellState, PointResult
from experiments.schema.slo import parse_slo
from experiments.schema.variant import Quantization, Variant
from experiments.schema.workload import Workload
from tasks.analysis.cell import judge_cell
from tasks.analysis.cost import replicas_for, with_cost

EIGHT = Hardware.model_validate(catalog("hardware")["h100-sxm-x8"])
CPU = Hardware(name="cpu", gpus=0)
MakePoint = Callable[..., PointResult]
SLO = parse_slo("ttft:p95<300ms")


@pytest.fixture
def cell(point: MakePoint) -> CellResult:
    """At saturation 40 rps, 4000 tokens/s out and 36,000 in; 24 rps are certified, at 2400 out and 21,600 in."""
    closed = [(1, 10), (2, 20), (4, 40)]
    made = [point(i, "saturation" if i else "synchronous", n, completed_rps=rps) for i, (n, rps) in enumerate(closed)]
    made += [point(3 + i, "open_loop", rate, over=over) for i, (rate, over) in enumerate([(24.0, 0), (34.0, 60)])]
    rates = {p.point.step: (p.point.load.rate_rps if p.point.load.kind == "open_loop" else p.summary.completed_rps)
             for p in made}  # fmt: skip
    points = tuple(p.model_copy(update={"summary": p.summary.model_copy(update=_tokens(rates[p.point.step] or 0.0))})
                   for p in made)  # fmt: skip
    variant = Variant(
        engine="vllm", engine_version="1", model=Model(name="m", source=SyntheticSource(kind="synthetic")),
        quantization=Quantization.BF16, hardware="h100-sxm-x8",
    )  # fmt: skip
    measured = CellResult(
        cell_id="c", experiment="e", campaign="e-1", launch=1, variant=variant, state=CellState.MEASURED,
        workload=Workload(name="w", prompt_tokens=900, output_tokens=100), points=points,
    )  # fmt: skip
    return judge_cell(measured, [SLO], LoadPlan())


def _tokens(rps: float) -> dict[str, Any]:
    return {"output_tokens_per_s": 100 * rps, "input_tokens_per_s": 900 * rps, "total_tokens_per_s": 1000 * rps}


def test_gpu_seconds_need_no_price(cell: CellResult) -> None:
    """Eight GPUs at 4000 tokens/s: 8 · 10⁶ / 4000 = 2000 GPU-seconds a million output tokens."""
    bare = EIGHT.model_copy(update={"usd_per_hour": None})
    cost = with_cost(cell, bare, {}).cost
    assert cost is not None
    assert cost.saturation is not None
    assert (cost.unit, cost.gpus) == ("GPU-seconds", 8)
    assert cost.saturation.output == pytest.approx(2000)
    assert cost.saturation.input == pytest.approx(2000 / 9)
    assert cost.saturation.total == pytest.approx(200)
    assert cost.saturation.usd_output is None
    assert "no price is known" in cost.reasons["usd"]


def test_at_the_certified_capacity_the_same_tokens_cost_more(cell: CellResult) -> None:
    """24 rps of 40: 8 · 10⁶ / 2400 GPU-seconds."""
    found = with_cost(cell, EIGHT, {})
    assert found.cost is not None
    assert found.cost.capacities["ttft_p95_300ms"].output == pytest.approx(8e6 / 2400)
    assert found.headlines["gpu_seconds_per_million_output_tokens"] == pytest.approx(2000)
    assert found.headlines["gpu_seconds_per_million_output_tokens/ttft_p95_300ms"] == pytest.approx(8e6 / 2400)


def test_a_persons_price_stands_above_the_catalogs_range(cell: CellResult) -> None:
    """$36 an hour for the eight is a cent a second: 250 seconds a million output tokens are $2.50."""
    own = with_cost(cell, EIGHT, {"h100-sxm-x8": 36.0, "a10": 1.0})
    assert own.cost is not None
    assert own.cost.saturation is not None
    assert own.cost.saturation.usd_output == pytest.approx((2.5, 2.5))
    assert own.headlines["usd_per_million_output_tokens"] == pytest.approx(2.5)
    assert own.cost.price_source == "given"
    listed = with_cost(cell, EIGHT, {}).cost
    assert listed is not None
    assert listed.usd_per_hour == (15.92, 40.0)
    assert "2026-05" in listed.price_source
    assert "usd_per_million_output_tokens" not in with_cost(cell, EIGHT, {}).headlines, "a range is no headline"


def test_a_cpu_without_a_price_has_no_cost_and_says_why(cell: CellResult) -> None:
    found = with_cost(cell, CPU, {})
    assert found.cost is not None
    assert (found.cost.saturation, found.cost.unit) == (None, None)
    assert "no price per hour" in found.cost.reasons["cost"]
    assert found.headlines == cell.headlines


def test_a_cpu_with_a_price_counts_machine_seconds(cell: CellResult) -> None:
    found = with_cost(cell, CPU, {"cpu": 0.36})
    assert found.cost is not None
    assert found.cost.saturation is not None
    assert found.cost.unit == "machine-seconds"
    assert found.cost.saturation.output == pytest.approx(250)
    assert found.cost.saturation.usd_output == pytest.approx((0.025, 0.025))
    assert found.headlines["machine_seconds_per_million_output_tokens"] == pytest.approx(250)


def test_replicas_carry_the_demand_with_headroom() -> None:
    """100 rps over 10 rps each with a fifth free: 12.5, so 13 of 8 GPUs; Little: 100 rps · 2 s = 200 in flight."""
    need = replicas_for(100, 10, headroom=0.2, gpus=8, price=Price(20.0, 20.0, "given"), residence_s=2.0)
    assert (need.replicas, need.gpus, need.in_flight) == (13, 104, 200)
    assert need.utilization == pytest.approx(100 / 130)
    assert need.usd_per_day == pytest.approx((13 * 24 * 20, 13 * 24 * 20))


@pytest.mark.parametrize(("demand", "replicas"), [(0.1, 1), (8.0, 1), (8.1, 2), (16.0, 2)])
def test_a_demand_that_just_fits_takes_no_replica_more(demand: float, replicas: int) -> None:
    assert replicas_for(demand, 10, headroom=0.2, gpus=1).replicas == replicas


def test_where_nobody_has_a_price_there_is_none() -> None:
    assert price_of(Hardware(name="a10", gpus=1), {"l4": 1.0}) is None
