"""Prefect's API for one run on one machine: its server under a guard, on loopback, over the store's SQLite file."""

import contextlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from experiments.errors import SetupError
from experiments.schema.failure import FailureClass
from tasks.campaigns.home import Home
from tasks.serving.guarded import GuardedProcess, guarded_process
from tasks.serving.server import HOST, free_port

START_LIMIT_S = 180.0
MOST_RESTARTS = 5
LEAST_FREE_BYTES = 2**20
"""With less, SQLite cannot make its tables."""
QUIET = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",  # what fails is said once, with its stage and cause
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_CLI_COLORS": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}

POLLING_SERVICES = (
    "CANCELLATION_CLEANUP",
    "CLEANUP_RECONCILER",
    "FOREMAN",
    "LATE_RUNS",
    "PAUSE_EXPIRATIONS",
    "REPOSSESSOR",
    "SCHEDULER",
    "TRIGGERS",
)


def quiet_environment(home: Home) -> None:
    """Settings that Prefect and MLflow read when they are imported; what the user set stays."""
    for name, value in {**QUIET, "PREFECT_HOME": str(home.prefect)}.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def prefect_api(home: Home, say: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Starts the server and goes on at once; the yielded function waits until it answers.

    Where PREFECT_API_URL names a server, that one is used and none is started.
    """
    quiet_environment(home)
    if url := os.environ.get("PREFECT_API_URL"):
        check_it_answers(url)
        yield lambda: None
        return
    say("starting Prefect's server on loopback while the models are made")
    port = free_port()
    with contextlib.ExitStack() as stack:
        url, process = stack.enter_context(prefect_server(home, port=port, ui=False))
        os.environ["PREFECT_API_URL"] = f"{url}/api"
        stack.callback(os.environ.pop, "PREFECT_API_URL", None)

        def wait_until_ready() -> None:
            wait_until_it_answers(f"{url}/api/health", process, "Prefect's server")
            stack.enter_context(started_again(process, lambda: prefect_server(home, port=port, ui=False), say))

        yield wait_until_ready


def check_it_answers(api_url: str) -> None:
    """Raises SetupError where nobody does: Prefect's client would wait, and then end in a traceback."""
    import httpx

    where = api_url.rpartition("@")[2]
    try:
        httpx.get(f"{api_url.rstrip('/')}/health", timeout=10.0)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SetupError(
            f"PREFECT_API_URL: {where} does not answer ({error}): start that server, or unset the variable"
        ) from None


@contextlib.contextmanager
def started_again(
    process: GuardedProcess,
    start: Callable[[], contextlib.AbstractContextManager[tuple[str, GuardedProcess]]],
    say: Callable[[str], None],
) -> Iterator[None]:
    """While the block runs, a server that ends is started again where it was, and says so.

    Prefect's client waits for its server for minutes at every turn: without one, a run would neither go on nor end.
    """
    over = threading.Event()
    mind = threading.Thread(target=_mind, args=(process, start, say, over), name="prefect-server", daemon=True)
    mind.start()
    try:
        yield
    finally:
        over.set()
        mind.join()


def _mind(
    process: GuardedProcess,
    start: Callable[[], contextlib.AbstractContextManager[tuple[str, GuardedProcess]]],
    say: Callable[[str], None],
    over: threading.Event,
) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(MOST_RESTARTS):
            while (status := process.exit_status()) is None:
                if over.wait(0.5):
                    return
            say(f"Prefect's server ended with {status}: starting it again; what runs goes on")
            _, process = stack.enter_context(start())
        over.wait()


@contextlib.contextmanager
def prefect_server(home: Home, *, port: int, ui: bool) -> Iterator[tuple[str, GuardedProcess]]:
    """Prefect's server over the store. Of its background services only those run that record what a run did: the
    others poll, and would take the cores that measure."""
    home.prefect.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]
    environment = (
        {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
        | {
            "PREFECT_SERVER_UI_ENABLED": str(ui).lower(),
            "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
            "PREFECT_UI_API_URL": f"http://{HOST}:{port}/api",
        }
        | {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in POLLING_SERVICES}
    )
    with guarded_process(
        command,
        env=environment,
        log=fresh_log(home, "prefect-server.log"),
        leases=home.leases,
        what="Prefect's server",
        grace_s=2.0,
    ) as process:
        yield f"http://{HOST}:{port}", process


def fresh_log(home: Home, name: str) -> Path:
    """An empty file in the store's logs."""
    path = home.logs / name
    path.write_bytes(b"")
    return path


def _ended_as_it_started(process: GuardedProcess, what: str) -> SetupError:
    """On a full disk the log may end before it says so."""
    tail, free_bytes = process.log_tail(), shutil.disk_usage(process.log.parent).free
    if free_bytes < LEAST_FREE_BYTES or "disk is full" in tail or "No space left" in tail:
        return SetupError(
            f"{what} ended as it started: the disk of {process.log.parent} is full, or nearly. Make room there "
            "(dyno store gc --older-than 30d), or set DYNO_HOME to a folder on a larger disk",
            failure_class=FailureClass.DISK_FULL,
        )
    return SetupError(f"{what} ended as it started; its log is {process.log}", log_excerpt=tail)


def wait_until_it_answers(url: str, process: GuardedProcess, what: str) -> None:
    """Until GET url gives 200. Raises SetupError with the server's last words."""
    import httpx

    limit = time.monotonic() + START_LIMIT_S
    while time.monotonic() < limit:
        if process.exit_status() is not None:
            raise _ended_as_it_started(process, what)
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=2.0, trust_env=False).status_code == 200:
                return
        time.sleep(0.1)
    raise SetupError(f"{what} did not answer within {START_LIMIT_S:g} s; its log is {process.log}")
