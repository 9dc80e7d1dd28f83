"""What lies between launches stands in the report where there is something."""

from experiments.schema.result import BetweenLaunches, Bucket, CellResult, Derating, LaunchSummary, WarmUpResult
from tasks.reporting.cell_section import cell_section
from tasks.reporting.tables import result_rows
from tasks.tracking.figures import between_metrics


def test_intervals_deratings_warm_ups_and_buckets_are_shown(cells: list[CellResult]) -> None:
    cell = cells[0]
    point = cell.points[0]
    told = Bucket(start_s=-5, seconds=5, requests=12, output_tokens_per_s=77, ttft_p50_ms=41.5)
    ramp = point.model_copy(update={"summary": point.summary.model_copy(update={"buckets": (told,)}), "launch": 4})
    rich = cell.model_copy(
        update={
            "points": (ramp, *cell.points[1:]),
            "between_launches": {"saturation_rps": BetweenLaunches(launches=3, mean=20, low=15.1, high=24.9)},
            "launches": (LaunchSummary(launches=(4, 5), headlines={"saturation_rps": 19.0}),),
            "deratings": (Derating(arrivals="poisson", figure="ttft", reason="no rate is under both"),),
            "warm_ups": (WarmUpResult(launch=4, is_steady=False, seconds=60),),
        }
    )
    shown = str(cell_section(rich, "f16", {}))
    for text in (
        "15.1–24.9 (n = 3)",
        "launch 4 and 5",
        "no rate is under both",
        "launch 4 was not steady after 60.0 s",
    ):
        assert text in shown
    assert "-5 (ramp)" in shown
    assert "41.5" in shown
    assert "synchronous, launch 4" in shown
    (row,) = result_rows([rich])
    assert row["between_launches"]["saturation_rps"]["high"] == 24.9
    assert between_metrics(rich)["saturation_rps/low"] == 15.1
    plain = str(cell_section(cell, "f16", {}))
    assert "Between launches" not in plain
    assert "constant arrivals" not in plain
