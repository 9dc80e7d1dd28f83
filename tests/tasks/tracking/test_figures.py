"""What of a point becomes a metric: figures that are there, with units in their names."""

from experiments.schema.load import ClosedLoop, LoadPoint, StopRule
from experiments.schema.result import PointResult, TrialSummary
from tasks.tracking.figures import point_metrics


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
