"""What of a point becomes a metric: figures that are there, with units in their names."""

from collections.abc import Callable

from experiments.schema.bound import CellCost, TokenCost
from experiments.schema.load import ClosedLoop, LoadPoint, StopRule
from experiments.schema.result import CellResult, PointResult, TrialSummary
from tasks.tracking.figures import cost_metrics, point_metrics


def point(**figures: object) -> PointResult:
    summary = TrialSummary.model_validate(
        {"method_version": "1", "requests": 9, "outcomes": {}, "valid": True, "window_s": 5.0} | figures
    )
    load, stop = ClosedLoop(concurrency=4), StopRule(requests=9)
    where = LoadPoint(step=2, role="saturation", load=load, stop=stop)
    return PointResult(point=where, summary=summary, directory="02", started_at="")


def test_energy_and_what_engine_and_gpu_said_are_metrics_of_the_point() -> None:
    found = point_metrics(
        point(
            energy_j=5120.0,
            joules_per_output_token=0.4,
            gpu={"mean_power_w": 512.0},
            engine={"mean_running_requests": 3.5, "preemptions": 0.0},
        )
    )
    assert found["energy_j"] == 5120.0
    assert found["joules_per_output_token"] == 0.4
    assert found["gpu/mean_power_w"] == 512.0
    assert found["engine/mean_running_requests"] == 3.5
    assert found["engine/preemptions"] == 0.0


def test_without_a_gpu_energy_is_no_metric() -> None:
    assert not [name for name in point_metrics(point()) if "energy" in name or "joules" in name or "/" in name]


def test_turns_are_metrics_that_count_from_one() -> None:
    figures = {"ttft_ms": {"n": 9, "p50": 40.0, "p95": 55.0}, "prompt_tokens": {"n": 9, "p50": 300.0}}
    turn = {"turn": 1, "requests": 9, "outcomes": {}, "cache_hit_ratio": 0.8, "figures": figures}
    found = point_metrics(point(turns=[turn]))
    told = {name: value for name, value in found.items() if name.startswith("turn_")}
    assert told == {
        "turn_02/requests": 9.0, "turn_02/cache_hit_ratio": 0.8, "turn_02/ttft_p50_ms": 40.0,
        "turn_02/ttft_p95_ms": 55.0, "turn_02/prompt_p50_tokens": 300.0,
    }  # fmt: skip


def test_what_tokens_take_is_a_metric_under_the_device_that_is_counted(cell: Callable[..., CellResult]) -> None:
    cost = CellCost(
        unit="GPU-seconds", gpus=2, saturation=TokenCost(total=800.0, usd_total=(0.4, 0.9)),
        capacities={"ttft_p95_300ms": TokenCost(total=1000.0)},
    )  # fmt: skip
    assert cost_metrics(cell(cost=cost)) == {
        "gpu_seconds_per_million_tokens/saturation": 800.0, "gpu_seconds_per_million_tokens/ttft_p95_300ms": 1000.0,
        "usd_per_million_tokens/saturation/low": 0.4, "usd_per_million_tokens/saturation/high": 0.9,
    }  # fmt: skip
    assert cost_metrics(cell()) == {}
