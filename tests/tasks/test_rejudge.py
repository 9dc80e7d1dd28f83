"""Other SLOs on what was measured: the verdicts are those that a new measurement of the same records would have had."""

from pathlib import Path

import numpy as np

from experiments.schema.load import LoadPlan
from experiments.schema.result import CellResult, CellState
from experiments.schema.slo import parse_slo
from experiments.schema.variant import Variant
from tasks.campaigns.campaign import open_campaign
from tasks.loadgen.record import write_records
from tasks.rejudge import rejudge
from tests.tasks.analysis.queues import WORKLOAD, Queue, measured_with_records
from tests.tasks.analysis.queues import swept as swept_points


def test_kept_cells_are_judged_by_the_slos_of_now_from_their_records(variant: Variant, tmp_path: Path) -> None:
    queue, old, new = Queue(4, 0.05), parse_slo("e2e:p95<900ms"), parse_slo("e2e:p90<120ms")
    campaign = open_campaign(tmp_path, "e")
    plan = LoadPlan()
    points = []
    for point in swept_points(queue, plan, [old], 1):
        result, table, window = measured_with_records(
            queue, point.point, [old], np.random.default_rng(point.point.step)
        )
        folder = campaign.launch_folder("c", 1) / result.directory
        folder.mkdir(parents=True)
        write_records(folder / "requests.parquet", table)
        points.append(result.model_copy(update={"launch": 1, "window_ns": window}))
    cell = CellResult(
        cell_id="c", experiment="e", campaign="e-1", launch=1, variant=variant, workload=WORKLOAD,
        state=CellState.MEASURED, points=tuple(points), mlflow_run_id="published",
    )  # fmt: skip
    campaign.save(cell)
    (again,) = rejudge(campaign, ["c", "not-there"], (new,), plan)
    for point, before in zip(again.points, points, strict=True):
        fresh, _, _ = measured_with_records(queue, point.point, [new], np.random.default_rng(point.point.step))
        assert point.summary == fresh.summary
        assert point.summary.latencies == before.summary.latencies
    assert [capacity.slo for capacity in again.capacities] == [str(new)]
    assert again.mlflow_run_id == "", "MLflow is told again"
    assert campaign.result("c") == again
    assert rejudge(campaign, ["c"], (new,), plan) == []
