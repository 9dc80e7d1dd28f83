"""The search, on servers whose capacity is known: what it certifies and refutes is true, within its budget."""

import math
from pathlib import Path

import numpy as np
import pytest

from engine_adapters import ADAPTERS
from experiments.schema.load import CapacitySearch, LoadPlan, OpenLoop, Poisson
from experiments.schema.read import read_experiment
from experiments.schema.slo import SLO, parse_slo
from tasks.analysis.cell import summarize_cell
from tasks.analysis.goodput import judge
from tasks.analysis.intervals import effective_n_at
from tasks.analysis.relaxation import relaxation_s
from tasks.analysis.search import spent_s
from tasks.analysis.sweep import next_point
from tests.tasks.analysis.queues import Queue, swept

SINGLE = Queue(1, 0.02, "exponential")
MANY = Queue(8, 0.1)


def true_capacity(queue: Queue, slo: SLO) -> float:
    """M/M/1: the time in the system is exponential with rate μ − λ. Else 200,000 customers, by bisection."""
    if queue == SINGLE:
        return queue.rate_rps + math.log(1 - slo.percentile / 100) / (slo.bound_ms / 1000)
    gaps = np.random.default_rng(0).exponential(size=200_000)
    low, high = 0.0, queue.rate_rps
    for _ in range(14):
        rate = (low + high) / 2
        due = np.cumsum(gaps) / rate
        _, last = queue.open_loop(due, np.random.default_rng(1))
        holds = np.quantile((last - due)[5000:], slo.percentile / 100) < slo.bound_ms / 1000
        low, high = (rate, high) if holds else (low, rate)
    return low


@pytest.mark.parametrize(
    ("queue", "slo", "width"),
    [(MANY, "e2e:p90<200ms", 1.6), (SINGLE, "e2e:p90<200ms", 2.2)],
    ids=["M/D/8", "M/M/1"],
)
def test_the_capacity_lies_between_what_is_certified_and_what_is_refuted(queue: Queue, slo: str, width: float) -> None:
    """The flatter the latency curve, the wider what the same budget can tell."""
    asked = parse_slo(slo)
    truth = true_capacity(queue, asked)
    plan = LoadPlan(capacity=CapacitySearch(budget_seconds=240, resolution=0.15))
    widths = []
    for seed in range(3):
        points = swept(queue, plan, [asked], seed)
        (found,) = summarize_cell(points, slos=[asked], plan=plan).capacities
        assert found.certified_rps is not None
        assert found.refuted_rps is not None
        assert found.certified_rps <= truth <= found.refuted_rps
        assert spent_s(points) <= 240
        widths.append(found.refuted_rps / found.certified_rps)
    assert np.median(widths) < width


def at(rate: float, queue: Queue, window_s: float, seed: int) -> np.ndarray:
    """Times in the system, in ms, of those that came after a sixth of the window."""
    random = np.random.default_rng([seed, 5])
    due = np.cumsum(random.exponential(1 / rate, int(rate * window_s * 7 / 6)))
    _, last = queue.open_loop(due, random)
    return np.asarray((last - due)[len(due) // 7 :] * 1000)


@pytest.mark.parametrize(("queue", "slo"), [(MANY, "e2e:p90<150ms"), (SINGLE, "e2e:p90<100ms")])
def test_at_its_very_capacity_a_server_is_certified_as_seldom_as_the_level_says(queue: Queue, slo: str) -> None:
    """With as many witnesses as relaxation times in the window. Without that bound it is one look in twenty."""
    asked = parse_slo(slo)
    rate = true_capacity(queue, asked)
    variation = 1.0 + (1.0 if queue.kind == "exponential" else 0.0)
    memory = relaxation_s(rate, queue.rate_rps, variation=variation, residence_s=1.2 * queue.service_s)
    verdicts: dict[bool, list[str]] = {True: [], False: []}
    for seed in range(200):
        latency = at(rate, queue, 120 * memory, seed)
        over, worth = float((latency >= asked.bound_ms).mean()), effective_n_at(latency, asked.percentile / 100)
        for is_bounded, n in ((True, min(worth, 120)), (False, worth)):
            verdicts[is_bounded].append(judge(n, over, asked.percentile, 0.01))
    assert verdicts[True].count("certified") <= 5  # 2 expected at most; more than 5 has a probability of 2 %
    assert verdicts[True].count("refuted") <= 5
    assert verdicts[False].count("certified") >= verdicts[True].count("certified")


def test_without_budget_nothing_is_looked_for_and_little_of_it_is_spent_on_little() -> None:
    slo = parse_slo("e2e:p90<200ms")
    points = swept(MANY, LoadPlan(capacity=CapacitySearch(budget_seconds=0.5)), [slo], 1)
    assert not [point for point in points if point.point.role == "capacity"]


def test_looks_begin_after_a_ramp_and_name_their_slo() -> None:
    slo = parse_slo("e2e:p90<200ms")
    points = swept(MANY, LoadPlan(capacity=CapacitySearch(budget_seconds=60, max_looks=2)), [slo], 2)
    looks = [point for point in points if point.point.role == "capacity"]
    assert len(looks) == 2
    assert all(
        look.point.slo == str(slo) and 0 < look.point.stop.ramp_s < (look.point.stop.seconds or 0) for look in looks
    )
    assert all(isinstance(look.point.load, OpenLoop) and look.point.load.arrivals == Poisson() for look in looks)


def test_a_search_that_another_launch_left_open_begins_anew_and_one_that_it_finished_does_not() -> None:
    """Looks of two launches are never pooled."""
    slo = parse_slo("e2e:p90<200ms")
    plan = LoadPlan(capacity=CapacitySearch(budget_seconds=60, max_looks=4))
    whole = [point.model_copy(update={"launch": 1}) for point in swept(MANY, plan, [slo], 3)]
    assert next_point(plan, whole, slos=[slo], launch=2) is None
    looks = [point for point in whole if point.point.role == "capacity"]
    cut = [point for point in whole if point.point.role != "capacity"] + looks[:1]
    again = next_point(plan, cut, slos=[slo], launch=2)
    assert again is not None
    assert again.role == "capacity"
    mixed = summarize_cell(
        [*cut, *(look.model_copy(update={"launch": 2}) for look in looks[:1])], slos=[slo], plan=plan
    )
    assert any("launches 1, 2" in reason for reason in mixed.reasons)


def test_the_quickstart_certifies_its_limits_on_a_quiet_machine_within_four_minutes() -> None:
    """Two servers of 44 ms: about as fast as what it measures. A certificate may be missed by chance, never wrong."""
    quickstart = read_experiment(Path("experiments/quickstart.yaml"), ADAPTERS)
    server, cells = Queue(2, 0.044), len(list(quickstart.cells()))
    truth = [true_capacity(server, slo) for slo in quickstart.slos]
    certified = []
    for seed in range(4):
        points = swept(server, quickstart.load_plan, quickstart.slos, seed)
        assert cells * sum(point.summary.window_s for point in points) < 240
        found = summarize_cell(points, slos=quickstart.slos, plan=quickstart.load_plan).capacities
        certified += [(one.certified_rps, most) for one, most in zip(found, truth, strict=True) if one.certified_rps]
    assert len(certified) >= 6
    assert all(rate <= most for rate, most in certified)
