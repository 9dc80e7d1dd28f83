"""A stack of its own for these tests: real PostgreSQL, Redis, Prefect, MLflow and workers, started by the command."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine_adapters import ADAPTERS
from experiments.schema.order import CellOrder, ExperimentOrder, VariantOrder
from experiments.schema.read import read_experiment
from tasks.serving.environment import Environment
from tasks.serving.lease import leases

LIMIT_S = 300.0
"""Of a machine that does much else meanwhile."""

EXPERIMENT = """
models: [{name: tiny, source: {kind: synthetic, vocab_size: 2048, intermediate_size: 512, layers: 2}}]
variants:
  - {engine: llama_cpp, engine_version: "2026.10.11549", model: tiny, quantization: QUANTIZATION, max_model_len: 256,
     max_num_seqs: 4, cpu_threads: 1}
workloads: [{name: long-in, prompt_tokens: 32, output_tokens: 8}, {name: long-out, prompt_tokens: 8, output_tokens: 16}]
slos: ["ttft:p95<300ms"]
load_plan: {requests_per_point: 20, min_seconds: 1.5, max_seconds: 3, saturation: {max_concurrency: 4},
            open_loop: {fractions: [0.5, 1.1]}}
"""


def until(is_true: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    limit = time.monotonic() + limit_s
    while not is_true():
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.2)


@dataclass
class Stack:
    """A running stack, as its client files tell of it."""

    home: Path
    api: httpx.Client = field(init=False)
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        lines = (self.home / "stack" / "client.env").read_text().splitlines()
        told = dict(line.split("=", 1) for line in lines)
        self.environment = {**os.environ, **told, "DYNO_HOME": str(self.home)}
        user, password = told["PREFECT_API_AUTH_STRING"].split(":")
        self.api = httpx.Client(base_url=told["PREFECT_API_URL"], auth=(user, password), timeout=60, trust_env=False)

    def dyno(self, *args: str, store: Path | None = None) -> "subprocess.CompletedProcess[str]":
        env = self.environment | ({"DYNO_HOME": str(store)} if store else {})
        command = [sys.executable, "-m", "flows.cli", *args]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=LIMIT_S)

    def host(self, name: str) -> Path:
        return self.home / "stack" / "hosts" / name

    def status(self) -> dict[str, dict[str, Any]]:
        found = json.loads(self.dyno("stack", "status", "--json").stdout)
        return {one["name"]: one for one in found["services"]}

    def supervisor(self) -> int:
        return int(json.loads((self.home / "stack" / "state.json").read_text())["supervisor"]["pid"])

    def post(self, path: str, ask: Mapping[str, Any]) -> Any:
        return self.api.post(path, json=ask).raise_for_status().json()

    def run(self, deployment: str, parameters: Mapping[str, Any], queue: str = "") -> str:
        """The id of a new flow run."""
        (found,) = self.post("/deployments/filter", {"deployments": {"name": {"any_": [deployment]}}})
        ask = {"parameters": dict(parameters), "state": {"type": "SCHEDULED", "name": "Scheduled"}}
        more = {"work_queue_name": queue} if queue else {}
        return str(self.post(f"/deployments/{found['id']}/create_flow_run", ask | more)["id"])

    def state(self, run: str) -> str:
        return str(self.api.get(f"/flow_runs/{run}").raise_for_status().json()["state_type"])

    def ends(self, run: str, *states: str, limit_s: float = LIMIT_S) -> None:
        """Waits until the run has ended, in one of these states."""
        final = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
        until(lambda: self.state(run) in final, limit_s)
        told = self.api.get(f"/flow_runs/{run}").json()["state"]
        assert told["type"] in states, told

    def unended(self) -> list[str]:
        """The names of runs that have begun and not ended, as Prefect has it."""
        begun = {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}}
        return [one["name"] for one in self.post("/flow_runs/filter", {"flow_runs": begun})]

    def cancel(self, run: str) -> None:
        self.post(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})

    def cells(self, experiment: str) -> dict[str, Any]:
        """MLflow's runs of cells, by cell id; each is there once."""
        tagged = self.runs(experiment, "cell")
        found = {one["dyno.cell_id"]: one for one in tagged}
        assert len(found) == len(tagged)
        return found

    def runs(self, experiment: str, kind: str) -> list[dict[str, Any]]:
        """MLflow's runs of a kind: their tags and their own facts."""
        auth = (self.environment["MLFLOW_TRACKING_USERNAME"], self.environment["MLFLOW_TRACKING_PASSWORD"])
        url = f"{self.environment['MLFLOW_TRACKING_URI']}/api/2.0/mlflow"
        with httpx.Client(auth=auth, timeout=60, trust_env=False) as client:
            named = client.get(f"{url}/experiments/get-by-name", params={"experiment_name": experiment})
            if named.status_code == 404:
                return []
            ask = {
                "experiment_ids": [named.json()["experiment"]["experiment_id"]],
                "filter": f"tags.`dyno.kind` = '{kind}'",
            }
            runs = client.post(f"{url}/runs/search", json=ask).raise_for_status().json().get("runs", [])
        return [{tag["key"]: tag["value"] for tag in run["data"]["tags"]} | run["info"] for run in runs]


def results(store: Path, experiment: str) -> dict[str, dict[str, Any]]:
    """What a store has of the one campaign of an experiment, by cell."""
    files = (store / "campaigns" / experiment).glob("*/*/cell.json")
    return {body["cell_id"]: body for body in (json.loads(file.read_text()) for file in files)}


def trials(store: Path, experiment: str) -> list[Path]:
    return sorted((store / "campaigns" / experiment).glob("*/*/launch-*/*/trial.json"))


def command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def processes(*words: str) -> list[int]:
    """Those whose command line or environment names all of these."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            text = b"\0".join((entry / name).read_bytes() for name in ("cmdline", "environ"))
        except OSError:
            continue
        if all(word.encode() in text for word in words) and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


def engines(store: Path) -> list[int]:
    """Servers of llama.cpp that a host has launched."""
    of_host = processes("launchers/llama_cpp.py", str(store.resolve()))
    return [pid for pid in of_host if len(line := command_line(pid)) > 1 and line[1].endswith("launchers/llama_cpp.py")]


def flow_processes(store: Path) -> list[int]:
    """The processes in which Prefect runs a host's flows."""
    return [
        pid
        for pid in processes(f"DYNO_HOME={store}", "PREFECT__FLOW_RUN_ID=")
        if "prefect" in " ".join(command_line(pid))
    ]


def nothing_runs(store: Path) -> bool:
    return not engines(store) and not list(leases(store / "leases"))


def order_of(file: Path, campaign: int = 1) -> dict[str, Any]:
    """The parameters of measure-variant for the first variant of a file."""
    experiment = read_experiment(file, ADAPTERS)
    cells = experiment.cells()
    variant = cells[0].variant
    run = ExperimentOrder(
        experiment=experiment.name,
        campaign=campaign,
        home="",
        variants=(),
        load_plan=experiment.load_plan,
        slos=experiment.slos,
    )
    asked = tuple(CellOrder(cell_id=c.id, workload=c.workload) for c in cells if c.variant == variant)
    order = VariantOrder(variant=variant, cells=asked)
    return {"run": run.model_dump(mode="json"), "order": order.model_dump(mode="json")}


@pytest.fixture
def experiment(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """An experiment of one variant and two cells, of a name of its own."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")[-60:].strip("-")
    file = tmp_path / f"{name}.yaml"
    file.write_text(EXPERIMENT.replace("QUANTIZATION", "q8_0"))
    return file


@contextlib.contextmanager
def running_stack(environments: Path) -> Iterator[Stack]:
    """A stack over a folder of its own; the engine's environment is shared by its hosts, being slow to make."""
    home = Path(tempfile.mkdtemp(prefix="dyno-stack-"))
    for host in ("host-a", "host-b", "control"):
        store = home / "stack" / "hosts" / host
        store.mkdir(parents=True)
        (store / "environments").symlink_to(environments)
    env = {**os.environ, "DYNO_HOME": str(home)}
    command = [sys.executable, "-m", "flows.cli", "stack"]
    try:
        done = subprocess.run([*command, "up"], env=env, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, done.stderr
        stack = Stack(home)
        with stack.api:
            yield stack
    finally:
        with_state = home / "stack" / "state.json"
        if with_state.exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(json.loads(with_state.read_text())["supervisor"]["pid"]), signal.SIGCONT)
        subprocess.run([*command, "down"], env=env, check=False, timeout=300)
        if not os.environ.get("DYNO_KEEP_STACK"):
            shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def stack(xllamacpp: Environment, environments: Path) -> Iterator[Stack]:
    """Started once."""
    with running_stack(environments) as started:
        yield started
