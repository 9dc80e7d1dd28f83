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

ROOT = Path(__file__).parents[2]
LOG_LINES = 20

Answer = dict[str, Any]


def run_worker(
    job: dict[str, Any], *, progress: Callable[[str], None], program: str = "tasks.quantization.worker"
) -> Answer:
    """The facts. Raises QuantizationError where the worker says so or dies, OSError where a disk failed it."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    # -P: the current folder is a person's, and may hold a `tasks` of its own.
    worker = subprocess.Popen(
        [sys.executable, "-P", "-m", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    with worker:
        try:
            return _outcome(worker, job, progress)
        finally:
            worker.kill()


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
        else:
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
        -signal.SIGSEGV: f"The library {job.get('library')} crashed: try another engine version, or q8_0 or f16.",
    }
    return f"making {job.get('file_type')}: the process that quantizes {how}. {advice.get(status, '')}".rstrip()
