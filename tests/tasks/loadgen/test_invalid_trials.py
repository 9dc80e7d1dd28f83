"""Each rule of validity, broken for real: on sockets, by a server or a client that does what the rule is about."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from experiments.schema.load import ClosedLoop, Constant, OpenLoop, StopRule
from tasks.loadgen.pool import Pool
from tests.fake_engine import FakeEngine
from tests.tasks.loadgen import workloads
from tests.tasks.loadgen.workloads import Done, workload

CarryOut = Callable[..., Done]


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool() as started:
        yield started


@pytest.fixture
def carry_out(pool: Pool) -> Iterator[CarryOut]:
    with FakeEngine() as engine:
        yield partial(workloads.carry_out, engine, pool=pool)


def told(done: Done, what: str) -> list[str]:
    return [reason for reason in done.summary.invalid_reasons if what in reason]


def test_a_cache_that_answers_makes_a_cold_trial_invalid(carry_out: CarryOut, tmp_path: Path) -> None:
    asked = workload(prompt_tokens=40, cache="cold")
    (reason,) = told(carry_out(tmp_path / "warm", asked, script="cached"), "cold workload")
    assert "took 12.5% of its prompt tokens from the server's cache, above 1%" in reason
    assert told(carry_out(tmp_path / "cold", asked), "cold workload") == []


def test_errors_above_one_percent_make_a_trial_invalid(carry_out: CarryOut, tmp_path: Path) -> None:
    (reason,) = told(carry_out(tmp_path / "flaky", workload(), script="flaky", requests=100), "did not complete")
    assert reason.startswith("5.0% of 100 requests did not complete (5 failed), above 1%")
    assert told(carry_out(tmp_path / "sound", workload(), requests=100), "did not complete") == []


def test_answers_shorter_than_asked_make_a_trial_invalid(carry_out: CarryOut, tmp_path: Path) -> None:
    done = carry_out(tmp_path, workload(output_tokens=9), script="ends-early", requests=20)
    assert not done.summary.valid
    assert done.complaints


def test_a_server_that_counts_other_prompt_tokens_makes_a_trial_invalid(carry_out: CarryOut, tmp_path: Path) -> None:
    """The pre-flight found the lengths right; what came after it was counted otherwise."""
    done = carry_out(tmp_path, workload(prompt_tokens=20), script="miscounts", requests=60)
    (reason,) = told(done, "realised prompt tokens")
    assert "above 1%" in reason


def test_a_server_that_slows_down_drifts(carry_out: CarryOut, tmp_path: Path) -> None:
    done = carry_out(tmp_path, workload(), script="drifts", requests=400)
    (reason,) = told(done, "throughput drifted")
    assert "by -" in reason


def test_a_window_shorter_than_its_requests_is_invalid(carry_out: CarryOut, tmp_path: Path) -> None:
    done = carry_out(tmp_path, workload(), script="late", stop=StopRule(seconds=0.3))
    assert told(done, "is shorter than the median request")


def test_a_client_that_is_held_up_is_invalid(tmp_path: Path) -> None:
    """Stopped by a signal for a third of a second: what was due then is sent late, and nothing is dropped."""
    with FakeEngine() as engine, Pool() as pool:
        (worker,) = pool.workers(1)
        halt = threading.Thread(target=held_up, args=(engine, worker.pid))
        halt.start()
        load = OpenLoop(arrivals=Constant(), rate_rps=100)
        done = workloads.carry_out(engine, tmp_path, workload(), load=load, requests=150, pool=pool)
        halt.join()
    (reason,) = told(done, "client lateness")
    assert "give the client more processes" in reason
    assert len(done.rows) == 150
    assert {row["outcome"] for row in done.rows} == {"completed"}


def held_up(engine: FakeEngine, pid: int) -> None:
    """Once the trial is under way: the pre-flight takes fewer requests than fifty."""
    while len(engine.generations) < 50:
        time.sleep(0.005)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.33)
    os.kill(pid, signal.SIGCONT)


def test_a_closed_loop_whose_client_is_held_up_is_invalid(carry_out: CarryOut, tmp_path: Path) -> None:
    with FakeEngine() as engine, Pool() as pool:
        (worker,) = pool.workers(1)
        halt = threading.Thread(target=stuttering, args=(engine, worker.pid))
        halt.start()
        load = ClosedLoop(concurrency=4)
        done = workloads.carry_out(engine, tmp_path, workload(), load=load, requests=200, pool=pool, script="steady")
        halt.join()
    assert told(done, "client turnaround") or told(done, "share a stamp")


def stuttering(engine: FakeEngine, pid: int) -> None:
    for number in range(40, 120, 8):
        while len(engine.generations) < number:
            time.sleep(0.002)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.03)
        os.kill(pid, signal.SIGCONT)
