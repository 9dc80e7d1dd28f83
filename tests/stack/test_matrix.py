"""The stack for real: a matrix over two hosts of which one worker dies; a release, its comparison and its verdict."""

import json
import os
import signal
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.stack.conftest import EXPERIMENT, Stack, command_line, nothing_runs, processes, results, trials, until

pytestmark = pytest.mark.stack


def listeners(pids: set[int]) -> set[str]:
    """The addresses, in the kernel's hexadecimal, on which these processes listen."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                inodes.add(os.readlink(link))
            except OSError:
                continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                found.add(fields[1].rpartition(":")[0])
    return found


def descendants(root: int) -> set[int]:
    found, left = {root}, [root]
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents.setdefault(int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]), []).append(
                int(entry.name)
            )
        except OSError:
            continue
    while left:
        below = parents.get(left.pop(), [])
        found |= set(below)
        left += below
    return found


def test_everything_is_well_listens_on_loopback_only_and_asks_who_it_is(stack: Stack) -> None:
    assert all(one["well"] for one in stack.status().values())
    assert set(stack.status()) == {"postgres", "redis", "prefect", "mlflow", "host-a", "host-b", "control"}
    assert listeners(descendants(stack.supervisor())) == {"0100007F"}
    mlflow = stack.environment["MLFLOW_TRACKING_URI"]
    prefect = stack.environment["PREFECT_API_URL"]
    assert httpx.get(f"{mlflow}/api/2.0/mlflow/experiments/search?max_results=1").status_code == 401
    assert httpx.get(f"{mlflow}/api/2.0/mlflow-artifacts/artifacts").status_code == 401
    assert httpx.post(f"{prefect}/flow_runs/filter", json={}).status_code == 401
    assert httpx.post(f"{prefect}/flow_runs/filter", json={}, auth=("admin", "wrong")).status_code == 401


def test_passwords_are_in_private_files_only(stack: Stack) -> None:
    passwords = json.loads((stack.home / "stack" / "passwords.json").read_text()).values()
    assert len(set(passwords)) == 5
    for pid in descendants(stack.supervisor()):
        assert not any(password in word for word in command_line(pid) for password in passwords)
    for file in (*(stack.home / "logs").glob("*.log"), *(stack.home / "stack").glob("*")):
        if file.is_file() and any(password in file.read_text(errors="replace") for password in passwords):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE((stack.home / "stack").stat().st_mode) == 0o700


def test_what_is_scheduled_gets_its_runs(stack: Stack) -> None:
    """The scheduler works with the libraries as they are locked: a run of the hourly watcher is due within the hour."""
    ask = {
        "deployments": {"name": {"any_": ["watch-releases"]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
    }
    until(lambda: stack.post("/flow_runs/filter", ask), 150)


def test_deployments_that_measure_nothing_run_on_their_workers(stack: Stack) -> None:
    """The watcher's first look announces nothing."""
    watched = stack.run("watch-releases", {"request": {"engines": ["llama_cpp"]}})
    published = stack.run("publish", {"request": {}})
    for run in (watched, published):
        stack.ends(run, "COMPLETED")
    told = {"deployments": {"name": {"any_": ["engine-release"]}}}
    assert stack.post("/flow_runs/filter", told) == []


def test_a_matrix_is_whole_though_a_worker_is_killed_on_the_way(stack: Stack, tmp_path: Path) -> None:
    """On two hosts; the killed host's variant is measured again elsewhere, the supervisor starts its worker again, and
    no cell is in MLflow twice."""
    file = tmp_path / "matrix.yaml"
    file.write_text(EXPERIMENT.replace("QUANTIZATION", "[f16, q8_0, q4_k_m]"))
    run = stack.run("full-matrix", {"request": {"experiments": [str(file)]}})
    until(lambda: trials(stack.host("host-a"), "matrix"))
    before = stack.status()["host-a"]
    os.kill(before["pid"], signal.SIGKILL)
    until(lambda: nothing_runs(stack.host("host-a")), 60)
    stack.ends(run, "COMPLETED", limit_s=900)
    here = results(stack.host("control"), "matrix")
    assert len(here) == 6
    assert {one["state"] for one in here.values()} <= {"measured", "invalid"}
    told = stack.cells("matrix")
    assert set(told) == set(here)
    assert {one["status"] for one in told.values()} == {"FINISHED"}
    after = stack.status()["host-a"]
    assert after["well"]
    assert after["pid"] != before["pid"]
    assert nothing_runs(stack.host("host-a"))
    assert nothing_runs(stack.host("host-b"))
    assert not processes("launchers/llama_cpp.py", str(stack.home))


def test_a_release_is_compared_judged_and_in_mlflow(stack: Stack, tmp_path: Path) -> None:
    """Fired by hand and twice: one run, on real launches of both releases. Which verdict it is, the machine decides."""
    file = tmp_path / "released.yaml"
    text = EXPERIMENT.replace("QUANTIZATION", "q8_0").replace(
        ", {name: long-out, prompt_tokens: 8, output_tokens: 16}", ""
    )
    file.write_text(text.replace("min_seconds: 1.5, max_seconds: 3", "min_seconds: 0.5, max_seconds: 1"))
    assert stack.dyno("deploy", "--experiment", str(file)).returncode == 0
    event = {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": "dyno.engine.released",
        "resource": {"prefect.resource.id": "dyno.engine.llama_cpp", "prefect.resource.name": "llama_cpp"},
        "payload": {"engine": "llama_cpp", "version": "2026.10.11549", "previous": "2026.9.11063"},
        "related": [],
    }
    for _ in range(2):
        stack.api.post("/events", json=[event]).raise_for_status()
    asked = {"deployments": {"name": {"any_": ["engine-release"]}}}
    until(lambda: stack.post("/flow_runs/filter", asked))
    (run,) = stack.post("/flow_runs/filter", asked)
    stack.ends(run["id"], "COMPLETED", "FAILED", limit_s=1500)
    told = [one for host in ("host-a", "host-b") for one in comparisons(stack.host(host))]
    (result,) = told
    assert (result["from"], result["to"]) == ("2026.9.11063", "2026.10.11549")
    (tagged,) = stack.runs("released", "comparison")
    assert tagged["dyno.comparison"] == result["id"]
    assert tagged["status"] == "FINISHED"
    verdict = f"dyno.comparison.{result['verdict']}"
    until(lambda: stack.post("/events/filter", {"filter": {"event": {"name": [verdict]}}})["total"] == 1)
    assert len(stack.post("/flow_runs/filter", asked)) == 1
    assert nothing_runs(stack.host("host-a"))
    assert nothing_runs(stack.host("host-b"))


def comparisons(store: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in (store / "comparisons").glob("*/comparison.json")]
