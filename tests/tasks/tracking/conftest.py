"""A cell that was measured, and a store whose database is made once per test run."""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.schema.load import ClosedLoop, LoadPoint, OpenLoop, Poisson, StopRule
from experiments.schema.model import Model, SyntheticSource
from experiments.schema.result import (
    Capacity,
    CellResult,
    CellState,
    Distribution,
    PointResult,
    SLOAttainment,
    TrialSummary,
)
from experiments.schema.variant import EnvironmentVariable, Quantization, Variant
from experiments.schema.workload import Workload
from tasks.tracking.mlflow_store import TrackingStore


def make_point(step: int, rate: float, *, offered: bool) -> PointResult:
    summary = TrialSummary(
        method_version="1", requests=100, outcomes={"completed": 100}, valid=True, window_s=10.0,
        offered_rps=rate if offered else None, achieved_rps=rate, completed_rps=rate, output_tokens_per_s=16 * rate,
        latencies={"ttft_ms": Distribution(n=100, mean=51.0, p50=50.0 + step, p90=60.0, p95=70.0)},
        slos=(
            SLOAttainment(slo="ttft:p95<300ms", attainment=1.0, goodput_rps=rate, verdict="unknown", n=100),
        ),
    )  # fmt: skip
    load: Any = OpenLoop(arrivals=Poisson(), rate_rps=rate) if offered else ClosedLoop(concurrency=2**step)
    role: Any = "open_loop" if offered else "saturation" if step else "synchronous"
    point = LoadPoint(step=step, role=role, load=load, stop=StopRule(requests=100))
    return PointResult(point=point, summary=summary, directory=f"{step}", started_at=f"2026-11-21T10:0{step}:00+00:00")


def make_cell(**changes: Any) -> CellResult:
    fields: dict[str, Any] = {
        "cell_id": "c0ffee123456", "experiment": "quickstart", "campaign": "quickstart-1", "launch": 1,
        "variant": Variant(
            engine="llama_cpp", engine_version="0.3.1", quantization=Quantization.Q8_0,
            model=Model(name="tiny", source=SyntheticSource(kind="synthetic")),
            env=(EnvironmentVariable(name="HF_TOKEN", value="hf_aaaaaaaaaaaaaaaaaaaaaaaa"),),
            extra_args=("--api-key", "very-secret-word"),
        ),
        "workload": Workload(name="short", prompt_tokens=128, output_tokens=16),
        "state": CellState.MEASURED, "grade": "A",
        "points": (make_point(0, 10, offered=False), make_point(1, 20, offered=False), make_point(2, 15, offered=True)),
        "headlines": {"floor_ttft_p50_ms": 50.0, "saturation_rps": 20.0, "saturation_output_tokens_per_s": 320.0,
                      "capacity_rps/ttft_p95_300ms": 15.0},
        "capacities": (Capacity(slo="ttft:p95<300ms", name="ttft_p95_300ms", verdict="certified", certified_rps=15),),
        "provenance": {"argv": ["server", "--port", "1"], "software": {"git_revision": "abc"}},
        "stages_s": {"launch": 0.5}, "prefect_run_id": "f00d",
        "started_at": "2026-11-21T10:00:00+00:00", "ended_at": "2026-11-21T10:05:00+00:00",
    }  # fmt: skip
    return CellResult(**(fields | changes))


@pytest.fixture
def cell() -> Callable[..., CellResult]:
    return make_cell


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Making and migrating a database takes seconds: once. MLflow's own use of SQLAlchemy warns, once too."""
    folder = tmp_path_factory.mktemp("template")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        TrackingStore(f"sqlite:///{folder / 'mlflow.db'}", folder).sweep_dead_invocations()
    return folder / "mlflow.db"


@pytest.fixture
def store(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> TrackingStore:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "store"
    folder.mkdir()
    shutil.copy(empty_database, folder / "mlflow.db")
    return TrackingStore(f"sqlite:///{folder / 'mlflow.db'}", folder)
