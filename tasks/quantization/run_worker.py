"""Runs the worker and turns whatever becomes of it into facts or an error."""

import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from experiments.errors import QuantizationError
from experiments.redaction import is_secret_name

ROOT = Path(__file__).parents[2]
LOG_LINES = 20

Answer = dict[str, Any]


BOOT = "import runpy, sys; sys.path.append(sys.argv.pop(1)); runpy.run_module(sys.argv.pop(1), run_name='__main__')"
"""For a tool's Python: its own packages come first, and dyno's folder last, which may hold other releases of them."""


def run_worker(
    job: dict[str, Any],
    *,
    progress: Callable[[str], None],
    program: str = "tasks.quantization.worker",
    python: Path | None = None,
) -> Answer:
    """The facts. `python` is a tool's own. Raises QuantizationError where the worker says so or dies, OSError where a
    disk failed it."""
    worker = subprocess.Popen(
        _command(program, python),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=_own_environment() if python is None else _tools_environment(),
    )
    with worker:
        try:
            return _outcome(worker, job, progress)
        finally:
            worker.kill()


def _command(program: str, python: Path | None) -> list[str]:
    # -P: the current folder is a person's, and may hold a `tasks` of its own.
    if python is None:
        return [sys.executable, "-P", "-m", program]
    return [str(python), "-P", "-c", BOOT, str(ROOT), program]


def _own_environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path}


def _tools_environment() -> dict[str, str]:
    """Without dyno's own packages, without secrets and without the network: all that a tool reads is in the folder
    that it is given."""
    kept_out = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if name not in kept_out and not is_secret_name(name)}
    offline = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK")
    return {**kept, **dict.fromkeys(offline, "1"), "TOKENIZERS_PARALLELISM": "false"}


def _outcome(worker: "subprocess.Popen[str]", job: dict[str, Any], progress: Callable[[str], None]) -> Answer:
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        worker.stdin.write(json.dumps(job) + "\n")
        worker.stdin.flush()
    except BrokenPipeError:
        pass  # it died already: what it said follows
    log: deque[str] = deque(maxlen=LOG_LINES)
    answer = _last_answer(worker.stdout, progress, log)
    if "done" in answer:
        return dict(answer["done"])
    if "error" not in answer:
        raise QuantizationError(_death(worker.wait(), job), log_excerpt="".join(log))
    error = answer["error"]
    if error["errno"] is not None:
        raise OSError(error["errno"], error["message"])
    raise QuantizationError(error["message"], log_excerpt="".join(log))


def _last_answer(lines: Iterable[str], progress: Callable[[str], None], log: deque[str]) -> Answer:
    """Until "done", "error" or the end; what is no answer of ours is the library talking, and kept as its log."""
    for line in lines:
        answer = _parsed(line)
        if "progress" in answer:
            progress(answer["progress"])
        elif answer:
            return answer
        elif line.strip():
            log.append(line)
    return {}


def _parsed(line: str) -> Answer:
    try:
        answer = json.loads(line)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) and answer.keys() <= {"progress", "done", "error"} else {}


def _death(status: int, job: dict[str, Any]) -> str:
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    advice = {
        -signal.SIGKILL: "The machine may be out of memory.",
        -signal.SIGSEGV: f"The library {job['library']} crashed: try another engine version, or q8_0 or f16."
        if job.get("library")
        else "",
    }
    what = job.get("what", job.get("file_type"))
    return f"making {what}: the process that quantizes {how}. {advice.get(status, '')}".rstrip()
