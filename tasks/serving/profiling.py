"""A running server traces itself: what its launch needs for that, how it is told, and what lies there afterwards."""

import contextlib
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from engine_adapters.base import LaunchSpec, Profiler
from experiments.errors import MeasurementError

TRACES = "{traces}"
WRITING_S = 900.0
"""A trace of many kernels takes minutes to be written; the answer to the stop comes afterwards."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A file in Chrome's trace format, which Perfetto opens."""

    file: Path
    bytes: int
    events: int


def with_profiler(spec: LaunchSpec, profiler: Profiler, traces: Path) -> LaunchSpec:
    """The same launch, able to trace itself into the folder `traces`."""
    arguments = tuple(_filled(word, traces) for word in profiler.arguments)
    env = tuple((name, _filled(value, traces)) for name, value in profiler.env)
    return replace(spec, argv=(*spec.argv, *arguments), env=(*spec.env, *env))


def _filled(text: str, traces: Path) -> str:
    """As a whole, or escaped within a JSON text."""
    return str(traces) if text == TRACES else text.replace(TRACES, json.dumps(str(traces))[1:-1])


@contextlib.contextmanager
def profiling(url: str, profiler: Profiler, traces: Path) -> Iterator[None]:
    """What the server does inside the block is traced. Raises MeasurementError where it does not take part."""
    body = {
        name: _filled(value, traces) if isinstance(value, str) else value for name, value in profiler.start_body.items()
    }
    _post(url + profiler.start_path, body, timeout_s=60.0)
    try:
        yield
    finally:
        _post(url + profiler.stop_path, {}, timeout_s=WRITING_S)


def _post(url: str, body: dict[str, object], *, timeout_s: float) -> None:
    try:
        answer = httpx.post(url, json=body or None, timeout=timeout_s, trust_env=False)
    except httpx.HTTPError as error:
        raise MeasurementError(f"{url}: the profiler did not answer ({type(error).__name__})") from error
    if answer.status_code >= 300:
        raise MeasurementError(f"{url}: the profiler refuses: http {answer.status_code}: {answer.text[:200]}")


def traces_in(folder: Path) -> list[Trace]:
    """All traces of a folder, each of which has events. Raises MeasurementError where there is none."""
    found = [trace for file in sorted(folder.rglob("*")) if (trace := _trace(file)) is not None]
    if not found:
        names = ", ".join(sorted(path.name for path in folder.rglob("*"))) or "nothing"
        raise MeasurementError(f"the profiler left no trace with events in {folder}: there is {names}")
    return found


def _trace(file: Path) -> Trace | None:
    """None where it is no JSON in Chrome's trace format, or has no events."""
    if not file.name.endswith((".json", ".json.gz")):
        return None
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        body = json.loads(data)
    except (OSError, EOFError, ValueError):
        return None
    events = body.get("traceEvents") if isinstance(body, dict) else body
    timed = [event for event in events if isinstance(event, dict) and "ts" in event] if isinstance(events, list) else []
    return Trace(file, file.stat().st_size, len(timed)) if timed else None
