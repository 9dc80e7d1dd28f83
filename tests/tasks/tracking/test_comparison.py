"""A comparison in MLflow, read back with MLflow's own client from a real store."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from experiments.schema.comparison import CanaryResult, ChangeVerdict, ComparisonResult, FigureChange, LaunchResult
from experiments.schema.result import CellResult
from tasks.tracking.mlflow_store import TrackingStore


def change(system: str, verdict: str, value: float | None, *, at: str = "saturation") -> FigureChange:
    return FigureChange(
        system=system, workload="short", at=at, metric="output_tokens_per_s", higher_is_better=True,
        verdict=ChangeVerdict(verdict), margin=0.03, change=value, launches=4,
    )  # fmt: skip


@pytest.fixture
def compared(cell: Callable[..., CellResult]) -> ComparisonResult:
    launch = LaunchResult(number=1, round=0, arm="baseline", system="tiny f16", variant=cell().variant)
    return ComparisonResult(
        id="llama_cpp-1-2-abc-1", engine="llama_cpp", from_version="1", to_version="2", experiment="quickstart",
        method_version="2", verdict=ChangeVerdict.REGRESSED, reason="of 2 figures 1 regressed, 1 undecided",
        cells=(change("tiny f16", "regressed", -0.05), change("tiny f16", "undecided", None, at="0.85")),
        canary=CanaryResult(), launches=(launch,), started_at="2026-11-21T10:00:00+00:00",
        ended_at="2026-11-21T10:30:00+00:00",
    )  # fmt: skip


def published(store: TrackingStore, result: ComparisonResult, folder: Path) -> Run:
    report = folder / "report.md"
    report.write_text("# what came of it\n")
    body = folder / "comparison.json"
    body.write_text(result.model_dump_json())
    files = {"report.md": report, "comparison.json": body}
    run_id = store.publish_comparison(result, config={"looks": [4, 6, 8], "seed": 7}, files=files)
    return MlflowClient(tracking_uri=store.uri).get_run(run_id)


def test_a_comparison_is_a_run_of_its_experiment_with_its_verdict(
    store: TrackingStore, compared: ComparisonResult, tmp_path: Path
) -> None:
    run = published(store, compared, tmp_path)
    tags = run.data.tags
    assert (tags["dyno.kind"], tags["dyno.comparison"]) == ("comparison", "llama_cpp-1-2-abc-1")
    assert [tags[name] for name in ("engine", "from", "to", "verdict")] == ["llama_cpp", "1", "2", "regressed"]
    experiment = MlflowClient(tracking_uri=store.uri).get_experiment(run.info.experiment_id)
    assert (experiment.name, run.info.status) == ("quickstart", "FINISHED")
    assert run.data.params["seed"] == "7"


def test_its_changes_are_metrics_in_percent_and_what_has_none_is_absent(
    store: TrackingStore, compared: ComparisonResult, tmp_path: Path
) -> None:
    metrics = published(store, compared, tmp_path).data.metrics
    changes = {name: value for name, value in metrics.items() if name.startswith("change_percent/")}
    assert changes == {"change_percent/short/saturation/output_tokens_per_s": pytest.approx(-5.0)}
    assert (metrics["figures/regressed"], metrics["figures/undecided"], metrics["figures/improved"]) == (1, 1, 0)


def test_several_systems_do_not_share_a_metric(
    store: TrackingStore, compared: ComparisonResult, tmp_path: Path
) -> None:
    other = 'tiny f16 ab12 without --slots 8; "x"'
    two = compared.model_copy(update={"cells": (*compared.cells, change(other, "improved", 0.2))})
    metrics = published(store, two, tmp_path).data.metrics
    assert sorted(value for name, value in metrics.items() if name.startswith("change_percent/")) == pytest.approx(
        [-5.0, 20.0]
    )


def test_its_report_and_its_launches_lie_beside_it_and_publishing_again_changes_nothing(
    store: TrackingStore, compared: ComparisonResult, tmp_path: Path
) -> None:
    run, again = published(store, compared, tmp_path), published(store, compared, tmp_path)
    assert run.info.run_id == again.info.run_id
    files = {path.name: path for path in Path(run.info.artifact_uri.removeprefix("file://")).rglob("*.*")}
    assert files["report.md"].read_text() == "# what came of it\n"
    assert json.loads(files["comparison.json"].read_text())["launches"][0]["arm"] == "baseline"
    assert "very-secret-word" not in files["comparison.json"].read_text()


def test_what_any_host_has_judged_is_known_unless_it_was_void(
    store: TrackingStore, compared: ComparisonResult, tmp_path: Path
) -> None:
    asked = {"engine": "llama_cpp", "from_version": "1", "to_version": "2"}
    assert store.known_comparison("quickstart", **asked) is None
    void = {"id": "llama_cpp-1-2-abc-2", "verdict": ChangeVerdict.VOID, "started_at": "2026-11-21T11:00:00+00:00"}
    published(store, compared.model_copy(update=void), tmp_path)
    assert store.known_comparison("quickstart", **asked) is None
    run = published(store, compared, tmp_path)
    found = store.known_comparison("quickstart", **asked)
    assert found is not None
    assert (found.id, found.verdict, found.cells) == (compared.id, compared.verdict, compared.cells)
    assert found.mlflow_run_id == run.info.run_id
    assert store.known_comparison("quickstart", **asked | {"to_version": "3"}) is None
    assert store.known_comparison("another", **asked) is None
