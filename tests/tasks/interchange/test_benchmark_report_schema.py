"""llm-d's own models read our Benchmark Reports. They come with the package llmd-benchmark-report 0.2.1, unpacked:

DYNO_TEST_BENCHMARK_REPORT=/path/to/folder pytest tests/tasks/interchange    the folder holds llmd_benchmark_report/
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.schema.load import ClosedLoop, Constant, Load, OpenLoop
from experiments.schema.model import Model, SyntheticSource
from experiments.schema.result import CellResult, CellState, PointResult
from experiments.schema.variant import Quantization, Variant
from experiments.schema.workload import Workload
from tasks.interchange.write_benchmark_report import benchmark_reports

FOLDER = os.environ.get("DYNO_TEST_BENCHMARK_REPORT", "")
PROGRAM = """
import json, sys, yaml, jsonschema
from llmd_benchmark_report.schema_v0_2 import BenchmarkReportV02
schema = json.load(open(sys.argv[1] + "/llmd_benchmark_report/br_v0_2_json_schema.json"))
for name in sys.argv[2:]:
    body = yaml.safe_load(open(name))
    jsonschema.validate(body, schema)
    print(BenchmarkReportV02(**body).run.uid)
"""
LENGTHS: list[dict[str, Any]] = [
    {"prompt_tokens": 32, "output_tokens": 8},
    {"prompt_tokens": {"kind": "uniform", "min": 10, "max": 20}, "output_tokens": {"kind": "natural", "max": 9}},
    {"prompt_tokens": {"kind": "normal", "mean": 64, "std": 8}, "output_tokens": 8, "conversation": {"turns": 3}},
    {"prompt_tokens": 64, "output_tokens": 8, "cache": "shared", "shared_prefix": {"tokens": 32, "groups": 2}},
]

pytestmark = pytest.mark.skipif(
    not FOLDER, reason="DYNO_TEST_BENCHMARK_REPORT names no folder with llmd_benchmark_report 0.2.1"
)


def test_the_published_models_and_schema_take_every_report(trial: Callable[..., Path], tmp_path: Path) -> None:
    loads: list[Load] = [ClosedLoop(concurrency=2), OpenLoop(arrivals=Constant(), rate_rps=3.5)]
    folders = [trial(load, name=f"0{step}") for step, load in enumerate(loads)]
    points = tuple(PointResult.model_validate_json((folder / "trial.json").read_bytes()) for folder in folders)
    model = Model(name="tiny", source=SyntheticSource(kind="synthetic"))
    variant = Variant(engine="vllm", engine_version="0.33.0", quantization=Quantization.BF16, model=model)
    reports: list[str] = []
    for number, lengths in enumerate(LENGTHS):
        cell = CellResult(
            cell_id=f"cell{number}", experiment="e", campaign="e-1", launch=1, variant=variant, points=points,
            workload=Workload.model_validate({"name": "w", **lengths}), state=CellState.MEASURED, grade="C",
        )  # fmt: skip
        for name, body in benchmark_reports([cell]).items():
            (tmp_path / name).write_text(body)
            reports.append(str(tmp_path / name))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, FOLDER, *reports],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": FOLDER}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(done.stdout.splitlines()) == len(LENGTHS) * len(loads)
