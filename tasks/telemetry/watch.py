"""A trial is watched: a process of its own beside it, and the tables of what it saw."""

import contextlib
import json
import logging
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tasks.telemetry.record import Telemetry, engine_table, gpu_table, write_telemetry
from tasks.telemetry.scrape import Scraped

log = logging.getLogger("dyno.telemetry")

READY_WITHIN_S = 15.0
"""NVML wakes a GPU that nobody holds open, which takes seconds."""

END_WITHIN_S = 5.0
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Watched:
    """What is to be seen beside a trial; the reasons are those for what is not."""

    gpus: tuple[str, ...] = ()
    engine: Scraped | None = None
    gpu_reason: str = "no GPU: this launch takes none"
    engine_reason: str = "it is not known where and how this server tells its metrics"


@dataclass(slots=True)
class Watch:
    """`telemetry` is there after the block."""

    telemetry: Telemetry = field(default_factory=Telemetry)


@contextlib.contextmanager
def watching(watched: Watched, folder: Path) -> Iterator[Watch]:
    """Inside the block all that can be seen is being seen: a first sample was taken before it, a last one is after it.
    Writes the telemetry's files to `folder`. What cannot be seen is a reason, and never an error."""
    watch = Watch(Telemetry(gpu_reason=watched.gpu_reason, engine_reason=watched.engine_reason))
    if not watched.gpus and watched.engine is None:
        yield watch
        return
    folder.mkdir(parents=True, exist_ok=True)
    seen = folder / "telemetry.partial"
    process, problem = _start(watched, seen)
    try:
        yield watch
    finally:
        _end(process)
        watch.telemetry = _read(watched, seen, watch.telemetry, problem)
        write_telemetry(folder, watch.telemetry)
        seen.unlink(missing_ok=True)


def _start(watched: Watched, seen: Path) -> "tuple[subprocess.Popen[bytes] | None, str]":
    """The process, and what kept it from being ready in time. Its session is its own: Ctrl-C is not meant for it."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])}
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tasks.telemetry.observer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        return None, f"the process that watches could not be started: {error}"
    engine = asdict(watched.engine) | {"names": dict(watched.engine.names)} if watched.engine else None
    asked = {"gpus": watched.gpus, "engine": engine, "file": str(seen)}
    return process, _tell(process, json.dumps(asked).encode() + b"\n")


def _tell(process: "subprocess.Popen[bytes]", line: bytes) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(line)
        process.stdin.flush()
    said = b""
    if select.select([process.stdout], [], [], READY_WITHIN_S)[0]:
        said = process.stdout.readline()
    if said.strip() == b"ready":
        return ""
    return f"the process that watches was not ready: {said.decode(errors='replace').strip() or 'it said nothing'}"


def _end(process: "subprocess.Popen[bytes] | None") -> None:
    """The end of its input ends it; where it hangs in a driver's call, SIGKILL does."""
    if process is None:
        return
    try:
        process.communicate(timeout=END_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _read(watched: Watched, seen: Path, telemetry: Telemetry, problem: str) -> Telemetry:
    gpu: list[list[Any]] = []
    engine: list[tuple[int, dict[str, float]]] = []
    why = {"no gpu": problem or "the GPUs told nothing", "no engine": problem or _no_names(watched)}
    for kind, *line in _lines(seen):
        if kind == "gpu":
            gpu.append(line)
        elif kind == "engine":
            engine.append((line[1], line[0]))
        else:
            why[kind] = line[0]
    if problem:
        log.warning("no telemetry: %s", problem)
    if watched.gpus:
        telemetry = replace(telemetry, gpu=gpu_table(gpu) if gpu else None, gpu_reason=why["no gpu"])
    if watched.engine:
        told = engine_table(engine) if any(values for _, values in engine) else None
        telemetry = replace(telemetry, engine=told, engine_reason=why["no engine"])
    return telemetry


def _no_names(watched: Watched) -> str:
    if watched.engine is None:
        return watched.engine_reason
    return f"{watched.engine.path} has none of {', '.join(watched.engine.names.values())}"


def _lines(seen: Path) -> Iterator[list[Any]]:
    """The last line may be cut where the process was killed."""
    with contextlib.suppress(FileNotFoundError), seen.open(encoding="utf-8") as file:
        for line in file:
            with contextlib.suppress(ValueError):
                yield json.loads(line)
