"""The MLflow and Prefect UIs over the store, on loopback, until Ctrl-C."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator

from experiments.errors import SetupError
from flows.local_api import fresh_log, prefect_server, quiet_environment, wait_until_it_answers
from tasks.campaigns.home import Home, open_home
from tasks.serving.guarded import GuardedProcess, guarded_process
from tasks.serving.server import HOST, free_port

_MOST_EXPERIMENTS = 20


def serve_user_interfaces(
    mlflow_port: int,
    prefect_port: int,
    show: Callable[[dict[str, str], dict[str, str]], None],
    say: Callable[[str], None],
) -> None:
    """Calls `show` with the addresses of both, once they answer, and of each experiment's runs; returns by
    KeyboardInterrupt, or raises where one ends."""
    home = open_home().make()
    quiet_environment(home)
    say("starting the MLflow and Prefect UIs (10 to 30 s)")
    with contextlib.ExitStack() as stack:
        started = [
            (
                "MLflow",
                "MLFLOW_TRACKING_URI",
                stack.enter_context(_mlflow(home, mlflow_port or free_port())),
                "/health",
            ),
            (
                "Prefect",
                "PREFECT_API_URL",
                stack.enter_context(_prefect(home, prefect_port or free_port())),
                "/api/health",
            ),
        ]
        addresses = {}
        for name, setting, (url, process), health in started:
            if process is not None:
                wait_until_it_answers(f"{url}{health}", process, f"{name}'s server")
            addresses[name] = url if process is not None else f"{url} (from {setting})"
        show(addresses, runs_pages(started[0][2][0]))
        _until_one_ends([process for _, _, (_, process), _ in started if process is not None])


def runs_pages(mlflow: str) -> dict[str, str]:
    """Where MLflow shows the runs of each experiment, the latest first: its own front page leads to other things.
    Empty where it does not tell."""
    import httpx

    ask = {"max_results": _MOST_EXPERIMENTS, "order_by": ["creation_time DESC"]}
    try:
        answer = httpx.post(f"{mlflow}/api/2.0/mlflow/experiments/search", json=ask, timeout=10.0, trust_env=False)
        found = answer.raise_for_status().json().get("experiments", [])
    except (httpx.HTTPError, ValueError):
        return {}
    return {
        one["name"]: f"{mlflow}/#/experiments/{one['experiment_id']}/runs" for one in found if one["name"] != "Default"
    }


@contextlib.contextmanager
def _mlflow(home: Home, port: int) -> Iterator[tuple[str, GuardedProcess | None]]:
    uri = home.tracking_uri
    if uri.startswith("http"):
        yield home.shown_tracking_uri, None
        return
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", uri, "--default-artifact-root", str(home.root / "mlartifacts")]
    environment = dict(os.environ) | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    log = fresh_log(home, "mlflow-server.log")
    with guarded_process(command, env=environment, log=log, leases=home.leases, what="MLflow's server") as process:
        yield f"http://{HOST}:{port}", process


@contextlib.contextmanager
def _prefect(home: Home, port: int) -> Iterator[tuple[str, GuardedProcess | None]]:
    if os.environ.get("PREFECT_API_URL"):
        yield os.environ["PREFECT_API_URL"].removesuffix("/api"), None
        return
    with prefect_server(home, port=port, ui=True) as started:
        yield started


def _until_one_ends(processes: list[GuardedProcess]) -> None:
    while processes:
        for process in processes:
            if process.exit_status() is not None:
                raise SetupError(f"a server ended; its log is {process.log}", log_excerpt=process.log_tail())
        time.sleep(0.5)
