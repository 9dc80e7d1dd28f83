"""A real Prefect server on loopback, with all of its services, as for a fleet. Started where a test asks for it."""

import os
import sys
import time
from collections.abc import Iterator

import httpx
import pytest

from tasks.serving.guarded import guarded_process
from tasks.serving.server import free_port

START_LIMIT_S = 180.0


@pytest.fixture(scope="module")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which its API is known, with an empty store as DYNO_HOME."""
    folder, port = tmp_path_factory.mktemp("prefect"), free_port()
    environment = {
        **os.environ,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
        "DO_NOT_TRACK": "true",
        "DYNO_HOME": str(folder / "home"),
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    log, url = folder / "server.log", f"http://127.0.0.1:{port}/api"
    with guarded_process(command, env=environment, log=log, leases=folder, what="a Prefect server"):
        limit = time.monotonic() + START_LIMIT_S
        while not answers(url):
            assert time.monotonic() < limit, log.read_text()[-2000:]
            time.sleep(0.2)
        yield environment | {"PREFECT_API_URL": url}


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5.0).status_code == 200
    except httpx.HTTPError:
        return False
