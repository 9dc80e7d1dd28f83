"""Servers that are broken in many ways: real processes; each comes out with its class and the lines that tell it."""

import contextlib
import http.server
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine_adapters.base import LaunchSpec, RequestDialect
from experiments.errors import DynoError, WrongAnswer
from experiments.schema.failure import FailureClass
from experiments.schema.variant import Variant
from tasks.diagnose import Diagnosis, diagnose
from tasks.serving.lease import session_members
from tasks.serving.server import HOST, attached_server, running_server

C = FailureClass
SERVER = """
import http.server, json, os, signal, sys, time
port, do = int(sys.argv[1]), sys.argv[2]
class Handler(http.server.BaseHTTPRequestHandler):
    asked = 0
    def do_GET(self): self.send_response(200); self.end_headers()
    def do_POST(self):
        Handler.asked += 1
        exec(do)
    def answer(self, status, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status); self.send_header("content-length", str(len(data))); self.end_headers()
        self.wfile.write(data)
    def log_message(self, *a): pass
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
OK = "self.answer(200, {'choices': [{'text': 'x'}]})"


def failure_of(
    tmp_path: Path, variant: Variant, *argv: str, start_timeout_s: float = 20.0, measuring: int = 0
) -> tuple[DynoError, Diagnosis]:
    """What a launch of this program, or what is done to it while it is measured (a signal), comes out as."""
    spec = LaunchSpec(argv=("{python}", "-c", *argv), start_timeout_s=start_timeout_s)
    log, session = tmp_path / "server.log", 0
    try:
        with running_server(
            spec,
            RequestDialect(),
            python=Path(sys.executable),
            model=tmp_path,
            log=log,
            leases=tmp_path / "leases",
            what="a server",
            say=lambda _: None,
        ) as server:
            assert server.process is not None
            session = server.process.session or 0
            os.kill(session, measuring)
            while not server.has_ended():
                pass
            raise server.explain(WrongAnswer("no request succeeded: connection refused"))
    except DynoError as error:
        assert not session or session_members(session) == []
        return error, diagnose(error, variant, log)


@pytest.mark.parametrize(
    ("do", "expected", "says"),
    [
        ("time.sleep(60)", C.TIMEOUT, "not ready within"),
        ("os._exit(0)", C.CRASHED, "ended with status 0"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", C.CRASHED, "SIGSEGV"),
        ("os.abort()", C.CRASHED, "SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGKILL)", C.KILLED, "SIGKILL"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_server_that_listens_and_gives_no_token(
    tmp_path: Path, variant: Variant, do: str, expected: FailureClass, says: str
) -> None:
    limit_s = 1.0 if expected is C.TIMEOUT else 20.0
    error, found = failure_of(tmp_path, variant, SERVER, "{port}", do, start_timeout_s=limit_s)
    assert found["failure_class"] is expected
    assert says in str(error)
    assert error.stage == "launch"


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (500, b'{"error": "boom"}', "http 500"),
        (503, b"<html>busy</html>", "http 503"),
        (400, b'{"error": "no"}', "http 400"),
        (401, b"{}", "http 401"),
        (200, b'{"object": "error"}', "no choices"),
        (200, b'{"choices": []}', "no choices"),
        (200, b"no json", "no choices"),
        (200, b"[1, 2]", "no choices"),
        (200, bytes(range(256)), "no choices"),
        (200, b"", "no choices"),
    ],
)
def test_a_server_that_answers_something_else_than_a_token(
    tmp_path: Path, variant: Variant, status: int, body: bytes, says: str
) -> None:
    log = tmp_path / "server.log"
    with answering(status, body) as url, pytest.raises(DynoError, match=says) as raised:
        attached_server(
            LaunchSpec(argv=(), url=url, start_timeout_s=0.2), RequestDialect(), log=log, say=lambda _: None
        )
    asks_for_a_key = status == 401
    expected = C.BAD_FLAG if asks_for_a_key else C.WRONG_OUTPUT
    assert diagnose(raised.value, variant, log)["failure_class"] is expected


@contextlib.contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """A server that is healthy, and has one answer to each request."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("pass", C.CRASHED),
        ("raise SystemExit(3)", C.CRASHED),
        ("raise MemoryError", C.OUT_OF_MEMORY),
        ("import os; os.write(1, b'y' * 300000 + b' No space left on device')", C.DISK_FULL),
        ("import os; os.write(2, bytes(range(256)) * 99 + b'\\nCUDA error: an illegal memory access\\n')", C.CRASHED),
        ("import os; os.write(1, b'\\x1b[31mAddress already in use\\x1b[0m')", C.PORT_IN_USE),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_server_that_ends_before_it_listens(
    tmp_path: Path, variant: Variant, program: str, expected: FailureClass
) -> None:
    _, found = failure_of(tmp_path, variant, program)
    assert found["failure_class"] is expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [(signal.SIGKILL, C.KILLED), (signal.SIGTERM, C.KILLED), (signal.SIGSEGV, C.CRASHED), (signal.SIGBUS, C.CRASHED)],
)
def test_a_server_that_dies_while_it_is_measured_is_told_as_such_and_not_as_an_answer(
    tmp_path: Path, variant: Variant, number: signal.Signals, expected: FailureClass
) -> None:
    error, found = failure_of(tmp_path, variant, SERVER, "{port}", OK, measuring=number)
    assert found["failure_class"] is expected
    assert str(error) == f"the server was killed by a signal while it was measured ({number.name})"
    assert isinstance(error.__cause__, WrongAnswer)


def test_a_program_that_is_not_there(tmp_path: Path, variant: Variant) -> None:
    spec = LaunchSpec(argv=("/no/such/engine",))
    with pytest.raises(DynoError) as raised, running_server(
        spec, RequestDialect(), python=Path("p"), model=tmp_path, log=tmp_path / "server.log",
        leases=tmp_path / "leases", what="x", say=lambda _: None,
    ):  # fmt: skip
        pass
    found = diagnose(raised.value, variant, tmp_path / "server.log")
    assert found == {
        "failure_class": C.CRASHED,
        "log_excerpt": "guard: cannot start /no/such/engine: No such file or directory",
    }
