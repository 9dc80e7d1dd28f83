"""What orchestrating costs: a matrix of variants that only sleep, over the real stack and the real `dyno run --pool`.

    python -m tests.benchmarks.bench_matrix [--variants 100] [--seconds 5] [--workers 2]

Prints the overhead of a variant, the growth of both databases, and what MLflow takes to answer; and each for 1,000
variants, by proportion.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import yaml

from flows.stack_services import USER, known_stack, postgres_program
from tasks.serving.server import HOST
from tests.benchmarks.simulated import SECONDS

POOL = "dyno-simulated"
DYNO = [sys.executable, "-m", "flows.cli"]
EXPERIMENT = """
models: [{{name: tiny, source: {{kind: synthetic}}}}]
variants: [{{engine: llama_cpp, engine_version: "1.0", model: tiny, quantization: q8_0, max_num_seqs: {sizes}}}]
workloads: [{{name: w, prompt_tokens: 8, output_tokens: 8}}]
"""


@contextlib.contextmanager
def stack(home: Path) -> Iterator[dict[str, str]]:
    """A stack without measuring hosts; yields the environment of its clients."""
    env = {**os.environ, "DYNO_HOME": str(home)}
    subprocess.run([*DYNO, "stack", "up", "--no-workers"], env=env, check=True)
    try:
        lines = (home / "stack" / "client.env").read_text().splitlines()
        yield env | dict(line.split("=", 1) for line in lines)
    finally:
        subprocess.run([*DYNO, "stack", "down"], env=env, check=False)


def register(folder: Path, env: dict[str, str]) -> None:
    """The pool, and the flow that sleeps as its `measure-variant`."""
    subprocess.run([*DYNO, "deploy", "--pool", POOL], env=env, check=True, stdout=subprocess.DEVNULL)
    body = {
        "pull": [],
        "deployments": [
            {
                "name": f"measure-variant-{POOL}",
                "entrypoint": "tests.benchmarks.simulated.measure_simulated",
                "work_pool": {"name": POOL},
            }
        ],
    }
    file = folder / "prefect.yaml"
    file.write_text(yaml.safe_dump(body))
    for one in _asked(env, "/deployments/filter", {"deployments": {"name": {"any_": [f"measure-variant-{POOL}"]}}}):
        _client(env).delete(f"/deployments/{one['id']}").raise_for_status()
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def workers(count: int, folder: Path, env: dict[str, str], seconds: float) -> Iterator[None]:
    """Each a host of its own."""
    started = []
    for number in range(count):
        own = env | {"DYNO_HOME": str(folder / f"worker-{number}"), SECONDS: str(seconds)}
        with (folder / f"worker-{number}.log").open("wb") as log:
            command = [*DYNO, "worker", "--pool", POOL, "--name", f"simulated-{number}"]
            started.append(subprocess.Popen(command, env=own, stdout=log, stderr=log))
    try:
        yield
    finally:
        for one in started:
            one.terminate()
        for one in started:
            one.wait(60)


def _client(env: dict[str, str]) -> httpx.Client:
    user, password = env["PREFECT_API_AUTH_STRING"].split(":")
    return httpx.Client(base_url=env["PREFECT_API_URL"], auth=(user, password), timeout=60, trust_env=False)


def _asked(env: dict[str, str], path: str, ask: dict[str, Any]) -> Any:
    return _client(env).post(path, json=ask).raise_for_status().json()


def database_bytes(home: Path) -> dict[str, int]:
    """Of each database."""
    known = known_stack(home / "stack")
    query = "select datname, pg_database_size(datname) from pg_database where datname in ('prefect', 'mlflow')"
    at = ["--host", HOST, "--port", str(known.ports.postgres), "--username", USER, "-d", "postgres", "-Atc", query]
    env = {**os.environ, "PGPASSWORD": known.passwords.postgres}
    told = subprocess.run([postgres_program("psql"), *at], env=env, capture_output=True, text=True, check=True).stdout
    return {name: int(size) for name, size in (line.split("|") for line in told.split())}


def query_seconds(env: dict[str, str], experiment: str) -> dict[str, float]:
    """The median of five of each."""
    from mlflow import MlflowClient

    os.environ |= {name: value for name, value in env.items() if name.startswith("MLFLOW_")}
    client = MlflowClient()
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    cells = "tags.`dyno.kind` = 'cell'"
    queries: dict[str, dict[str, Any]] = {
        "one cell by its tags": {"filter_string": f"{cells} and tags.`dyno.cell_id` = 'none'", "max_results": 1},
        "the best ten by a metric": {
            "filter_string": cells,
            "order_by": ["metrics.saturation_rps DESC"],
            "max_results": 10,
        },
        "all cells": {"filter_string": cells, "max_results": 1000},
    }
    return {
        name: statistics.median(_timed(client, found.experiment_id, ask) for _ in range(5))
        for name, ask in queries.items()
    }


def _timed(client: Any, experiment_id: str, ask: dict[str, Any]) -> float:
    began = time.monotonic()
    client.search_runs([experiment_id], **ask)
    return time.monotonic() - began


def run_seconds(env: dict[str, str]) -> list[float]:
    """From the start of each simulated run to its end, as Prefect has it."""
    flows = _asked(env, "/flows/filter", {"flows": {"name": {"any_": ["measure-simulated"]}}})
    ask = {
        "flows": {"id": {"any_": [one["id"] for one in flows]}},
        "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
    }
    runs = _asked(env, "/flow_runs/filter", ask | {"limit": 200})
    return [
        (datetime.fromisoformat(one["end_time"]) - datetime.fromisoformat(one["start_time"])).total_seconds()
        for one in runs
    ]


def measured(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Everything, in plain figures."""
    home = folder / "home"
    file = folder / "simulated.yaml"
    file.write_text(EXPERIMENT.format(sizes=list(range(1, args.variants + 1))))
    with stack(home) as env:
        register(folder, env)
        with workers(args.workers, folder, env, args.seconds):
            before, began = database_bytes(home), time.monotonic()
            done = subprocess.run(
                [*DYNO, "run", str(file), "--pool", POOL, "--json"],
                env=env,
                capture_output=True,
                text=True,
                check=False,
            )
            wall_s, after = time.monotonic() - began, database_bytes(home)
        arrived = len(json.loads(done.stdout)["cells"]) if done.returncode == 0 else 0
        if not arrived:
            print(done.stderr, file=sys.stderr)
        return {
            "variants": args.variants,
            "arrived": arrived,
            "wall_s": wall_s,
            "overhead_s_per_variant": wall_s * args.workers / args.variants - args.seconds,
            "of_it_within_the_run_s": statistics.median(run_seconds(env)) - args.seconds if arrived else None,
            "database_bytes_per_variant": {k: (after[k] - before[k]) / args.variants for k in after},
            "mlflow_query_s": query_seconds(env, "simulated") if arrived else {},
        }


def main() -> int:
    """Prints the figures as JSON; 1 where a variant did not arrive."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--variants", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dyno-bench-") as folder:
        body = measured(args, Path(folder))
    share = 1000 / args.variants
    body["for_1000"] = {
        "wall_s": body["wall_s"] * share,
        "database_bytes": {k: v * 1000 for k, v in body["database_bytes_per_variant"].items()},
    }
    print(json.dumps(body, indent=1))
    return int(body["arrived"] != args.variants)


if __name__ == "__main__":
    sys.exit(main())
