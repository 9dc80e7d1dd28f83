"""`dyno run --pool` on real workers: two on one machine stand for two hosts, each with a store of its own. The engine
is the real llama.cpp, MLflow a file that all of them know. One worker is killed while it measures."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tasks.serving.environment import Environment

pytestmark = [pytest.mark.stack, pytest.mark.engine]

DYNO = str(Path(sys.executable).with_name("dyno"))
LIMIT_S = 400.0
EXPERIMENT = """
models: [{name: tiny, source: {kind: synthetic, vocab_size: 2048, intermediate_size: 512, layers: 2}}]
variants:
  - engine: llama_cpp
    engine_version: "2026.10.11549"
    model: tiny
    quantization: [f16, q4_k_m]
    max_model_len: 256
    max_num_seqs: 4
    cpu_threads: 1
workloads: [{name: short, prompt_tokens: 8, output_tokens: 8}]
load_plan: {requests_per_point: 20, min_seconds: 0.3, max_seconds: 1, saturation: {max_concurrency: 2},
            open_loop: {fractions: [0.5]}}
"""


def until(true: Callable[[], object]) -> None:
    limit = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.2)


def asked(server: dict[str, str], path: str, body: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    answer = httpx.post(f"{server['PREFECT_API_URL']}/{path}/filter", json=body or {}, timeout=30.0)
    answer.raise_for_status()
    found: list[dict[str, Any]] = answer.json()
    return found


@pytest.fixture(scope="module")
def fleet(
    prefect_server: dict[str, str], tmp_path_factory: pytest.TempPathFactory, environments: Path, xllamacpp: Environment
) -> Iterator[dict[str, Any]]:
    """The server, the folder, and the workers of hosts a and b."""
    folder = tmp_path_factory.mktemp("fleet")
    env = prefect_server | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"}
    assert subprocess.run([DYNO, "deploy"], env=env, check=False, capture_output=True).returncode == 0
    with contextlib.ExitStack() as stack:
        workers = {host: stack.enter_context(worker(env, folder, host, environments)) for host in "ab"}
        until(lambda: {f"host-{host}" for host in "ab"} <= online(env))
        yield {"env": env, "folder": folder, "workers": workers}


@contextlib.contextmanager
def worker(env: dict[str, str], folder: Path, host: str, environments: Path) -> Iterator["subprocess.Popen[bytes]"]:
    home = folder / host
    home.mkdir()
    (home / "environments").symlink_to(environments)
    its_own = env | {"DYNO_HOME": str(home), "DYNO_HOST": host}
    with (folder / f"{host}.log").open("wb") as log:
        process = subprocess.Popen([DYNO, "worker"], env=its_own, stdout=log, stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.wait()


def online(env: dict[str, str]) -> set[str]:
    return {one["name"] for one in asked(env, "work_pools/dyno/workers") if one["status"] == "ONLINE"}


def test_a_worker_that_is_killed_costs_a_try_and_no_result(fleet: dict[str, Any]) -> None:
    env, folder = fleet["env"], fleet["folder"]
    file = folder / "tiny.yaml"
    file.write_text(EXPERIMENT)
    run = subprocess.Popen([DYNO, "run", str(file), "--pool", "dyno", "--json"], env=env, stdout=subprocess.PIPE)
    until(lambda: list((folder / "a").glob("campaigns/tiny/*/servers/*.log")))
    os.kill(fleet["workers"]["a"].pid, signal.SIGKILL)
    until(lambda: not engines_of(folder / "a"))
    output, _ = run.communicate(timeout=LIMIT_S)
    assert run.returncode == 0
    cells = json.loads(output)["cells"]
    assert len(cells) == 2
    assert {cell["state"] for cell in cells} <= {"measured", "invalid"}, "which of them, the machine decides"
    runs = asked(env, "flow_runs", {"flows": {"name": {"any_": ["measure-on-worker"]}}})
    assert sorted(one["state_type"] for one in runs) == ["COMPLETED", "COMPLETED", "CRASHED"]
    check_gathered(Path(env["DYNO_HOME"]), cells)
    again = subprocess.run([DYNO, "run", str(file), "--pool", "dyno"], env=env, capture_output=True, check=False)
    assert again.returncode == 0
    assert len(asked(env, "flow_runs", {"flows": {"name": {"any_": ["measure-on-worker"]}}})) == 3, "all is kept"


def engines_of(home: Path) -> list[str]:
    """Processes that run out of the store of a host."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().decode(errors="replace")
            found += [words] if str(home) in words and "launchers" in words else []
    return found


def check_gathered(home: Path, cells: list[dict[str, Any]]) -> None:
    """Records of both, in the store of the one who asked, who measured nothing."""
    for cell in cells:
        (folder,) = home.glob(f"campaigns/tiny/*/{cell['cell_id']}")
        assert list(folder.glob("launch-*/*/requests.parquet"))
    assert not (home / "artifacts").exists()
