"""The contract of what lies in MLflow, read back with MLflow's own client."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import DatasetInput, Run

from experiments.errors import PublishError
from experiments.schema.result import CellResult, CellState
from tasks.tracking.figures import build_metrics
from tasks.tracking.mlflow_store import TrackingStore

MakeCell = Callable[..., CellResult]


def client_of(store: TrackingStore) -> MlflowClient:
    return MlflowClient(tracking_uri=store.uri)


def runs(store: TrackingStore, kind: str) -> list[Run]:
    client = client_of(store)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, f"tags.`dyno.kind` = '{kind}'"))


def artifact_texts(run: Run) -> dict[str, str]:
    root = Path(run.info.artifact_uri.removeprefix("file://"))
    return {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}


def inputs_of(run: Run) -> list[DatasetInput]:
    assert run.inputs is not None
    return list(run.inputs.dataset_inputs)


def opened(store: TrackingStore) -> str:
    return store.open_invocation(
        "quickstart", campaign="quickstart-1", config={"seed": 0, "workloads": [{"name": "short"}]},
        description="On a CPU.", prefect_run_id="f10e", prefect_run_url="http://localhost/f10e",
    )  # fmt: skip


@pytest.fixture
def published(store: TrackingStore, cell: MakeCell, tmp_path: Path) -> TrackingStore:
    """One invocation with one cell, its records a folder and its log a file."""
    records = tmp_path / "launch-1" / "00-synchronous"
    records.mkdir(parents=True)
    (records / "requests.parquet").write_bytes(b"PAR1")
    (records / "trial.json").write_text('{"headers": {"authorization": "x"}}')
    (tmp_path / "server.log").write_text("loading\nAuthorization: Bearer abc\n")
    invocation = opened(store)
    done = cell()
    run_id = store.publish_cell(
        done, invocation_run_id=invocation, records={"records": tmp_path / "launch-1"},
        files={"server.log": tmp_path / "server.log"},
        series={"system/gpu_0_power_usage_watts": [(10, 90.0), (20, 95.5)]},
    )  # fmt: skip
    kept = cell(cell_id="beef00000000", mlflow_run_id="1" * 32)
    store.close_invocation(
        invocation, status="FINISHED", measured=[done.model_copy(update={"mlflow_run_id": run_id})], kept=[kept]
    )
    return store


def test_an_invocation_holds_a_cell_that_holds_a_launch(published: TrackingStore) -> None:
    (invocation,), (cell_run,), (launch,) = (runs(published, kind) for kind in ("invocation", "cell", "launch"))
    assert cell_run.data.tags["mlflow.parentRunId"] == invocation.info.run_id
    assert launch.data.tags["mlflow.parentRunId"] == cell_run.info.run_id
    assert {run.info.status for run in (invocation, cell_run, launch)} == {"FINISHED"}
    (experiment,) = [e for e in client_of(published).search_experiments() if e.name == "quickstart"]
    assert invocation.info.experiment_id == experiment.experiment_id


def test_a_cell_is_tagged_with_what_people_filter_by(published: TrackingStore) -> None:
    (run,) = runs(published, "cell")
    expected = {
        "dyno.cell_id": "c0ffee123456", "dyno.campaign": "quickstart-1", "dyno.state": "measured", "dyno.grade": "A",
        "engine": "llama_cpp", "engine_version": "0.3.1", "model": "tiny", "quantization": "q8_0", "hardware": "cpu",
        "workload": "short", "prefect.flow_run_id": "f00d",
    }  # fmt: skip
    assert expected.items() <= run.data.tags.items()
    assert "llama_cpp 0.3.1" in run.data.tags["mlflow.note.content"]
    (invocation,) = runs(published, "invocation")
    assert invocation.data.tags["prefect.flow_run_url"] == "http://localhost/f10e"


def test_load_points_are_steps_and_headlines_are_not(published: TrackingStore) -> None:
    for kind in ("cell", "launch"):
        (run,) = runs(published, kind)
        history = client_of(published).get_metric_history(run.info.run_id, "ttft_p50_ms")
        assert [(m.step, m.value) for m in sorted(history, key=lambda m: m.step)] == [(0, 50.0), (1, 51.0), (2, 52.0)]
        assert run.data.metrics["floor_ttft_p50_ms"] == 50.0
        assert run.data.metrics["saturation_rps"] == 20.0
        assert run.data.metrics["saturation_output_tokens_per_s"] == 320.0
        assert run.data.metrics["capacity_rps/ttft_p95_300ms"] == 15.0


def test_what_a_checkpoint_is_and_took_are_metrics(store: TrackingStore, cell: MakeCell) -> None:
    made = {"key": "k", "bytes": 5000, "quantize_seconds": 12.5, "quantize_peak_bytes": 7_000_000, "tools": {"a": "1"}}
    result = cell(provenance={"checkpoint": made})
    store.publish_cell(result)
    metrics = runs(store, "launch")[0].data.metrics
    figures = ("checkpoint_bytes", "quantize_seconds", "quantize_peak_bytes")
    assert [metrics[name] for name in figures] == [5000.0, 12.5, 7_000_000.0]
    assert "quantize_peak_gpu_bytes" not in metrics


def test_an_absent_figure_is_not_logged(published: TrackingStore) -> None:
    (run,) = runs(published, "cell")
    offered = client_of(published).get_metric_history(run.info.run_id, "offered_rps")
    assert [(m.step, m.value) for m in offered] == [(2, 15.0)]
    assert "ttft_p99_ms" not in run.data.metrics
    assert "tpot_p50_ms" not in run.data.metrics


def test_the_configuration_is_params_and_json_and_the_records_are_there(published: TrackingStore) -> None:
    (run,) = runs(published, "cell")
    assert run.data.params["variant.quantization"] == "q8_0"
    assert run.data.params["workload.prompt_tokens"] == "128"
    found = artifact_texts(run)
    assert found["records/00-synchronous/requests.parquet"] == "PAR1"
    assert json.loads(found["environment.json"])["software"]["git_revision"] == "abc"
    assert CellResult.model_validate_json(found["cell.json"]).mlflow_run_id == run.info.run_id
    (invocation,) = runs(published, "invocation")
    assert invocation.data.params["seed"] == "0"
    assert json.loads(artifact_texts(invocation)["experiment.json"])["workloads"] == [{"name": "short"}]


def test_records_lie_once_and_their_launch_says_where(published: TrackingStore) -> None:
    (cell_run,), (launch,) = (runs(published, kind) for kind in ("cell", "launch"))
    held = {kind: set(artifact_texts(run)) for kind, run in (("cell", cell_run), ("launch", launch))}
    assert {name for name in held["cell"] if name.startswith("records/")}
    assert not {name for name in held["launch"] if name.startswith("records/")}
    assert "server.log" in held["cell"] & held["launch"]
    assert cell_run.info.run_id in launch.data.tags["dyno.records"]


def test_the_workload_is_the_dataset_of_its_runs(published: TrackingStore, cell: MakeCell) -> None:
    published.publish_cell(cell())  # again: it changes nothing
    for kind in ("cell", "launch"):
        (run,) = runs(published, kind)
        (told,) = inputs_of(run)
        assert [(tag.key, tag.value) for tag in told.tags] == [("mlflow.data.context", "load")]
        assert told.dataset.name == "short"
        assert json.loads(told.dataset.profile or "")["endpoint"] == "completions"
    renamed = cell(cell_id="0123", workload=cell().workload.model_copy(update={"name": "brief"}))
    published.publish_cell(renamed)
    digests = {one.dataset.digest for run in runs(published, "cell") for one in inputs_of(run)}
    assert len(digests) == 1  # one question, by whatever name


def test_system_metrics_stand_on_the_wall_clock(published: TrackingStore) -> None:
    (run,) = runs(published, "cell")
    history = client_of(published).get_metric_history(run.info.run_id, "system/gpu_0_power_usage_watts")
    assert [(m.timestamp, m.step, m.value) for m in history] == [(10, 0, 90.0), (20, 1, 95.5)]


def test_each_step_has_the_rate_it_was_measured_at(published: TrackingStore) -> None:
    (run,) = runs(published, "cell")
    history = client_of(published).get_metric_history(run.info.run_id, "rate_rps")
    assert sorted((m.step, m.value) for m in history) == [(0, 10.0), (1, 20.0), (2, 15.0)]


def test_params_differ_only_where_systems_do(store: TrackingStore, cell: MakeCell) -> None:
    ports = ({"argv": ["--port", "1"], "packages": {"a": "1"}}, {"argv": ["--port", "2"], "packages": {"a": "2"}})
    for number, provenance in enumerate(ports):
        store.publish_cell(cell(cell_id=f"c{number}", provenance=provenance))
    first, second = (run.data.params for run in runs(store, "cell"))
    assert first == second
    assert first["dataset"] == "synthetic"
    assert first["engine_version"] == "0.3.1"


def test_the_invocation_lists_cells_kept_from_before_with_their_runs(published: TrackingStore) -> None:
    (invocation,) = runs(published, "invocation")
    (cell_run,) = runs(published, "cell")
    listed = json.loads(artifact_texts(invocation)["cells.json"])["cells"]
    assert [(row["cell_id"], row["kept"], row["run_id"]) for row in listed] == [
        ("c0ffee123456", False, cell_run.info.run_id),
        ("beef00000000", True, "1" * 32),
    ]
    assert invocation.data.tags["dyno.kept_cells"] == "beef00000000"
    note = invocation.data.tags["mlflow.note.content"]
    assert f"/runs/{cell_run.info.run_id})" in note
    assert f"/runs/{'1' * 32})" in note


def test_no_secret_reaches_the_store(published: TrackingStore) -> None:
    everything = [
        json.dumps(run.to_dictionary()) for kind in ("invocation", "cell", "launch") for run in runs(published, kind)
    ]
    everything += [
        text for kind in ("cell", "launch") for run in runs(published, kind) for text in artifact_texts(run).values()
    ]
    for secret in ("hf_aaaa", "very-secret-word", "Bearer abc", '"authorization": "x"'):
        assert not any(secret in text for text in everything), secret


def test_artifacts_lie_beside_the_database_and_nowhere_else(published: TrackingStore, tmp_path: Path) -> None:
    (run,) = runs(published, "launch")
    assert run.info.artifact_uri.startswith((published.folder / "mlartifacts" / "quickstart").as_uri())
    assert not (tmp_path / "mlruns").exists()


def test_publishing_twice_changes_nothing(store: TrackingStore, cell: MakeCell) -> None:
    first = store.publish_cell(cell())
    before = [run.to_dictionary()["data"] for kind in ("cell", "launch") for run in runs(store, kind)]
    assert store.publish_cell(cell()) == first
    after = [run.to_dictionary()["data"] for kind in ("cell", "launch") for run in runs(store, kind)]
    assert after == before
    assert len(client_of(store).get_metric_history(first, "ttft_p50_ms")) == 3


def test_another_launch_is_another_child_and_another_campaign_another_cell(
    store: TrackingStore, cell: MakeCell
) -> None:
    first = store.publish_cell(cell(state=CellState.FAILED, points=(), headlines={}, cause="oom", stage="launch"))
    assert {run.info.status for run in runs(store, "cell")} == {"FAILED"}
    assert store.publish_cell(cell(launch=2)) == first
    assert store.publish_cell(cell(campaign="quickstart-2")) != first
    assert {run.info.status for run in runs(store, "cell")} == {"FINISHED"}
    assert sorted(run.data.tags["dyno.launch"] for run in runs(store, "launch")) == ["1", "1", "2"]


def test_the_first_launches_of_two_hosts_are_two_and_the_later_result_stays_whoever_comes_last(
    store: TrackingStore, cell: MakeCell
) -> None:
    """Each host counts its own launches; one whose MLflow was away publishes after the one that measured again."""
    early = cell(state=CellState.FAILED, points=(), headlines={}, cause="oom", prefect_run_id="on-a")
    later = cell(prefect_run_id="on-b", ended_at="2026-11-21T11:05:00+00:00")
    run_id = store.publish_cell(later)
    assert store.publish_cell(early) == run_id
    (found,) = runs(store, "cell")
    assert (found.info.status, found.data.tags["dyno.state"]) == ("FINISHED", "measured")
    launches = {run.data.tags["prefect.flow_run_id"]: run.info.status for run in runs(store, "launch")}
    assert launches == {"on-a": "FAILED", "on-b": "FINISHED"}


@pytest.mark.parametrize(
    ("state", "status"),
    [("measured", "FINISHED"), ("invalid", "FINISHED"), ("unsupported", "FINISHED"), ("failed", "FAILED"),
     ("interrupted", "KILLED")],
)  # fmt: skip
def test_the_run_ends_as_the_cell_did(store: TrackingStore, cell: MakeCell, state: str, status: str) -> None:
    store.publish_cell(cell(state=state, stage="launch", cause="ran out of memory", log_excerpt="oom", points=()))
    (run,) = runs(store, "cell")
    assert run.info.status == status
    assert run.data.tags["dyno.cause"] == "ran out of memory"


def test_a_failed_cell_is_found_by_its_class_and_stage_and_takes_files_later(
    store: TrackingStore, cell: MakeCell, tmp_path: Path
) -> None:
    failed = cell(state="failed", stage="launch", cause="it ended", failure_class="out_of_memory", points=())
    run_id = store.publish_cell(failed, invocation_run_id="", files={})
    traces = tmp_path / "traces"
    traces.mkdir()
    (traces / "rank0.json.gz").write_bytes(b"x")
    store.add_files(run_id, {"profiles/profile-1": traces})
    client = MlflowClient(tracking_uri=store.uri)
    tags = client.get_run(run_id).data.tags
    assert (tags["failure_class"], tags["stage"]) == ("out_of_memory", "launch")
    assert [file.path for file in client.list_artifacts(run_id, "profiles/profile-1")] == [
        "profiles/profile-1/rank0.json.gz"
    ]


def test_what_a_dead_process_left_running_is_killed(store: TrackingStore, cell: MakeCell) -> None:
    program = (
        "import os, sys; from pathlib import Path; from tasks.tracking.mlflow_store import TrackingStore\n"
        "store = TrackingStore(sys.argv[1], Path(sys.argv[2]))\n"
        "print(store.open_invocation('quickstart', campaign='quickstart-1', config={}), flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", program, store.uri, str(store.folder)]
    dead = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ)).stdout.strip()
    living = opened(store)
    assert store.sweep_dead_invocations() == [dead]
    statuses = {run.info.run_id: run.info.status for run in runs(store, "invocation")}
    assert statuses == {dead: "KILLED", living: "RUNNING"}
    assert store.sweep_dead_invocations() == []


def test_two_processes_may_make_the_database_at_once(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tasks.tracking.mlflow_store import TrackingStore\n"
        "store = TrackingStore(sys.argv[1], Path(sys.argv[2]))\n"
        "store.open_invocation('quickstart', campaign='quickstart-1', config={})"
    )
    command = [sys.executable, "-c", program, f"sqlite:///{tmp_path / 'mlflow.db'}", str(tmp_path)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) for _ in range(2)]
    for process in both:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    store = TrackingStore(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)
    assert len(runs(store, "invocation")) == 2
    assert len([e for e in client_of(store).search_experiments() if e.name == "quickstart"]) == 1


def test_a_server_out_of_reach_is_said_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        store = TrackingStore(f"http://user:word@127.0.0.1:{reserved.getsockname()[1]}", tmp_path)
        with pytest.raises(PublishError, match="MLFLOW_TRACKING_URI") as caught:
            opened(store)
    assert "on disk" in str(caught.value)
    assert "user:word" not in str(caught.value)


def test_a_deleted_experiment_is_said_with_what_to_do(store: TrackingStore) -> None:
    opened(store)
    client = client_of(store)
    experiment: Any = client.get_experiment_by_name("quickstart")
    client.delete_experiment(experiment.experiment_id)
    with pytest.raises(PublishError, match="mlflow experiments restore"):
        opened(store)


def test_what_the_user_set_stays(store: TrackingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    opened(store)
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_importing_the_store_imports_no_mlflow() -> None:
    program = "import sys, tasks.tracking.mlflow_store; print('mlflow' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "False"


def test_what_compiling_an_engine_took_is_a_figure_of_its_cells(cell: MakeCell) -> None:
    build = {"seconds": 93.5, "tool_seconds": 98.0, "peak_memory_bytes": 2**30, "tool_peak_memory_bytes": None}
    found = build_metrics(cell(provenance={"build": build | {"steps": []}}))
    assert found == {"build/seconds": 93.5, "build/tool_seconds": 98.0, "build/peak_memory_bytes": 2.0**30}
    assert build_metrics(cell()) == {}
