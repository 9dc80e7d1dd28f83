"""Stand-ins keep the rules of the engines in whose place they stand: what they take, refuse, count and end."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine_adapters import ADAPTERS
from tasks.artifacts.sources import fetch_model
from tasks.artifacts.store import ArtifactStore
from tasks.serving.server import free_port
from tests.stand_ins.demo import SOURCE
from tests.stand_ins.programs import stand_in_programs

ASKED = {"model": "model", "prompt": [10, 11, 12], "max_tokens": 40}
IGNORING = {"ignore_eos": True}
IN_STREAM = {"stream": True, "stream_options": {"include_usage": True}}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fetch_model(SOURCE, ArtifactStore(tmp_path_factory.mktemp("model")), progress=lambda _: None).path


@contextmanager
def running(folder: Path, program: str, *arguments: str, **env: str) -> Iterator[httpx.Client]:
    port = free_port()
    command = [str(stand_in_programs(folder) / program), *arguments, "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **env})
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as client:
            _until_healthy(client, process)
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def _until_healthy(client: httpx.Client, process: "subprocess.Popen[bytes]") -> None:
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        assert process.poll() is None
        try:
            assert client.get("/health").status_code == 200
            return
        except httpx.ConnectError:
            time.sleep(0.05)
    raise AssertionError("not healthy in time")


@pytest.fixture(scope="module")
def vllm(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    words = ["-m", "vllm.entrypoints.cli.main", "serve", str(model), "--served-model-name", "model"]
    with running(tmp_path_factory.mktemp("vllm"), "python", *words, "--max-model-len", "64") as client:
        yield client


@pytest.fixture(scope="module")
def trtllm(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("trtllm")
    (folder / "options.yaml").write_text(json.dumps({"return_perf_metrics": True, "stream_interval": 1}))
    words = [str(model), "--backend", "pytorch", "--extra_llm_api_options", str(folder / "options.yaml")]
    with running(folder, "trtllm-serve", *words, "--max_seq_len", "64") as client:
        yield client


def events(client: httpx.Client, **fields: Any) -> list[str]:
    answer = client.post("/v1/completions", json={**ASKED, **IN_STREAM, **fields})
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [line.removeprefix("data: ") for line in answer.text.splitlines() if line]


@pytest.mark.parametrize("engine", ["vllm", "trtllm"])
def test_a_stream_is_a_chunk_a_token_then_the_usage_then_done(engine: str, request: pytest.FixtureRequest) -> None:
    *chunks, usage, done = events(request.getfixturevalue(engine), **IGNORING)
    assert done == "[DONE]"
    assert [json.loads(chunk)["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 39 + ["length"]
    assert json.loads(usage)["choices"] == []
    assert (json.loads(usage)["usage"]["prompt_tokens"], json.loads(usage)["usage"]["completion_tokens"]) == (3, 40)


@pytest.mark.parametrize("engine", ["vllm", "trtllm"])
def test_an_answer_may_end_by_itself_unless_it_is_told_not_to(engine: str, request: pytest.FixtureRequest) -> None:
    client = request.getfixturevalue(engine)

    def length(**fields: Any) -> int:
        answer = client.post("/v1/completions", json={**ASKED, **fields})
        return int(answer.json()["usage"]["completion_tokens"])

    natural = length()
    assert natural < 40
    assert length(min_tokens=natural + 5) == natural + 5
    assert length(**IGNORING) == 40


def test_a_field_that_nobody_knows_is_ignored_by_vllm_and_refused_by_tensorrt_llm(
    vllm: httpx.Client, trtllm: httpx.Client
) -> None:
    strange = {**ASKED, "return_token_ids": True}
    assert vllm.post("/v1/completions", json=strange).status_code == 200
    refused = trtllm.post("/v1/completions", json=strange)
    assert (refused.status_code, "return_token_ids" in refused.text) == (400, True)


@pytest.mark.parametrize("engine", ["vllm", "trtllm"])
def test_what_does_not_fit_into_the_context_is_refused(engine: str, request: pytest.FixtureRequest) -> None:
    answer = request.getfixturevalue(engine).post("/v1/completions", json={**ASKED, "max_tokens": 62})
    assert (answer.status_code, "64" in answer.text) == (400, True)


def test_vllm_serves_its_model_by_name_only_and_keeps_its_development_paths_shut(vllm: httpx.Client) -> None:
    assert vllm.post("/v1/completions", json={**ASKED, "model": "another"}).status_code == 404
    assert vllm.get("/v1/models").json()["data"][0]["id"] == "model"
    for path in ("/reset_prefix_cache", "/start_profile", "/stop_profile"):
        assert vllm.post(path).status_code == 404


def test_each_tells_the_metrics_that_its_adapter_reads(vllm: httpx.Client, trtllm: httpx.Client) -> None:
    for client, engine, path in (
        (vllm, "vllm", "/metrics"),
        (trtllm, "tensorrt_llm", "/prometheus/metrics"),
    ):
        text = client.get(path).text
        for name in ADAPTERS[engine].metric_names.values():
            assert f"\n{name}{{" in text
    assert trtllm.get("/metrics").json() == []


def test_vllm_traces_and_forgets_where_its_launch_asked_for_that(model: Path, tmp_path: Path) -> None:
    profiler = json.dumps({"profiler": "torch", "torch_profiler_dir": str(tmp_path / "traces")})
    words = ["-m", "vllm.entrypoints.cli.main", "serve", str(model), "--served-model-name", "model"]
    with running(tmp_path, "python", *words, "--profiler-config", profiler, VLLM_SERVER_DEV_MODE="1") as client:
        assert client.post("/reset_prefix_cache").json() == {"success": True}
        assert client.post("/start_profile").status_code == client.post("/stop_profile").status_code == 200
    (trace,) = (tmp_path / "traces").iterdir()
    assert "STAND-IN" in trace.read_text()
