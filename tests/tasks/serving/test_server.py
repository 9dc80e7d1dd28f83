"""A LaunchSpec becomes a server that has generated a token, or a LaunchError that says why not."""

import sys
from pathlib import Path

import pytest

from engine_adapters.base import LaunchSpec, RequestDialect
from experiments.errors import LaunchError, ServerDied
from tasks.serving.server import LAUNCHERS, Server, fill, running_server, server_environment

ANSWERS = """
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.send_response(200); self.end_headers()
    def do_POST(self):
        body = json.dumps({"choices": [{"text": "x"}]}).encode()
        self.send_response(int(sys.argv[2])); self.send_header("content-length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *a): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def launch(tmp_path: Path, *argv: str, start_timeout_s: float = 20.0) -> "Server":
    """Runs a launch to its end; returns the server as it was while it ran."""
    spec = LaunchSpec(argv=("{python}", "-c", *argv), start_timeout_s=start_timeout_s)
    with running_server(
        spec,
        RequestDialect(),
        python=Path(sys.executable),
        model=tmp_path,
        log=tmp_path / "server.log",
        leases=tmp_path / "leases",
        what="a server",
        say=lambda _: None,
    ) as server:
        server.check_alive()
    return server


def test_a_server_is_ready_when_it_has_generated_a_token(tmp_path: Path) -> None:
    server = launch(tmp_path, ANSWERS, "{port}", "200")
    assert 0 < server.timings_s["healthy_s"] <= server.timings_s["first_token_s"]
    with pytest.raises(ServerDied):
        server.check_alive()


def test_a_server_that_ends_at_once_leaves_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="ended with status 3 before it was ready") as raised:
        launch(tmp_path, "import sys; print('no such weights'); sys.exit(3)")
    assert "no such weights" in raised.value.log_excerpt


def test_a_server_that_refuses_a_token_is_not_ready(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="refuses a request for one token: http 404"):
        launch(tmp_path, ANSWERS, "{port}", "404")


def test_a_server_that_never_answers_is_given_up_after_its_time(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match=r"not ready within 0\.5 s"):
        launch(tmp_path, "import time; time.sleep(600)", start_timeout_s=0.5)


def test_only_whole_arguments_are_placeholders() -> None:
    spec = LaunchSpec(
        argv=("{python}", "{launchers}/x.py", "{model}", "{host}", "{port}", "--a={port}", "{other}", "$HOME")
    )
    assert fill(spec, python=Path("/p"), model=Path("/m"), port=5) == (
        "/p",
        str(LAUNCHERS / "x.py"),
        "/m",
        "127.0.0.1",
        "5",
        "--a={port}",
        "{other}",
        "$HOME",
    )


def test_a_servers_environment_has_no_secrets_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {
        "HF_TOKEN": "hf_s",
        "OPENAI_API_KEY": "sk",
        "AWS_SECRET_ACCESS_KEY": "a",
        "PREFECT_API_URL": "http://u:p@h",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    environment = server_environment(LaunchSpec(argv=(), env=(("MINE", "1"),)))
    assert environment["MINE"] == "1"
    assert not set(secrets.values()) & set(environment.values())
