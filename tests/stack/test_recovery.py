"""What a kill or an outage leaves: no engine, no lease, nothing lost of what was measured, and states that agree."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.serving.lease import identify, is_alive
from tests.stack.conftest import (
    EXPERIMENT,
    Stack,
    engines,
    flow_processes,
    nothing_runs,
    order_of,
    results,
    trials,
    until,
)

pytestmark = pytest.mark.stack
HOST = "host-b"


def measuring(stack: Stack, file: Path) -> str:
    """The id of a run on HOST that has a load point behind it."""
    run = stack.run("measure-variant", order_of(file), HOST)
    until(lambda: trials(stack.host(HOST), file.stem))
    return run


def states(stack: Stack, file: Path) -> set[str]:
    return {one["state"] for one in results(stack.host(HOST), file.stem).values()}


def goes_on(stack: Stack, file: Path) -> None:
    """The same variant once more measures what is missing, and nothing twice."""
    before = {path: path.read_bytes() for path in trials(stack.host(HOST), file.stem)}
    stack.ends(stack.run("measure-variant", order_of(file), HOST), "COMPLETED")
    assert states(stack, file) <= {"measured", "invalid"}
    assert all(path.read_bytes() == text for path, text in before.items())
    told = stack.cells(file.stem)
    assert set(told) == set(results(stack.host(HOST), file.stem))
    assert {one["status"] for one in told.values()} == {"FINISHED"}


@contextlib.contextmanager
def away(stack: Stack, service: str) -> Iterator[None]:
    """A service is gone while the block runs: its supervisor stands still, and starts it again afterwards."""
    pid = stack.status()[service]["pid"]
    os.kill(stack.supervisor(), signal.SIGSTOP)
    try:
        os.kill(pid, signal.SIGKILL)
        yield
    finally:
        os.kill(stack.supervisor(), signal.SIGCONT)
    until(lambda: stack.status()[service]["well"])


def test_a_cancel_ends_the_engine_and_the_next_run_goes_on(stack: Stack, experiment: Path) -> None:
    run = measuring(stack, experiment)
    stack.cancel(run)
    stack.ends(run, "CANCELLED")
    until(lambda: nothing_runs(stack.host(HOST)), 60)
    until(lambda: not flow_processes(stack.host(HOST)), 60)
    assert "interrupted" in states(stack, experiment)
    goes_on(stack, experiment)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_flow_process_that_is_killed_leaves_no_engine(stack: Stack, experiment: Path, number: signal.Signals) -> None:
    run = measuring(stack, experiment)
    for pid in flow_processes(stack.host(HOST)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    until(lambda: not engines(stack.host(HOST)), 60)
    stack.ends(run, "CRASHED", "FAILED")
    until(lambda: not stack.unended())
    goes_on(stack, experiment)
    assert nothing_runs(stack.host(HOST))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_that_is_ended_leaves_no_engine_and_comes_back(
    stack: Stack, experiment: Path, number: signal.Signals
) -> None:
    """Killed, it cannot tell its flow: the kernel does."""
    run = measuring(stack, experiment)
    os.kill(stack.status()[HOST]["pid"], number)
    until(lambda: not engines(stack.host(HOST)), 60)
    stack.ends(run, "CRASHED", "FAILED")
    until(lambda: stack.status()[HOST]["well"])
    goes_on(stack, experiment)


def test_an_engine_that_is_killed_is_a_failed_cell_everywhere(stack: Stack, experiment: Path) -> None:
    run = measuring(stack, experiment)
    for pid in engines(stack.host(HOST)):
        os.kill(pid, signal.SIGKILL)
    stack.ends(run, "FAILED")
    found = results(stack.host(HOST), experiment.stem)
    (failed,) = [one for one in found.values() if one["state"] == "failed"]
    assert failed["failure_class"] == "killed"
    told = stack.cells(experiment.stem)
    assert told[failed["cell_id"]]["status"] == "FAILED"
    assert {one["status"] for cell, one in told.items() if cell != failed["cell_id"]} == {"FINISHED"}
    assert nothing_runs(stack.host(HOST))


def test_a_failed_cell_is_retried_by_the_deployment_and_counted(stack: Stack, experiment: Path) -> None:
    """The whole way: a matrix with a cell that failed, `retry-failed` on demand, and a second one that has nothing to
    do."""
    asked = {"experiments": [str(experiment)]}
    matrix = stack.run("full-matrix", {"request": asked})
    hosts = [stack.host(name) for name in ("host-a", "host-b")]
    until(lambda: any(trials(host, experiment.stem) for host in hosts))
    for host in hosts:
        for pid in engines(host):
            os.kill(pid, signal.SIGKILL)
    stack.ends(matrix, "FAILED")
    failed = [one for one in results(stack.host("control"), experiment.stem).values() if one["state"] == "failed"]
    assert [one["failure_class"] for one in failed] == ["killed"]
    for _ in range(2):
        stack.ends(stack.run("retry-failed", {"request": asked | {"now": True}}), "COMPLETED")
    here = results(stack.host("control"), experiment.stem)
    assert {one["state"] for one in here.values()} <= {"measured", "invalid"}
    (file,) = stack.host("control").glob(f"campaigns/{experiment.stem}/*/retries.json")
    assert json.loads(file.read_text())[failed[0]["cell_id"]] == 1
    told = stack.cells(experiment.stem)
    assert {one["status"] for one in told.values()} == {"FINISHED"}


def test_a_matrix_that_is_cancelled_takes_its_variants_with_it(stack: Stack, experiment: Path) -> None:
    experiment.write_text(EXPERIMENT.replace("QUANTIZATION", "[f16, q8_0, q4_k_m]"))
    matrix = stack.run("full-matrix", {"request": {"experiments": [str(experiment)]}})
    hosts = [stack.host(name) for name in ("host-a", "host-b")]
    until(lambda: any(trials(host, experiment.stem) for host in hosts))
    stack.cancel(matrix)
    stack.ends(matrix, "CANCELLED")
    sent = {"flow_runs": {"name": {"like_": experiment.stem}}, "deployments": {"name": {"any_": ["measure-variant"]}}}
    until(lambda: {one["state_type"] for one in stack.post("/flow_runs/filter", sent)} == {"CANCELLED"}, 120)
    assert len(stack.post("/flow_runs/filter", sent)) == 3
    until(lambda: all(nothing_runs(host) for host in hosts), 60)
    until(lambda: not stack.unended())


def test_a_measurement_outlives_a_restart_of_prefects_server(stack: Stack, experiment: Path) -> None:
    run = measuring(stack, experiment)
    before = stack.status()["prefect"]
    os.kill(before["pid"], signal.SIGKILL)
    until(lambda: (now := stack.status()["prefect"])["well"] and now["pid"] != before["pid"])
    stack.ends(run, "COMPLETED")
    assert set(stack.cells(experiment.stem)) == set(results(stack.host(HOST), experiment.stem))
    assert nothing_runs(stack.host(HOST))


def test_a_measurement_outlives_a_database_that_is_away_for_half_a_minute(stack: Stack, experiment: Path) -> None:
    run = measuring(stack, experiment)
    with away(stack, "postgres"):
        time.sleep(30)
    stack.ends(run, "COMPLETED")
    until(lambda: set(stack.cells(experiment.stem)) == set(results(stack.host(HOST), experiment.stem)), 120)
    assert nothing_runs(stack.host(HOST))


def test_what_mlflow_missed_is_logged_later(stack: Stack, experiment: Path) -> None:
    """Away at the end of a measurement: the results lie on the host, and `dyno sync` there tells MLflow."""
    run = measuring(stack, experiment)
    with away(stack, "mlflow"):
        stack.ends(run, "COMPLETED")
        found = results(stack.host(HOST), experiment.stem)
        assert len(found) == 2
        assert {one["state"] for one in found.values()} <= {"measured", "invalid"}
        time.sleep(10)
    assert "" in {one["mlflow_run_id"] for one in found.values()}
    done = stack.dyno("sync", "--json", store=stack.host(HOST))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["published"] >= 1
    told = stack.cells(experiment.stem)
    assert set(told) == set(found)
    assert {one["status"] for one in told.values()} == {"FINISHED"}


def test_the_stack_ends_whole(stack: Stack) -> None:
    """And starts again with what it held."""
    measured = {"deployments": {"name": {"any_": ["measure-variant"]}}}
    held = stack.post("/flow_runs/filter", measured)
    ran = {name: identify(one["pid"]) for name, one in stack.status().items()}
    assert None not in ran.values()
    assert stack.dyno("stack", "down").returncode == 0
    assert [name for name, one in ran.items() if one is not None and is_alive(one)] == []
    assert stack.dyno("stack", "status").returncode == 3
    again = stack.dyno("stack", "up")
    assert again.returncode == 0, again.stderr
    assert {one["id"] for one in held} <= {one["id"] for one in stack.post("/flow_runs/filter", measured)}
