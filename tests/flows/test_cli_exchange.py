"""`dyno load --import` and `dyno export` as a person runs them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CAPTURED = Path(__file__).parents[1] / "tasks/interchange/captured"
RESULT = CAPTURED / "vllm-0.32-schema-by-hand.json"
Dyno = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def dyno(tmp_path: Path) -> Dyno:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        env = os.environ | {"DYNO_HOME": str(tmp_path / "home"), "PYTHONPATH": str(Path(__file__).parents[2])}
        command = [sys.executable, "-m", "flows.cli", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env, timeout=60)

    return run


def test_an_imported_trial_can_be_kept_and_exported(dyno: Dyno, tmp_path: Path) -> None:
    done = dyno("load", "--import", str(RESULT), "--out", "trial", "--slo", "ttft:p50<100ms", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["imported_from"]["tool"] == "vllm"
    done = dyno("export", "--format", "guidellm", "trial", "--out", "benchmarks.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "benchmarks.json").read_text())["metadata"]["version"] == 2
    done = dyno("export", "--format", "vllm", "trial")
    assert json.loads(done.stdout)["completed"] == 3
    assert not list(tmp_path.glob("*.partial"))


def test_nothing_imported_passes_for_valid(dyno: Dyno) -> None:
    done = dyno("load", "--import", str(RESULT), "--fail-if-invalid")
    assert done.returncode == 4
    assert "imported from vllm bench serve" in done.stdout
    assert "unknown: ttft" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["load"], "give URL and --model of the server, or --import FILE"),
        (["load", "http://127.0.0.1:9"], "give --model of the server"),
        (["load", "http://127.0.0.1:9", "--import", str(RESULT)], "leave URL out"),
        (["load", "--import", str(RESULT), "--concurrency", "4", "--seed", "0"], "leave --concurrency, --seed out"),
        (["load", "--import", "nowhere.json"], "nowhere.json: cannot be read: No such file"),
        (["load", "--import", str(RESULT), "--slo", "speed"], "--slo 'speed'"),
        (["export", "--format", "vllm", "."], "no trial.json in it or below it"),
        (["export", "--format", "vllm", "0123abc"], "'0123abc' is no folder"),
        (["export", "--format", "vllm"], "give a cell's id or a folder"),
        (["export", "--format", "csv", "."], "csv"),
    ],
)
def test_what_cannot_be_is_said_without_a_traceback(dyno: Dyno, arguments: list[str], said: str) -> None:
    done = dyno(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_broken_trial_is_named(dyno: Dyno, tmp_path: Path) -> None:
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial/trial.json").write_text("{}")
    done = dyno("export", "--format", "guidellm", "trial")
    assert (done.returncode, "trial.json: point: Field required" in done.stderr) == (2, True), done.stderr
