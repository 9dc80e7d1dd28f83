"""`dyno doctor`: what the instrument can offer on this machine, beside what an experiment needs of it."""

from dataclasses import asdict
from typing import Any

from experiments.schema.experiment import Experiment
from experiments.schema.result import PointResult
from tasks.campaigns.campaign import open_campaign
from tasks.campaigns.home import open_home
from tasks.loadgen.doctor import STREAMS, Diagnosis, run_doctor

Needs = dict[str, float | None]


def diagnose(experiment: Experiment | None, *, seconds: float) -> dict[str, Any]:
    """The diagnosis, the needs, and for each need whether it is met (None: not known before it is measured)."""
    needs = needs_of(experiment) if experiment else {}
    streams = needs.get("streams")
    diagnosis = run_doctor(streams=sorted({*STREAMS, int(streams or 1)}), seconds=seconds)
    return {**asdict(diagnosis), "needs": needs, "met": {name: _met(diagnosis, name, needs[name]) for name in needs}}


def needs_of(experiment: Experiment) -> Needs:
    """Streams by the load plan; rates and events as they were measured before, in this store."""
    campaign = open_campaign(open_home().campaigns, experiment.name)
    results = [result for cell in experiment.cells() if (result := campaign.result(cell.id)) is not None]
    points = [point for result in results for point in result.points]
    return {
        "streams": float(experiment.load_plan.saturation.max_concurrency),
        "events_per_s": _largest(points, "output_tokens_per_s"),
        "rate_rps": _largest(points, "offered_rps"),
    }


def _largest(points: list[PointResult], figure: str) -> float | None:
    return max((value for p in points if (value := getattr(p.summary, figure)) is not None), default=None)


def _met(diagnosis: Diagnosis, name: str, need: float | None) -> bool | None:
    return None if need is None else bool(getattr(diagnosis, name) >= need)
