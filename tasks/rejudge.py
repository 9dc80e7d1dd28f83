"""Other SLOs on what was measured: judged from the stored records, and nothing is measured again."""

import logging
from collections.abc import Sequence

from experiments.schema.load import LoadPlan
from experiments.schema.result import CellResult, CellState, PointResult
from experiments.schema.slo import SLO
from tasks.analysis.cell import judge_cell
from tasks.analysis.columns import read_columns
from tasks.analysis.goodput import joint_attainment, slo_attainments
from tasks.campaigns.campaign import Campaign
from tasks.loadgen.record import read_records
from tasks.weigh import weighed

log = logging.getLogger("dyno.analyse")


def rejudge(campaign: Campaign, cell_ids: Sequence[str], slos: tuple[SLO, ...], plan: LoadPlan) -> list[CellResult]:
    """The kept cells that were held against other SLOs, held against these and saved. MLflow is told anew."""
    changed = []
    for cell_id in cell_ids:
        result = campaign.result(cell_id)
        if result is None or not result.points or _are_held_against(result.points, slos):
            continue
        points = tuple(held_against(campaign, cell_id, point, slos) for point in result.points)
        state = CellState.MEASURED if result.state is CellState.INVALID else result.state
        again = result.model_copy(update={"points": points, "state": state, "mlflow_run_id": ""})
        changed.append(weighed(judge_cell(again, slos, plan)))
        campaign.save(changed[-1])
    if changed:
        log.info("%d cells are judged again by other SLOs, from their records", len(changed))
    return changed


def _are_held_against(points: Sequence[PointResult], slos: Sequence[SLO]) -> bool:
    asked = [str(slo) for slo in slos]
    return all([seen.slo for seen in point.summary.slos] == asked for point in points)


def held_against(campaign: Campaign, cell_id: str, point: PointResult, slos: Sequence[SLO]) -> PointResult:
    """The point with the attainment of these SLOs, from its records; as it is where they are gone."""
    file = campaign.launch_folder(cell_id, point.launch) / point.directory / "requests.parquet"
    if _are_held_against([point], slos) or not file.exists():
        return point
    columns = read_columns(read_records(file), point.window_ns)
    goodput = joint_attainment(columns, slos)
    held = {
        "slos": slo_attainments(columns, slos, overloaded=point.point.role == "overloaded"),
        "goodput_rps": goodput[0] if goodput else None,
        "attainment": goodput[1] if goodput else None,
    }
    return point.model_copy(update={"summary": point.summary.model_copy(update=held)})
