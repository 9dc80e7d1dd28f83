"""The whole pipeline with the real engine, as a person runs it: the command, the store, MLflow, signals."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tasks.serving.environment import Environment
from tasks.serving.lease import leases
from tests.fake_engine import FakeEngine

pytestmark = pytest.mark.engine

DYNO = str(Path(sys.executable).with_name("dyno"))
EXPERIMENT = """
models: [{name: tiny, source: {kind: synthetic, vocab_size: 2048, intermediate_size: 512, layers: 2}}]
variants:
  - engine: llama_cpp
    engine_version: "2026.10.11549"
    model: tiny
    quantization: [f16, q4_k_m]
    max_model_len: 256
    max_num_seqs: 4
    cpu_threads: 1
workloads: [{name: long-in, prompt_tokens: 32, output_tokens: 8}, {name: long-out, prompt_tokens: 8, output_tokens: 16}]
slos: ["ttft:p95<300ms"]
load_plan: {requests_per_point: 40, min_seconds: 0.5, max_seconds: 2, saturation: {max_concurrency: 4},
            open_loop: {fractions: [0.5, 1.1]}}
"""


@dataclass(frozen=True)
class Store:
    """A folder of its own, and dyno run in it."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "DYNO_HOME": str(self.folder / "home"), "HF_TOKEN": "hf_very_secret", "COLUMNS": "100"}

    def dyno(self, *args: str, timeout_s: float = 300.0) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [DYNO, *args],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )

    def start(self, *args: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [DYNO, *args],
            cwd=self.folder,
            env=self.environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def write(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text)
        return name


def new_store(folder: Path, environments: Path) -> Store:
    """Environments are shared between the stores of the tests: they are the same, and slow to make."""
    (folder / "home").mkdir(parents=True)
    (folder / "home" / "environments").symlink_to(environments)
    return Store(folder)


@pytest.fixture(scope="session")
def measured(
    tmp_path_factory: pytest.TempPathFactory, xllamacpp: Environment, environments: Path
) -> tuple[Store, dict[str, Any]]:
    """A store in which the experiment has been run once, and what the run said as JSON."""
    store = new_store(tmp_path_factory.mktemp("measured"), environments)
    store.write("tiny.yaml", EXPERIMENT)
    done = store.dyno("run", "tiny.yaml", "--json")
    assert done.returncode == 0, done.stderr
    return store, json.loads(done.stdout)


def points_of(store: Store) -> list[tuple[Path, dict[str, Any]]]:
    """Each load point's folder and its trial.json."""
    files = sorted((store.folder / "home/campaigns").glob("tiny/1/*/launch-*/*/trial.json"))
    return [(file.parent, json.loads(file.read_text())) for file in files]


def test_every_cell_has_been_through_every_stage(measured: tuple[Store, dict[str, Any]]) -> None:
    store, body = measured
    assert [cell["state"] in ("measured", "invalid") for cell in body["cells"]] == [True] * 4
    for file in (store.folder / "home/campaigns/tiny/1").glob("*/cell.json"):
        stages = json.loads(file.read_text())["stages_s"]
        assert {"download", "environment", "quantize", "build", "launch", "warm up", "load sweep"} <= set(stages)
    roles = {trial["point"]["role"] for _, trial in points_of(store)}
    assert roles == {"synchronous", "saturation", "open_loop", "overloaded"}


def test_published_figures_can_be_recomputed_from_the_raw_records(measured: tuple[Store, dict[str, Any]]) -> None:
    """By another route: rows of Python, the standard formula, numpy's percentile only."""
    store, _ = measured
    points = points_of(store)
    assert len(points) >= 4 * 4
    for folder, trial in points:
        summary = trial["summary"]
        rows = pq.read_table(folder / "requests.parquet").to_pylist()
        done = [row for row in rows if row["outcome"] == "completed"]
        assert summary["requests"] == len(rows)
        assert sum(summary["outcomes"].values()) == len(rows)
        ttft = [(row["chunk_at_ns"][0] - row["sent_at_ns"]) / 1e6 for row in done]
        assert summary["latencies"]["ttft_ms"]["n"] == len(ttft)
        for name, percentile in (("p50", 50), ("p95", 95)):
            assert summary["latencies"]["ttft_ms"][name] == pytest.approx(np.percentile(ttft, percentile), rel=1e-9)
        start, end = trial["window_ns"]
        tokens = sum(
            row["output_tokens"] / len(row["chunk_at_ns"])
            for row in done
            for at in row["chunk_at_ns"]
            if start <= at <= end
        )
        assert summary["output_tokens_per_s"] == pytest.approx(tokens / ((end - start) / 1e9), rel=1e-6)
        assert {row["prompt_tokens"] for row in done} == {row["prompt_tokens_asked"] for row in rows}
        assert {row["output_tokens"] for row in done} == {row["output_tokens_asked"] for row in rows}
        assert {row["cached_tokens"] for row in done} <= {0, None}


def test_the_engines_own_account_lies_beside_each_trial(measured: tuple[Store, dict[str, Any]]) -> None:
    """Its counter of generated tokens and the records agree: what it generated is what arrived."""
    store, _ = measured
    for folder, trial in points_of(store):
        assert trial["summary"]["reasons"]["energy_j"] == "no GPU: this launch takes none"
        told = pq.read_table(folder / "engine_metrics.parquet").to_pylist()
        rows = pq.read_table(folder / "requests.parquet").to_pylist()
        start, end = trial["window_ns"]
        assert min(row["at_ns"] for row in told) < start < end < max(row["at_ns"] for row in told)
        generated = [row["value"] for row in told if row["name"] == "output_tokens"]
        assert generated[-1] - generated[0] == sum(row["output_tokens"] or 0 for row in rows)
    report = (store.folder / "home/campaigns/tiny/1/report.html").read_text()
    assert report.count('<details class="point">') == len(points_of(store))


def test_mlflow_holds_an_invocation_its_cells_and_their_launches(measured: tuple[Store, dict[str, Any]]) -> None:
    from mlflow import MlflowClient

    store, body = measured
    client = MlflowClient(tracking_uri=f"sqlite:///{store.folder}/home/mlflow.db")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None

    def runs(kind: str) -> list[Any]:
        return list(client.search_runs([experiment.experiment_id], f"tags.`dyno.kind` = '{kind}'"))

    invocation = next(run for run in runs("invocation") if run.info.status == "FINISHED")
    cells = runs("cell")
    assert {run.data.tags["dyno.cell_id"] for run in cells} == {cell["cell_id"] for cell in body["cells"]}
    assert {run.data.tags["mlflow.parentRunId"] for run in cells} == {invocation.info.run_id}
    assert {run.data.tags["mlflow.parentRunId"] for run in runs("launch")} == {run.info.run_id for run in cells}
    for run in cells:
        steps = {metric.step for metric in client.get_metric_history(run.info.run_id, "output_tokens_per_s")}
        assert steps == set(range(len(steps)))
        assert "prefect.flow_run_id" in run.data.tags
        parquet = [
            file.path for file in walk(client, run.info.run_id, "points") if file.path.endswith("requests.parquet")
        ]
        assert len(parquet) > len(steps)  # the warm-up's records too
        assert any(file.path.endswith(".log") for file in walk(client, run.info.run_id, ""))


def walk(client: Any, run_id: str, path: str) -> Iterator[Any]:
    for file in client.list_artifacts(run_id, path or None):
        if file.is_dir:
            yield from walk(client, run_id, file.path)
        else:
            yield file


def test_no_secret_is_anywhere_in_the_store(measured: tuple[Store, dict[str, Any]]) -> None:
    store, _ = measured
    for path in (store.folder / "home").rglob("*"):
        if path.is_file() and "environments" not in path.parts:
            assert b"hf_very_secret" not in path.read_bytes(), path


def test_a_second_run_keeps_what_is_there_and_starts_no_server(measured: tuple[Store, dict[str, Any]]) -> None:
    store, body = measured
    server_log = store.folder / "home/logs/prefect-server.log"
    before = server_log.stat().st_mtime_ns
    done = store.dyno("run", "tiny.yaml", "--json")
    assert done.returncode == 0, done.stderr
    assert "4 cells are kept from before" in done.stderr
    again = json.loads(done.stdout)
    assert [cell["cell_id"] for cell in again["cells"]] == [cell["cell_id"] for cell in body["cells"]]
    assert server_log.stat().st_mtime_ns == before
    plan = json.loads(store.dyno("plan", "tiny.yaml", "--json").stdout)
    assert plan["estimate"]["cells"] == 0


def test_a_cells_command_is_the_one_that_ran(measured: tuple[Store, dict[str, Any]]) -> None:
    store, body = measured
    cell = body["cells"][0]["cell_id"]
    found = json.loads(store.dyno("command", cell[:8], "--json").stdout)
    assert found["cell_id"] == cell
    assert Path(found["argv"][0]).exists()
    assert "--slots" in found["argv"]
    refused = store.dyno("command", "zzzz")
    assert refused.returncode == 2
    assert "no cell's id begins with 'zzzz'" in refused.stderr


def test_what_fails_is_a_cell_with_stage_and_cause_and_the_others_go_on(
    tmp_path: Path, xllamacpp: Environment, environments: Path
) -> None:
    store = new_store(tmp_path, environments)
    text = EXPERIMENT.replace("[f16, q4_k_m]", "q8_0").replace(
        ", {name: long-out, prompt_tokens: 8, output_tokens: 16}", ""
    )
    broken = text[text.index("  - engine") : text.index("workloads")].replace(
        "cpu_threads: 1", 'extra_args: ["--no-such"]'
    )
    gone = broken.replace("2026.10.11549", "1.0").replace('extra_args: ["--no-such"]', "cpu_threads: 1")
    store.write("tiny.yaml", text.replace("workloads", f"{broken}{gone}workloads"))
    done = store.dyno("run", "tiny.yaml", "--json")
    assert done.returncode == 3, done.stderr
    cells = {(cell["state"], cell["stage"]): cell for cell in json.loads(done.stdout)["cells"]}
    assert {("failed", "launch"), ("failed", "build")} < set(cells)
    assert "ended with status 2 before it was ready" in cells["failed", "launch"]["cause"]
    assert "unrecognized arguments: --no-such" in cells["failed", "launch"]["log_excerpt"]
    assert "xllamacpp==1.0" in cells["failed", "build"]["cause"]
    assert len(cells) == 3
    assert cells["failed", "launch"]["failure_class"] == "bad_flag"
    assert cells["failed", "build"]["failure_class"] == "wrong_version"
    assert store.dyno("run", "tiny.yaml").returncode == 3, "a failure that is kept is still a failure"
    plan = json.loads(store.dyno("plan", "tiny.yaml", "--json").stdout)["cells"]
    assert ("failed", "launch", "bad_flag") in {(row["state"], row["stage"], row["failure_class"]) for row in plan}
    retried = store.dyno("retry", "tiny.yaml")
    assert retried.returncode == 3
    assert "left: llama_cpp 2026.10.11549 · tiny · q8_0 on long-in: bad_flag at launch" in retried.stderr
    is_valid = ("invalid", "") not in cells  # which the machine decides; a cell that is not is measured once more
    assert ("nothing to measure: 3 cells are kept" in retried.stderr) == is_valid


def until(is_true: Callable[[], object], limit_s: float = 90.0) -> None:
    limit = time.monotonic() + limit_s
    while not is_true():
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.05)


def processes_of(store: Store) -> list[str]:
    """Command lines that name the store's folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(store.folder) in line:
            found.append(line)
    return found


def measuring(store: Store) -> bool:
    return any((store.folder / "home/campaigns").glob("tiny/1/*/launch-1/*/trial.json"))


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.engines)])
def test_being_stopped_leaves_nothing_running_and_keeps_what_is_done(
    number: signal.Signals, tmp_path: Path, xllamacpp: Environment, environments: Path
) -> None:
    store = new_store(tmp_path, environments)
    store.write("tiny.yaml", EXPERIMENT)
    process = store.start("run", "tiny.yaml")
    until(lambda: measuring(store))
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert processes_of(store) == []
    assert list(leases(store.folder / "home/leases")) == []
    states = {json.loads(f.read_text())["state"] for f in (store.folder / "home/campaigns/tiny/1").glob("*/cell.json")}
    assert "interrupted" in states


def test_being_killed_leaves_nothing_running_and_the_next_run_goes_on(
    tmp_path: Path, xllamacpp: Environment, environments: Path
) -> None:
    store = new_store(tmp_path, environments)
    store.write("tiny.yaml", EXPERIMENT.replace("[f16, q4_k_m]", "q8_0"))
    process = store.start("run", "tiny.yaml")
    until(lambda: measuring(store))
    process.kill()
    process.communicate()
    until(lambda: processes_of(store) == [], 15)
    done = store.dyno("run", "tiny.yaml", "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["cells"]) == 2
    assert list(leases(store.folder / "home/leases")) == []


def test_an_engine_that_is_killed_fails_its_cell_and_the_next_cell_gets_another_launch(
    tmp_path: Path, xllamacpp: Environment, environments: Path
) -> None:
    store = new_store(tmp_path, environments)
    store.write("tiny.yaml", EXPERIMENT.replace("[f16, q4_k_m]", "q8_0"))
    process = store.start("run", "tiny.yaml", "--json")
    until(lambda: measuring(store))
    (engine,) = [pid for pid in map(int, (p.name for p in Path("/proc").glob("[0-9]*"))) if is_engine(pid, store)]
    os.kill(engine, signal.SIGKILL)
    said, log = process.communicate(timeout=240)
    assert process.returncode == 4, log
    first, second = json.loads(said)["cells"]
    assert (first["state"], first["stage"]) == ("failed", "load sweep")
    assert "the server was killed by a signal while it was measured" in first["cause"]
    assert first["failure_class"] == "killed"
    assert second["state"] in ("measured", "invalid")
    retried = store.dyno("retry", "tiny.yaml", "--json")
    assert retried.returncode == 0, retried.stderr
    assert {cell["state"] for cell in json.loads(retried.stdout)["cells"]} <= {"measured", "invalid"}


def is_engine(pid: int, store: Store) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return (
        len(words) > 1
        and words[1].endswith(b"launchers/llama_cpp.py")
        and str(store.folder).encode() in b" ".join(words)
    )


KEY = b"key-of-the-server"


def test_a_server_that_is_there_already_is_measured_and_left_running(
    tmp_path: Path, environments: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = new_store(tmp_path, environments)
    with FakeEngine() as engine:
        line = (
            'engine: endpoint, engine_version: "1", quantization: fp8, runtime: endpoint, '
            f'endpoint_url: "{engine.url}", api_key_env: ITS_KEY'
        )
        text = EXPERIMENT[: EXPERIMENT.index("  - engine")] + f"  - {{{line}, model: tiny}}\n"
        text += EXPERIMENT[EXPERIMENT.index("workloads") :].replace(
            ", {name: long-out, prompt_tokens: 8, output_tokens: 16}", ""
        )
        store.write("there.yaml", text)
        monkeypatch.setenv("ITS_KEY", KEY.decode())
        done = store.dyno("run", "there.yaml", "--json")
        assert done.returncode == 0, done.stderr
        assert "left as it was found" in done.stderr
        assert {one.headers.get("authorization") for one in engine.generations} == {f"Bearer {KEY.decode()}"}
        holds_the_key = [path for path in store.folder.rglob("*") if path.is_file() and KEY in path.read_bytes()]
        assert holds_the_key == []
        assert KEY.decode() not in done.stdout + done.stderr
        (cell,) = json.loads(done.stdout)["cells"]
        assert cell["state"] in ("measured", "invalid")
        assert len(engine.generations) > 100
        told = json.loads(store.dyno("command", cell["cell_id"], "--json").stdout)
    assert told["notes"] == [f"nothing is launched: {engine.url} runs already"]
    assert not (store.folder / "home" / "artifacts").exists(), "nothing is downloaded for it"
    (file,) = (store.folder / "home/campaigns/there/1").glob("*/cell.json")
    declared = json.loads(file.read_text())["provenance"]["declared"]
    assert (declared["quantization"], declared["api_key_env"]) == ("fp8", "ITS_KEY")
