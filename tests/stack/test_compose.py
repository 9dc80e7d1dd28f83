"""docker/compose.yaml without docker: its commands, environments and health checks run here as processes, over
Debian's PostgreSQL and Redis. Images, volumes and networks are not what this tests."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from flows import stack_services
from flows.deploying import job_template
from flows.stack import Supervisor
from flows.stack_services import Service, postgres_program
from tasks.campaigns.home import Home
from tasks.serving.environment import Environment
from tests.stack.conftest import Stack, order_of

pytestmark = pytest.mark.stack
DOCKER = Path(__file__).parents[2] / "docker"
SERVICES: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
PROGRAMS = {"prefect": "prefect", "mlflow": "mlflow", "deploy": "flows.cli", "worker": "flows.cli"}
INHERITED = ("PATH", "HOME", "LANG", "PYTHONPATH")


@dataclass
class Composed:
    """The compose file's services on one machine: loopback and free ports in place of a network of names."""

    stack: stack_services.Stack
    folders: Path
    changes: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        at, known = self.stack.ports, self.stack.passwords
        ports = {"postgres": (5432, at.postgres), "redis": (6379, at.redis)}
        ports |= {"prefect": (4200, at.prefect), "mlflow": (5000, at.mlflow)}
        self.changes = {f"{name}:{inside}": f"127.0.0.1:{port}" for name, (inside, port) in ports.items()}
        self.changes |= {f"127.0.0.1:{inside}": f"127.0.0.1:{port}" for inside, port in ports.values()}
        named = {one: getattr(known, one) for one in ("postgres", "redis", "prefect", "mlflow", "mlflow_cookies")}
        self.changes |= {f"${{DYNO_{one.upper()}_PASSWORD}}": password for one, password in named.items()}
        self.changes |= {"/etc/dyno/mlflow_auth.ini": str(self.folders / "mlflow_auth.ini")}

    def here(self, text: str, name: str) -> str:
        text = re.sub(r":\?[^}]*", "", text)
        for before, after in {**self.changes, "/data": str(self.folders / name)}.items():
            text = text.replace(before, after)
        return text

    def command(self, name: str) -> list[str]:
        program, *words = SERVICES[name]["command"]
        own = {"0.0.0.0": "127.0.0.1", "4200": str(self.stack.ports.prefect), "5000": str(self.stack.ports.mlflow)}
        before = [] if program in ("prefect", "mlflow") else [program]
        return [
            sys.executable,
            "-m",
            PROGRAMS[program],
            *before,
            *(own.get(word, self.here(word, name)) for word in words),
        ]

    def environment(self, name: str) -> dict[str, str]:
        """Of the service alone, as in a container, beside what starts a program at all."""
        told = {key: self.here(value, name) for key, value in SERVICES[name]["environment"].items() if value}
        return {key: os.environ[key] for key in INHERITED if key in os.environ} | told

    def run_once(self, name: str) -> "subprocess.CompletedProcess[str]":
        """As often as its restart policy says."""
        policy, _, times = SERVICES[name]["restart"].partition(":")
        assert policy == "on-failure"
        for _ in range(int(times) + 1):
            env = self.environment(name)
            done = subprocess.run(self.command(name), env=env, capture_output=True, text=True, check=False)
            if not done.returncode:
                break
        return done

    def service(self, name: str) -> Service:
        """With the health check of the compose file."""
        _, _, *check = SERVICES[name]["healthcheck"]["test"]
        asked = [sys.executable, *(self.here(word, name) for word in check)]
        env = self.environment(name)

        def is_well() -> bool:
            return not subprocess.run(asked, env=env, check=False, capture_output=True).returncode

        return Service(name, tuple(self.command(name)), env, is_well, grace_s=40.0)


def make_databases(stack: stack_services.Stack) -> None:
    """As PostgreSQL's image does on its first start."""
    at = ["--host", "127.0.0.1", "--port", str(stack.ports.postgres), "--username", "dyno"]
    env = {**os.environ, "PGPASSWORD": stack.passwords.postgres}
    database = SERVICES["postgres"]["environment"]["POSTGRES_DB"]
    made = [
        postgres_program("psql"),
        *at,
        "-v",
        "ON_ERROR_STOP=1",
        "-f",
        str(DOCKER / "create-databases.sql"),
        database,
    ]
    for argv in ([postgres_program("createdb"), *at, database], made):
        subprocess.run(argv, env=env, check=True, capture_output=True, cwd="/")


@pytest.fixture(scope="module")
def composed(xllamacpp: Environment, environments: Path) -> Iterator[Composed]:
    with contextlib.ExitStack() as ends:
        home = Home(Path(tempfile.mkdtemp(prefix="dyno-compose-"))).make()
        ends.callback(shutil.rmtree, home.root, ignore_errors=True)
        stack = stack_services.make_stack(home.root / "stack", prefect_port=0, mlflow_port=0)
        found = Composed(stack, home.root / "containers")
        for name in SERVICES:
            (found.folders / name).mkdir(parents=True)
        (found.folders / "worker" / "environments").symlink_to(environments)
        settings = found.here((DOCKER / "mlflow_auth.ini").read_text(), "mlflow")
        (found.folders / "mlflow_auth.ini").write_text(settings)
        supervisor = Supervisor(home, lambda running: None)
        ends.callback(supervisor.stop)
        stack_services.make_cluster(stack)
        supervisor.start(stack_services.postgres(stack))
        make_databases(stack)
        supervisor.start(stack_services.redis(stack))
        supervisor.start(found.service("prefect"))
        supervisor.start(found.service("mlflow"))
        deployed = found.run_once("deploy")
        assert deployed.returncode == 0, deployed.stderr
        supervisor.start(found.service("control"))
        supervisor.start(found.service("worker"))
        yield found


@pytest.fixture(scope="module")
def client(composed: Composed) -> Iterator[Stack]:
    """On the host, with what `client.env` tells it."""
    found = Stack(composed.stack.folder.parent)
    with found.api:
        yield found


def test_nobody_is_served_without_a_password(composed: Composed) -> None:
    at = composed.stack
    flows, experiments = f"{at.prefect_url}/api/flows/filter", f"{at.mlflow_url}/api/2.0/mlflow/experiments/search"
    for url in (flows, experiments):
        body = {"max_results": 5} if url == experiments else {}
        assert httpx.post(url, json=body, trust_env=False).status_code == 401
        assert httpx.post(url, json=body, auth=("admin", "sesame"), trust_env=False).status_code == 401
        password = at.passwords.mlflow if url == experiments else at.passwords.prefect
        assert httpx.post(url, json=body, auth=("admin", password), trust_env=False).status_code == 200


def test_what_is_deployed_runs_on_the_workers_that_there_are(client: Stack, experiment: Path) -> None:
    measured = client.run("measure-variant", order_of(experiment))
    waiting = client.run("retry-failed", {"request": {}})
    client.ends(waiting, "COMPLETED")
    client.ends(measured, "COMPLETED")
    cells = client.cells(experiment.stem)
    assert {one["status"] for one in cells.values()} == {"FINISHED"}
    assert len(cells) == 2


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_prefect_takes_a_job_template_and_keeps_it_as_it_is(kind: Any, client: Stack) -> None:
    template = job_template(kind)
    client.post("/work_pools/", {"name": f"of-{kind}", "type": kind, "base_job_template": template})
    kept = client.api.get(f"/work_pools/of-{kind}").raise_for_status().json()["base_job_template"]
    assert kept == template


def test_mlflow_keeps_its_users_in_postgresql(composed: Composed) -> None:
    at = composed.stack
    asked = [postgres_program("psql"), "--host", "127.0.0.1", "--port", str(at.ports.postgres), "--username", "dyno"]
    asked += ["-d", "mlflow_auth", "-Atc", "select username from users"]
    env = {**os.environ, "PGPASSWORD": at.passwords.postgres}
    done = subprocess.run(asked, env=env, check=True, capture_output=True, text=True, cwd="/")
    assert done.stdout.split() == ["admin"]
