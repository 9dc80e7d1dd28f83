"""`dyno deploy` against a real Prefect server on loopback, and what the event of a release starts there."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

DYNO = str(Path(sys.executable).with_name("dyno"))
LIMIT_S = 180.0
ANNOUNCE = """
import json, uuid
from flows.announcing import announce_release
event_id = uuid.uuid5(uuid.NAMESPACE_URL, "a release")
print(json.dumps([announce_release(event_id, "llama_cpp", "2.0", "1.0") for _ in range(2)]))
"""
"""The server takes a moment until an event can be asked for: the second telling is dropped by its id."""


@pytest.fixture(scope="module")
def server(prefect_server: dict[str, str]) -> dict[str, str]:
    return prefect_server


def until(true: Callable[[], object]) -> None:
    limit = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.2)


def run(server: dict[str, str], *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, env=server, capture_output=True, text=True, check=False, timeout=300)


def deployed(server: dict[str, str], *options: str) -> dict[str, Any]:
    done = run(server, DYNO, "deploy", "--json", *options)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def asked(server: dict[str, str], path: str, body: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    answer = httpx.post(f"{server['PREFECT_API_URL']}/{path}/filter", json=body or {}, timeout=30.0)
    answer.raise_for_status()
    found: list[dict[str, Any]] = answer.json()
    return found


def everything(server: dict[str, str]) -> dict[str, list[tuple[str, str]]]:
    """All that a deployment registers, by its own ids."""
    kinds = ("work_pools", "deployments", "automations", "variables", "v2/concurrency_limits")
    return {kind: sorted((one["name"], one["id"]) for one in asked(server, kind)) for kind in kinds}


def changes(found: dict[str, Any]) -> set[str]:
    return {row["change"] for rows in found.values() if isinstance(rows, list) for row in rows}


@pytest.fixture(scope="module")
def first(server: dict[str, str]) -> dict[str, Any]:
    return deployed(server, "--gpu-host", "h100-a=2")


def test_all_is_registered_and_once_more_changes_nothing(server: dict[str, str], first: dict[str, Any]) -> None:
    assert changes(first) == {"made"}
    assert {one["name"] for one in first["pools"]} == {"dyno", "dyno-control"}
    assert len(first["deployments"]) == 7
    assert [one["name"] for one in first["limits"]] == ["gpu:h100-a:0", "gpu:h100-a:1"]
    before = everything(server)
    assert changes(deployed(server, "--gpu-host", "h100-a=2")) == {"unchanged"}
    assert everything(server) == before


def test_the_forms_show_what_each_field_means(server: dict[str, str], first: dict[str, Any]) -> None:
    schemas = {one["name"]: one["parameter_openapi_schema"] for one in asked(server, "deployments")}
    growth = schemas["retry-failed"]["definitions"]["RetryRequest"]["properties"]["growth"]
    assert growth["minimum"] == 1
    assert "times the one before" in growth["description"]


def test_a_parameter_that_cannot_be_is_refused_by_the_server(server: dict[str, str], first: dict[str, Any]) -> None:
    retry = next(one["id"] for one in first["deployments"] if one["name"] == "retry-failed")
    url = f"{server['PREFECT_API_URL']}/deployments/{retry}/create_flow_run"
    answer = httpx.post(url, json={"parameters": {"request": {"max_retries": 0}}}, timeout=30.0)
    assert answer.status_code == 409
    assert "max_retries" in answer.text


def test_the_event_of_a_release_starts_one_run_with_what_it_says(server: dict[str, str], first: dict[str, Any]) -> None:
    done = run(server, sys.executable, "-c", ANNOUNCE)
    assert done.returncode == 0, done.stderr
    release = next(one["id"] for one in first["deployments"] if one["name"] == "engine-release")
    of_release = {"deployments": {"id": {"any_": [release]}}}
    until(lambda: asked(server, "flow_runs", of_release))
    until(lambda: event_is_known(server))
    assert json.loads(run(server, sys.executable, "-c", ANNOUNCE).stdout) == [False, False]
    (found,) = asked(server, "flow_runs", of_release)
    assert found["parameters"]["request"] == {"engine": "llama_cpp", "version": "2.0", "previous": "1.0"}


def event_is_known(server: dict[str, str]) -> bool:
    told = {"filter": {"event": {"name": ["dyno.engine.released"]}}}
    answer = httpx.post(f"{server['PREFECT_API_URL']}/events/filter", json=told, timeout=30.0)
    return bool(answer.json()["total"])


class Inbox(ThreadingHTTPServer):
    """What a team's chat would be told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Post)
        self.told: list[str] = []


class Post(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Inbox)
        self.server.told.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""


JUDGE = """
import sys
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from experiments.schema.comparison import ComparisonResult
from flows.announcing import announce_verdict
if sys.argv[1] == "save":
    told = {"text": "{{subject}}: {{body}}"}
    CustomWebhookNotificationBlock(name="team", url=sys.argv[2], method="POST", json_data=told).save("team")
for verdict in ("improved", "undecided", "regressed") if sys.argv[1] == "tell" else ():
    announce_verdict(ComparisonResult(
        id=f"vllm-1-2-{verdict}", engine="vllm", from_version="0.32.0", to_version="0.33.0", experiment="almanac",
        method_version="2", verdict=verdict, reason="of 12 figures 3 " + verdict, ended_at="2026-11-21T10:00:00+00:00",
        mlflow_run_id="c0ffee",
    ))
"""


def test_a_regression_and_no_other_verdict_is_told_to_the_block_that_was_named(
    server: dict[str, str], first: dict[str, Any]
) -> None:
    with Inbox() as inbox:
        threading.Thread(target=inbox.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{inbox.server_port}/hook"
        assert run(server, sys.executable, "-c", JUDGE, "save", url).returncode == 0
        found = deployed(server, "--notify", "custom-webhook/team")
        assert {one["change"] for one in found["automations"]} == {"unchanged", "made"}
        done = run(server, sys.executable, "-c", JUDGE, "tell")
        assert done.returncode == 0, done.stderr
        until(lambda: inbox.told)
        (text,) = inbox.told
        inbox.shutdown()
    for word in ("vllm 0.33.0 regressed", "0.32.0 to 0.33.0 on almanac", "of 12 figures 3 regressed", "c0ffee"):
        assert word in text


SECRET = """
import asyncio, os, sys
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.workers.process import ProcessJobConfiguration
if sys.argv[1] == "save":
    Secret(value="hf_" + "z" * 20).save("hub")
else:
    async def told():
        async with get_client() as client:
            pool = await client.read_work_pool("dyno")
            (one,) = [d for d in await client.read_deployments() if d.name == "measure-variant"]
            found = await ProcessJobConfiguration.from_template_and_values(pool.base_job_template, one.job_variables)
            print(found.env["HF_TOKEN"], found.env["DO_NOT_TRACK"])
    asyncio.run(told())
"""


def test_a_secret_block_reaches_the_runs_of_workers_and_no_pool_or_deployment(
    server: dict[str, str], first: dict[str, Any]
) -> None:
    """As Prefect's own worker prepares a run; the server keeps a reference."""
    done = run(server, DYNO, "deploy", "--secret", "HF_TOKEN=hub")
    assert done.returncode == 2
    assert "no block secret/hub" in done.stderr
    assert run(server, sys.executable, "-c", SECRET, "save").returncode == 0
    found = deployed(server, "--secret", "HF_TOKEN=hub")
    assert {one["change"] for one in found["pools"]} == {"changed"}
    assert {one["change"] for one in deployed(server)["pools"]} == {"unchanged"}
    secret = "hf_" + "z" * 20
    assert run(server, sys.executable, "-c", SECRET, "told").stdout.split() == [secret, "true"]
    for kind in ("work_pools", "deployments"):
        assert secret not in json.dumps(asked(server, kind))


def test_what_a_pool_needs_and_lacks_is_said(server: dict[str, str], first: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    variant = "{engine: llama_cpp, engine_version: '2026.10.11549', model: tiny-llama-3m, quantization: f16}"
    file.write_text(f"variants: [{variant}]\nworkloads: [in16-out64]\n")
    done = run(server, DYNO, "run", str(file), "--pool", "nowhere")
    assert done.returncode == 2, done.stderr
    assert "dyno deploy --pool nowhere" in done.stderr
    without = {name: value for name, value in server.items() if name != "PREFECT_API_URL"}
    for command in (["deploy"], ["worker"], ["run", str(file), "--pool", "dyno"]):
        done = run(without, DYNO, *command)
        assert done.returncode == 2, done.stderr
        assert "PREFECT_API_URL" in done.stderr
