"""The process that quantizes: whatever becomes of it, dyno lives and says what happened."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.errors import QuantizationError
from tasks.artifacts.manifest import Artifact
from tasks.artifacts.store import silent
from tasks.quantization.run_worker import run_worker

JOB = {"folder": "", "output": "", "file_type": "Q4_K_M", "library": "/engine/ggml.so"}


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that runs in the worker's place, as the module `stand_in`."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "stand_in.py"


def test_a_library_that_crashes_is_an_error_with_its_last_words(program: Path) -> None:
    program.write_text(
        "import os, signal, sys\nsys.stdin.readline()\nprint('ggml: assert failed', flush=True)\n"
        "os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    with pytest.raises(QuantizationError, match=r"Q4_K_M.*ended by SIGSEGV.*another engine version") as caught:
        run_worker(JOB, progress=silent, program="stand_in")
    assert "ggml: assert failed" in caught.value.log_excerpt


def test_a_worker_that_cannot_start_is_an_error_with_the_traceback(program: Path) -> None:
    program.write_text("raise RuntimeError('no numpy here')\n")
    with pytest.raises(QuantizationError, match="ended with status 1") as caught:
        run_worker(JOB, progress=silent, program="stand_in")
    assert "no numpy here" in caught.value.log_excerpt


def test_a_full_disk_stays_a_full_disk(program: Path) -> None:
    program.write_text(
        "import json, sys\nsys.stdin.readline()\n"
        "print(json.dumps({'error': {'message': 'No space left on device', 'errno': 28}}))\n"
    )
    with pytest.raises(OSError, match="No space") as caught:
        run_worker(JOB, progress=silent, program="stand_in")
    assert caught.value.errno == 28


def test_what_a_library_prints_is_no_answer(program: Path) -> None:
    program.write_text(
        "import json, sys\nsys.stdin.readline()\nprint('loading')\nprint('{\"model\": 1}')\n"
        "print(json.dumps({'progress': 'half'}))\nprint(json.dumps({'done': {'bits': 4}}))\n"
    )
    said: list[str] = []
    assert run_worker(JOB, progress=said.append, program="stand_in") == {"bits": 4}
    assert said == ["half"]


def test_a_folder_of_the_person_named_tasks_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "__init__.py").write_text("raise RuntimeError('theirs')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(QuantizationError, match=r"config\.json: cannot be read"):
        run_worker({**JOB, "folder": str(tmp_path), "library": None}, progress=silent)


def test_the_worker_ends_when_its_owner_is_gone(model: Artifact, tmp_path: Path) -> None:
    """The owner's end of the pipe closes with it, however it dies."""
    job = {"folder": str(model.path), "output": str(tmp_path / "out.gguf"), "file_type": "F16", "library": None}
    worker = subprocess.Popen(
        [sys.executable, "-m", "tasks.quantization.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    said, _ = worker.communicate(json.dumps(job) + "\n", timeout=30)
    assert worker.returncode == 1
    assert "done" not in said


def test_a_program_of_ours_runs_under_another_python(tmp_path: Path) -> None:
    job = {**JOB, "folder": str(tmp_path), "library": None}
    with pytest.raises(QuantizationError, match=r"config\.json: cannot be read"):
        run_worker(job, progress=silent, python=Path(sys.executable))


def test_a_tool_is_given_neither_secrets_nor_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_not_for_tools")
    monkeypatch.setenv("PYTHONPATH", "/somewhere/else")
    python = tmp_path / "python"
    python.write_text(
        f"#!{sys.executable} -P\nimport json, os, sys\nsys.stdin.readline()\n"
        "print(json.dumps({'done': dict(os.environ)}))\n"
    )
    python.chmod(0o755)
    found = run_worker(JOB, progress=silent, python=python)
    assert found["HF_HUB_OFFLINE"] == "1"
    assert found.keys() & {"HF_TOKEN", "PYTHONPATH"} == set()


def test_a_bar_that_leaves_its_line_unfinished_hides_no_answer(program: Path) -> None:
    program.write_text(
        "import sys\nfrom tasks.quantization.one_job import answer_one_job\n"
        "def make(job, progress):\n    print(' 50%|##  |', end='', flush=True)\n    return {'bits': 4}\n"
        "sys.exit(answer_one_job(make))\n"
    )
    found = run_worker(JOB, progress=silent, program="stand_in")
    assert found["bits"] == 4
    assert 2**20 < found["quantize_peak_bytes"] < 2**32
