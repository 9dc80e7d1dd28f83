"""Schedules: what is promised of arrivals holds for any seed, and for any number of processes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_adapters.base import RequestDialect
from experiments.schema.load import ArrivalProcess, ClosedLoop, Constant, Gamma, OpenLoop, Poisson, StopRule
from experiments.schema.workload import Workload
from tasks.loadgen.plan import Endpoint, TrialPlan
from tasks.loadgen.schedule import make_schedule

SEEDS = st.integers(0, 2**63)
WORKLOAD = Workload(name="w", prompt_tokens=7, output_tokens=3)


def plan(load: OpenLoop | ClosedLoop, stop: StopRule, *, seed: int = 0, processes: int | None = None) -> TrialPlan:
    endpoint = Endpoint("http://127.0.0.1:1", "m")
    return TrialPlan(endpoint, RequestDialect(), WORKLOAD, load, stop, seed=seed, processes=processes)


def due_s(arrivals: ArrivalProcess, rate_rps: float, stop: StopRule, seed: int = 0) -> list[float]:
    due = make_schedule(plan(OpenLoop(arrivals=arrivals, rate_rps=rate_rps), stop, seed=seed)).due_ns
    assert due is not None
    return [at / 1e9 for at in due.tolist()]


@given(rate=st.floats(0.1, 20_000), requests=st.integers(2, 3000), seed=SEEDS)
def test_constant_gaps_are_equal(rate: float, requests: int, seed: int) -> None:
    due = due_s(Constant(), rate, StopRule(requests=requests), seed)
    assert len(due) == requests
    for k, at in enumerate(due):
        assert abs(at - k / rate) <= 1e-9 + 1e-12 * at  # to the nanosecond, and never drifting


@given(rate=st.integers(1, 3000), seconds=st.integers(1, 5))
def test_a_constant_rate_offers_rate_times_seconds_requests(rate: int, seconds: int) -> None:
    assert len(due_s(Constant(), rate, StopRule(seconds=seconds))) == rate * seconds


def dispersion(due: list[float], *, counts_of_s: float, until_s: float) -> float:
    """Variance of counts over their mean: 1 for Poisson."""
    counts = np.bincount((np.array(due) / counts_of_s).astype(int), minlength=int(until_s / counts_of_s))
    return float(counts.var(ddof=1) / counts.mean())


@given(seed=SEEDS, rate=st.floats(50, 500))
def test_poisson_arrivals_have_dispersion_1(seed: int, rate: float) -> None:
    due = due_s(Poisson(), rate, StopRule(seconds=400), seed)
    # 4000 counts: a standard error of √(2/4000) = 0.022; six of them are never seen.
    assert abs(dispersion(due, counts_of_s=0.1, until_s=400) - 1) < 6 * math.sqrt(2 / 4000)
    assert abs(len(due) / 400 - rate) < 6 * math.sqrt(rate / 400)


@given(seed=SEEDS, rate=st.floats(50, 500))
def test_poisson_gaps_are_exponential(seed: int, rate: float) -> None:
    gaps = np.diff(due_s(Poisson(), rate, StopRule(requests=20_000), seed)) * rate
    for quantile in (0.1, 0.5, 0.9):
        x = -math.log(1 - quantile)
        assert abs((gaps <= x).mean() - quantile) < 6 * math.sqrt(quantile * (1 - quantile) / 20_000)


@given(seed=SEEDS, shape=st.floats(0.2, 8))
def test_gamma_gaps_have_the_shape_asked_for(seed: int, shape: float) -> None:
    gaps = np.diff(due_s(Gamma(shape=shape), 100, StopRule(requests=50_000), seed)) * 100
    assert abs(gaps.mean() - 1) < 6 / math.sqrt(50_000 * shape)
    # Var of the sample variance of a Gamma of mean 1: (2 + 6/k)/(k²·n).
    assert abs(gaps.var() - 1 / shape) < 7 * math.sqrt((2 + 6 / shape) / 50_000) / shape


@given(seed=SEEDS, processes=st.integers(1, 64))
def test_the_schedule_does_not_know_how_many_processes_carry_it_out(seed: int, processes: int) -> None:
    load, stop = OpenLoop(arrivals=Poisson(), rate_rps=80), StopRule(seconds=3)
    alone, split = (make_schedule(plan(load, stop, seed=seed, processes=n)).due_ns for n in (1, processes))
    assert alone is not None
    assert split is not None
    assert alone.tolist() == split.tolist()


def test_another_seed_is_another_schedule() -> None:
    assert due_s(Poisson(), 10, StopRule(requests=5), 1) != due_s(Poisson(), 10, StopRule(requests=5), 2)


def test_requests_and_seconds_cut_the_same_stream() -> None:
    by_seconds = due_s(Poisson(), 100, StopRule(seconds=5), seed=3)
    by_requests = due_s(Poisson(), 100, StopRule(requests=len(by_seconds)), seed=3)
    assert by_seconds == by_requests


def test_a_ramp_lets_the_rate_rise_linearly_and_stays_out_of_the_window() -> None:
    schedule = make_schedule(plan(OpenLoop(arrivals=Constant(), rate_rps=1000), StopRule(seconds=6, ramp_s=2)))
    assert schedule.due_ns is not None
    due = schedule.due_ns / 1e9
    assert [int(((due >= a) & (due < a + 0.5)).sum()) for a in (0, 0.5, 1, 1.5)] == pytest.approx(
        [62.5, 187.5, 312.5, 437.5], abs=1.5
    )
    assert np.diff(due[due > 2]) == pytest.approx(1e-3, abs=2e-9)
    assert [schedule.in_window(at) for at in (1_999_999_999, 2_000_000_000)] == [False, True]


@given(seconds=st.floats(0.01, 3), ramp=st.floats(0, 3), rate=st.floats(0.5, 300), seed=SEEDS)
def test_nothing_is_due_after_the_end(seconds: float, ramp: float, rate: float, seed: int) -> None:
    due = due_s(Poisson(), rate, StopRule(seconds=seconds, ramp_s=ramp), seed)
    assert due == sorted(due)
    assert all(0 <= at < seconds for at in due)


def test_all_requests_of_a_counted_trial_are_in_its_window() -> None:
    schedule = make_schedule(plan(OpenLoop(arrivals=Poisson(), rate_rps=10), StopRule(requests=20, ramp_s=1)))
    assert schedule.due_ns is not None
    assert all(schedule.in_window(at) for at in schedule.due_ns.tolist())


def test_users_of_a_closed_loop_come_evenly_over_the_ramp() -> None:
    schedule = make_schedule(plan(ClosedLoop(concurrency=4), StopRule(seconds=10, ramp_s=2)))
    assert schedule.due_ns is None
    assert schedule.user_due_ns.tolist() == [0, 500_000_000, 1_000_000_000, 1_500_000_000]
    assert (schedule.count, schedule.until_ns) == (None, 10_000_000_000)


def test_each_request_of_a_closed_loop_has_its_lengths() -> None:
    schedule = make_schedule(plan(ClosedLoop(concurrency=4), StopRule(requests=9)))
    assert schedule.prompt_tokens.tolist() == [7] * 9
    assert schedule.output_tokens.tolist() == [3] * 9
