"""`dyno ui` leads to the runs, not to MLflow's front page."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from flows.user_interfaces import runs_pages


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status if self.path == "/api/2.0/mlflow/experiments/search" else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_each_experiment_has_the_address_of_its_runs() -> None:
    found = [{"name": "quickstart", "experiment_id": "3"}, {"name": "Default", "experiment_id": "0"}]
    with answering(200, json.dumps({"experiments": found}).encode()) as url:
        assert runs_pages(url) == {"quickstart": f"{url}/#/experiments/3/runs"}


def test_a_store_that_does_not_tell_costs_nothing_but_the_addresses() -> None:
    for status, body in ((401, b"{}"), (200, b"<html>"), (200, b"{}")):
        with answering(status, body) as url:
            assert runs_pages(url) == {}
    assert runs_pages("http://127.0.0.1:9") == {}
