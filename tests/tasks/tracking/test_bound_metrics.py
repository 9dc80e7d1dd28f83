"""The share of the bound is a metric of each point that has one."""

from collections.abc import Callable

from experiments.schema.bound import PointBound
from experiments.schema.result import CellResult
from tasks.tracking.figures import point_metrics


def test_a_points_share_of_its_bound_is_a_metric_and_an_absent_one_is_not(cell: Callable[..., CellResult]) -> None:
    point = cell().points[0]
    bound = PointBound(share=0.4, bound_tokens_per_s=400.0, binds="KV bandwidth")
    metrics = point_metrics(point.model_copy(update={"bound": bound}))
    assert (metrics["share_of_bound"], metrics["bound_output_tokens_per_s"]) == (0.4, 400.0)
    for without in (point, point.model_copy(update={"bound": PointBound(reason="no")})):
        assert "share_of_bound" not in point_metrics(without)
