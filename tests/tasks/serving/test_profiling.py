"""A server that is told to trace itself, and the traces that are found to be ones."""

import contextlib
import gzip
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine_adapters.base import LaunchSpec, Profiler
from experiments.errors import MeasurementError
from tasks.serving.profiling import profiling, traces_in, with_profiler
from tasks.serving.server import HOST

EVENTS = {"traceEvents": [{"ph": "X", "name": "mm", "ts": 1, "dur": 2}, {"ph": "M", "name": "process_name"}]}
PROFILER = Profiler(
    start_path="/start",
    stop_path="/stop",
    arguments=("--dir", "{traces}", "--config", '{"dir": "{traces}", "kind": "torch"}', "--as-it-is", "{other}"),
    env=(("TRACE_DIR", "{traces}"),),
    start_body={"output_dir": "{traces}", "num_steps": 5},
)


def test_a_launch_with_a_profiler_knows_where_its_traces_lie() -> None:
    folder = Path('/a "quoted" folder')
    spec = with_profiler(LaunchSpec(argv=("serve", "--x"), env=(("A", "1"),)), PROFILER, folder)
    assert spec.argv[:4] == ("serve", "--x", "--dir", str(folder))
    assert json.loads(spec.argv[5]) == {"dir": str(folder), "kind": "torch"}
    assert spec.argv[6:] == ("--as-it-is", "{other}")
    assert spec.env == (("A", "1"), ("TRACE_DIR", str(folder)))


@contextlib.contextmanager
def server(status: int = 200) -> Iterator[tuple[str, list[tuple[str, object]]]]:
    """One that keeps what it was told."""
    told: list[tuple[str, object]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            told.append((self.path, json.loads(raw) if raw else None))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer((HOST, 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://{HOST}:{listener.server_port}", told
        finally:
            listener.shutdown()
            thread.join()


def test_a_profiler_is_started_and_stopped_whatever_happens_between(tmp_path: Path) -> None:
    with server() as (url, told), contextlib.suppress(KeyError), profiling(url, PROFILER, tmp_path):
        told.append(("requests", None))
        raise KeyError
    assert told == [("/start", {"output_dir": str(tmp_path), "num_steps": 5}), ("requests", None), ("/stop", None)]


def test_a_profiler_that_refuses_is_said_so(tmp_path: Path) -> None:
    with (
        server(404) as (url, _),
        pytest.raises(MeasurementError, match="refuses: http 404"),
        profiling(url, PROFILER, tmp_path),
    ):
        pass


def test_a_trace_is_what_has_events_in_chromes_format(tmp_path: Path) -> None:
    (tmp_path / "rank0.pt.trace.json.gz").write_bytes(gzip.compress(json.dumps(EVENTS).encode()))
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "list.json").write_text(json.dumps(EVENTS["traceEvents"]))
    (tmp_path / "table.txt").write_text("a table")
    (tmp_path / "cut.json.gz").write_bytes(gzip.compress(json.dumps(EVENTS).encode())[:20])
    (tmp_path / "empty.json").write_text('{"traceEvents": []}')
    (tmp_path / "other.json").write_text("3")
    assert [(trace.file.name, trace.events) for trace in traces_in(tmp_path)] == [
        ("list.json", 1),
        ("rank0.pt.trace.json.gz", 1),
    ]


def test_no_trace_is_an_error_that_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="there is nothing"):
        traces_in(tmp_path)
    (tmp_path / "table.txt").touch()
    with pytest.raises(MeasurementError, match=r"there is table\.txt"):
        traces_in(tmp_path)
