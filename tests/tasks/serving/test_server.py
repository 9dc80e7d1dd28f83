"""A LaunchSpec becomes a server that has generated a token, or a LaunchError that says why not."""

import contextlib
import http.server
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from engine_adapters.base import LaunchSpec, RequestDialect
from experiments.errors import LaunchError, ServerDied
from tasks.serving.server import (
    HOST,
    LAUNCHERS,
    Server,
    attached_server,
    fill,
    free_port,
    running_server,
    server_environment,
    spec_environment,
)
from tests.fake_engine import FakeEngine

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


def launch(tmp_path: Path, *argv: str, start_timeout_s: float = 20.0, served_model: str = "model") -> "Server":
    """Runs a launch to its end; returns the server as it was while it ran."""
    spec = LaunchSpec(argv=("{python}", "-c", *argv), start_timeout_s=start_timeout_s, served_model=served_model)
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


def test_an_engine_that_serves_under_its_models_path_is_asked_for_it(tmp_path: Path) -> None:
    assert launch(tmp_path, ANSWERS, "{port}", "200", served_model="{model}").model == str(tmp_path)


def attach(tmp_path: Path, url: str, served_model: str = "", api_key_env: str = "") -> Server:
    spec = LaunchSpec(argv=(), url=url, ready_path="/v1/models", version_path="/version", served_model=served_model)
    log = tmp_path / "server.log"
    return attached_server(spec, RequestDialect(), log=log, say=lambda _: None, api_key_env=api_key_env)


def test_a_server_that_is_there_already_is_attached_to_and_left_alone(tmp_path: Path) -> None:
    with FakeEngine() as engine:
        server = attach(tmp_path, engine.url)
        assert (server.url, server.model, server.process, server.version) == (engine.url, "fake", None, "")
        assert server.timings_s["first_token_s"] > 0
        assert [seen.body["model"] for seen in engine.generations] == ["fake"]
        assert not server.has_ended()
        server.check_alive()
        # Answered after those connections, so that the fake engine has seen them end before it is stopped.
        assert httpx.get(f"{engine.url}/health", trust_env=False).status_code == 200
    assert engine.url in (tmp_path / "server.log").read_text()
    with pytest.raises(ServerDied, match="takes no connection any more"):
        server.check_alive()


def test_nobody_at_the_address_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="takes no connection"):
        attach(tmp_path, f"http://127.0.0.1:{free_port()}")


@pytest.mark.parametrize(
    ("models", "says"),
    [
        ({"data": [{"id": "one"}, {"id": "two"}]}, r"lists 2 models \(one, two\)"),
        ({"data": []}, "lists 0 models"),
        ({"error": "no"}, "does not list its models"),
    ],
)
def test_which_model_is_meant_is_never_guessed(tmp_path: Path, models: object, says: str) -> None:
    """Unless the experiment names it: then the list is not asked for."""
    with listing(models) as url:
        with pytest.raises(LaunchError, match=says):
            attach(tmp_path, url)
        assert attach(tmp_path, url, served_model="two").model == "two"


def test_a_server_that_asks_for_a_key_gets_that_of_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITS_KEY", " its-own-key\n")
    with listing({"data": [{"id": "one"}]}, key="its-own-key") as url:
        server = attach(tmp_path, url, api_key_env="ITS_KEY")
    assert (server.model, server.api_key_env) == ("one", "ITS_KEY")
    assert "its-own-key" not in f"{server}{(tmp_path / 'server.log').read_text()}"


@pytest.mark.parametrize("served_model", ["", "one"])
def test_a_wrong_key_is_said_at_once_and_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served_model: str
) -> None:
    monkeypatch.setenv("ITS_KEY", "of-another-server")
    with (
        listing({"data": [{"id": "one"}]}, key="its-own-key") as url,
        pytest.raises(LaunchError, match="http 401: the server asks for another API key") as refused,
    ):
        attach(tmp_path, url, served_model, "ITS_KEY")
    assert "of-another-server" not in str(refused.value)


@pytest.mark.parametrize("held", [None, " ", "two\nlines"])
def test_a_variable_without_a_key_is_named_before_anything_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: str | None
) -> None:
    monkeypatch.delenv("ITS_KEY", raising=False)
    if held is not None:
        monkeypatch.setenv("ITS_KEY", held)
    with pytest.raises(LaunchError, match="ITS_KEY: this environment variable is to hold"):
        attach(tmp_path, f"http://127.0.0.1:{free_port()}", api_key_env="ITS_KEY")


@contextlib.contextmanager
def listing(models: object, key: str = "") -> Iterator[str]:
    """A server that lists these models, and answers each request; with a key, only those that bear it. What it refuses
    it repeats."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self, body: object) -> None:
            asked = self.headers.get("Authorization", "")
            refused = bool(key) and asked != f"Bearer {key}"
            data = json.dumps({"error": asked} if refused else body).encode()
            self.send_response(401 if refused else 200)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self.answer(models)

        def do_POST(self) -> None:
            self.answer({"choices": [{"text": "x"}]})

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


def test_threads_leave_a_core_to_the_load_client(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = LaunchSpec(argv=(), env=(("THREADS", "{spare_cores}"), ("AS_IT_IS", "x{spare_cores}")))
    for cores, spare in ((1, "1"), (2, "1"), (64, "63"), (None, "1")):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert spec_environment(spec) == {"THREADS": spare, "AS_IT_IS": "x{spare_cores}"}


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


PRINTS_A_FILE = "import sys; print('read', open(sys.argv[1]).read(), flush=True); sys.exit(3)"


def test_what_a_server_reads_is_there_before_it_starts_and_stays_beside_its_log(tmp_path: Path) -> None:
    argv = ("{python}", "-c", PRINTS_A_FILE, "{files}/options.yaml")
    spec = LaunchSpec(argv=argv, files=(("options.yaml", "dtype: bfloat16"),))
    with pytest.raises(LaunchError) as died, starting(spec, tmp_path):
        pass
    assert "read dtype: bfloat16" in died.value.log_excerpt
    assert (tmp_path / "server-files" / "options.yaml").read_text() == "dtype: bfloat16"
    assert not list((tmp_path / "server-files").glob("*.partial"))


def test_a_program_without_a_path_is_the_environments_own(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "trtllm-serve"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho its own; exit 3\n")
    program.chmod(0o755)
    with pytest.raises(LaunchError) as died, starting(LaunchSpec(argv=("trtllm-serve",)), tmp_path, python=program):
        pass
    assert "its own" in died.value.log_excerpt


def test_a_path_within_what_is_loaded_is_filled_in_and_one_that_only_looks_so_is_not() -> None:
    spec = LaunchSpec(argv=("{model}/lib.so", "{modelx}/lib.so", "--a={model}/lib.so", "{files}/o"))
    filled = fill(spec, python=Path("/p"), model=Path("/m"), port=5, files=Path("/f"))
    assert filled == ("/m/lib.so", "{modelx}/lib.so", "--a={model}/lib.so", "/f/o")


def starting(
    spec: LaunchSpec, tmp_path: Path, python: Path = Path(sys.executable)
) -> "contextlib.AbstractContextManager[Server]":
    return running_server(
        spec,
        RequestDialect(),
        python=python,
        model=tmp_path,
        log=tmp_path / "server.log",
        leases=tmp_path / "leases",
        what="a server",
        say=lambda _: None,
    )
