"""`dyno doctor`: what the instrument can offer on this machine, beside what an experiment needs of it."""

from dataclasses import asdict
from typing import Any

from experiments.schema.experiment import Experiment
from experiments.schema.result import PointResult
from tasks.campaigns.campaign import open_campaign
from tasks.campaigns.home import Home, open_home
from tasks.campaigns.machine_file import keep_bandwidth, known_bandwidth
from tasks.loadgen.doctor import STREAMS, Diagnosis, run_doctor
from tasks.loadgen.memory_bandwidth import measure_memory_bandwidth
from tasks.serving.provenance import machine

Needs = dict[str, float | None]


def diagnose(experiment: Experiment | None, *, seconds: float) -> dict[str, Any]:
    """The diagnosis, the needs, and for each need whether it is met (None: not known before it is measured)."""
    needs = needs_of(experiment) if experiment else {}
    streams = needs.get("streams")
    diagnosis = run_doctor(streams=sorted({*STREAMS, int(streams or 1)}), seconds=seconds)
    met = {name: _met(diagnosis, name, needs[name]) for name in needs}
    return {**asdict(diagnosis), "needs": needs, "met": met, "memory_bandwidth": measure_bandwidth(open_home())}


def measured_machine(home: Home) -> dict[str, object]:
    """The machine for the record, with its memory bandwidth where that was measured."""
    known = known_bandwidth(home, machine())
    return machine() | ({"memory_bandwidth": known} if known else {})


def measure_bandwidth(home: Home) -> list[dict[str, float]]:
    """Measured now, and kept in the home's machine.json; the best that was ever measured here."""
    measured: list[dict[str, float]] = [asdict(one) for one in measure_memory_bandwidth()]
    keep_bandwidth(home, machine(), measured)
    return known_bandwidth(home, machine())


def known_here() -> list[dict[str, float]]:
    """What was measured of this machine, for this home."""
    return known_bandwidth(open_home(), machine())


def know_bandwidth(home: Home) -> None:
    """Measured once a machine: two seconds."""
    if not known_bandwidth(home, machine()):
        measure_bandwidth(home)


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
