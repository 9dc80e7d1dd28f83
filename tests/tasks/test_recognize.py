"""A server's metrics, recognized by their names."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tasks.loadgen.plan import Endpoint
from tasks.recognize import recognized_metrics

LLAMA = """\
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 10
llamacpp:tokens_predicted_total 0
llamacpp:requests_processing 0
llamacpp:requests_deferred 0
"""
"""As llama.cpp's server has them, one that our adapter knows left out."""


@pytest.fixture
def server_that_tells() -> Iterator[Callable[[str, int], Endpoint]]:
    """One connection at a time; it wants a key."""
    told: dict[str, Any] = {"body": "", "status": 200}

    class Tells(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = told["body"].encode()
            known = self.path == "/metrics" and self.headers.get("Authorization") == "Bearer secret-7"
            self.send_response(told["status"] if known else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Tells) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()

        def tells(body: str, status: int = 200) -> Endpoint:
            told.update(body=body, status=status)
            return Endpoint(f"http://127.0.0.1:{server.server_port}", "m", "KEY_OF_THE_TEST")

        yield tells
        server.shutdown()
        thread.join()


def test_the_names_are_those_of_the_engine_that_tells_them(
    server_that_tells: Callable[..., Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_OF_THE_TEST", "secret-7")
    for _ in range(2):  # the first connection was given back
        assert recognized_metrics(server_that_tells(LLAMA)) == {
            "requests_running": "llamacpp:requests_processing",
            "requests_waiting": "llamacpp:requests_deferred",
            "uncached_prompt_tokens": "llamacpp:prompt_tokens_total",
            "output_tokens": "llamacpp:tokens_predicted_total",
        }


@pytest.mark.parametrize(("body", "status"), [("up 1\n", 200), ("<html>", 200), ("", 200), (LLAMA, 503)])
def test_what_is_not_known_is_not_guessed(
    server_that_tells: Callable[..., Endpoint], monkeypatch: pytest.MonkeyPatch, body: str, status: int
) -> None:
    monkeypatch.setenv("KEY_OF_THE_TEST", "secret-7")
    assert recognized_metrics(server_that_tells(body, status)) == {}


def test_nobody_there_tells_nothing() -> None:
    assert recognized_metrics(Endpoint("http://127.0.0.1:9", "m")) == {}
