"""The stack on one machine: PostgreSQL, Redis, Prefect's and MLflow's servers and workers, kept running until it is
stopped. Everything under a guard and on loopback; a service that ends is started again."""

import contextlib
import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from experiments.errors import SetupError
from flows.local_api import START_LIMIT_S, fresh_log
from flows.stack_services import (
    Service,
    Stack,
    known_stack,
    make_cluster,
    make_databases,
    make_stack,
    mlflow,
    postgres,
    prefect,
    redis,
    write_private,
)
from flows.stack_workers import HOSTS, worker
from tasks.campaigns.home import Home
from tasks.serving.guarded import GuardedProcess, guarded_process
from tasks.serving.lease import ProcessIdentity, is_alive, reap, this_process

log = logging.getLogger("dyno.stack")

LOOK_EVERY_S = 0.5
LONGEST_PAUSE_S = 30.0
STEADY_S = 120.0
"""A service that ran so long is started again at once; one that keeps ending waits longer and longer."""

LONGEST_END_S = 45.0
"""What a service may take to end, its guard's patience included."""


@dataclass(slots=True)
class Running:
    """A service with its present process."""

    service: Service
    process: GuardedProcess
    ends: contextlib.ExitStack
    started_at: float
    restarts: int = 0
    pause_s: float = 1.0
    due_at: float | None = None


@dataclass(slots=True)
class Supervisor:
    """Starts services one after the other and keeps them; `told` is called whenever what runs has changed."""

    home: Home
    told: Callable[[Sequence[Running]], None]
    running: list[Running] = field(default_factory=list)
    known: list[tuple[int | None, int]] = field(default_factory=list)

    def start(self, service: Service) -> None:
        """Returns when the service is well. Raises SetupError with its last words where it is not in time."""
        log.info("starting %s", service.name)
        ends = contextlib.ExitStack()
        process = ends.enter_context(_guarded(self.home, service))
        self.running.append(Running(service, process, ends, time.monotonic()))
        self.told(self.running)
        limit = time.monotonic() + START_LIMIT_S
        while not service.is_well():
            if process.exit_status() is not None:
                raise SetupError(f"{service.name} ended as it started: {process.log}", log_excerpt=process.log_tail())
            if time.monotonic() > limit:
                raise SetupError(f"{service.name} is not well after {START_LIMIT_S:g} s; its log is {process.log}")
            time.sleep(0.2)
        self.told(self.running)

    def keep(self) -> None:
        """One look at each: what has ended is started again, after a pause that grows while it keeps ending."""
        for one in self.running:
            if one.due_at is None:
                self._look_at(one)
            elif time.monotonic() >= one.due_at:
                self._start_again(one)
        # The number of a process that was just started is known a moment later.
        now = [(one.process.learn_session(), one.restarts) for one in self.running]
        if now != self.known:
            with _whatever_the_disk_says("what runs is not written down"):
                self.told(self.running)
                self.known = now

    def _start_again(self, one: Running) -> None:
        one.due_at = time.monotonic() + one.pause_s
        with _whatever_the_disk_says(f"{one.service.name} does not start"):
            one.process = one.ends.enter_context(_guarded(self.home, one.service))
            one.started_at, one.due_at, one.restarts = time.monotonic(), None, one.restarts + 1

    def _look_at(self, one: Running) -> None:
        status = one.process.exit_status()
        if status is None and not one.service.is_ending():
            return
        how = "was told to end" if status is None else f"ended with {status}"
        lived_s = time.monotonic() - one.started_at
        one.pause_s = 1.0 if lived_s > STEADY_S else min(2 * one.pause_s, LONGEST_PAUSE_S)
        log.warning("%s %s: starting it again in %.0f s", one.service.name, how, one.pause_s)
        one.ends.close()
        one.due_at = time.monotonic() + one.pause_s

    def stop(self) -> None:
        """Ends everything, the last one first."""
        while self.running:
            one = self.running.pop()
            log.info("ending %s", one.service.name)
            one.ends.close()


@contextlib.contextmanager
def _whatever_the_disk_says(what: str) -> Iterator[None]:
    """A full disk passes; a supervisor that ends for it takes everything along."""
    try:
        yield
    except OSError as error:
        log.warning("%s: %s", what, error)


def _guarded(home: Home, service: Service) -> contextlib.AbstractContextManager[GuardedProcess]:
    return guarded_process(
        service.argv,
        env=service.env,
        log=home.logs / f"stack-{service.name}.log",
        leases=home.leases,
        what=f"the stack's {service.name}",
        grace_s=service.grace_s,
    )


def stack_folder(home: Home) -> Path:
    """Where everything of the stack lies."""
    return home.root / "stack"


def run_stack(home: Home, *, prefect_port: int, mlflow_port: int, workers: bool, register: bool) -> None:
    """Until SIGTERM or Ctrl-C. Raises SetupError where something does not start."""
    with _alone(home) as folder:
        for what in reap(home.leases, grace_s=LONGEST_END_S):
            log.warning("ended %s, which a supervisor that was killed had left", what)
        stack = make_stack(folder, prefect_port=prefect_port, mlflow_port=mlflow_port)
        supervisor = Supervisor(home, lambda running: _write_state(stack, running, "starting"))
        try:
            _start_all(stack, supervisor, home, workers=workers, register=register)
            supervisor.told = lambda running: _write_state(stack, running, "up")
            supervisor.told(supervisor.running)
            log.info("up: Prefect %s, MLflow %s", stack.prefect_url, stack.mlflow_url)
            while True:
                supervisor.keep()
                time.sleep(LOOK_EVERY_S)
        finally:
            supervisor.stop()
            _state_file(folder).unlink(missing_ok=True)


def _start_all(stack: Stack, supervisor: Supervisor, home: Home, *, workers: bool, register: bool) -> None:
    for name in ("postgres", "redis", "prefect", "mlflow", *(host.name for host in HOSTS)):
        fresh_log(home, f"stack-{name}.log")
    make_cluster(stack)
    supervisor.start(postgres(stack))
    make_databases(stack)
    for service in (redis, prefect, mlflow):
        supervisor.start(service(stack))
    if register:
        _register(stack, home)
    for host in HOSTS if workers else ():
        supervisor.start(worker(stack, host))


def _register(stack: Stack, home: Home) -> None:
    """Pools, deployments and automations."""
    log.info("registering the deployments")
    file = fresh_log(home, "stack-deploy.log")
    with file.open("ab") as output:
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", "deploy"],
            env={**os.environ, **stack.client_environment()},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
        )
    if done.returncode:
        raise SetupError(f"dyno deploy ended with {done.returncode}: {file}", log_excerpt=file.read_text()[-2000:])


@contextlib.contextmanager
def _alone(home: Home) -> Iterator[Path]:
    """One stack in a store."""
    folder = stack_folder(home)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupError(f"a stack runs already in {folder}: dyno stack status, dyno stack down") from None
        yield folder


def _state_file(folder: Path) -> Path:
    return folder / "state.json"


def _write_state(stack: Stack, running: Sequence[Running], stage: str) -> None:
    services = [
        {
            "name": one.service.name,
            "pid": one.process.learn_session(),
            "restarts": one.restarts,
            "log": str(one.process.log),
        }
        for one in running
    ]
    body = {"stage": stage, "supervisor": asdict(this_process()), "services": services}
    write_private(_state_file(stack.folder), json.dumps(body))


def read_state(home: Home) -> dict[str, Any] | None:
    """What the supervisor of this store's stack last wrote; None where none lives."""
    try:
        body: dict[str, Any] = json.loads(_state_file(stack_folder(home)).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return body if is_alive(ProcessIdentity(**body["supervisor"])) else None


def stack_status(home: Home) -> dict[str, Any]:
    """Whether it runs, and whether each of its services is well now."""
    state = read_state(home)
    if state is None:
        return {"state": "down", "services": []}
    stack = known_stack(stack_folder(home))
    checks = {one.name: one.is_well for one in (postgres(stack), redis(stack), prefect(stack), mlflow(stack))}
    checks |= {host.name: worker(stack, host).is_well for host in HOSTS}
    services = [{**one, "well": checks[one["name"]]()} for one in state["services"]]
    is_up = state["stage"] == "up" and all(one["well"] for one in services)
    return {
        "state": "up" if is_up else "starting" if state["stage"] == "starting" else "ailing",
        "prefect": stack.prefect_url,
        "mlflow": stack.mlflow_url,
        "client_file": str(stack.client_file),
        "passwords_file": str(stack.folder / "passwords.json"),
        "services": services,
    }


def start_in_background(home: Home, options: Sequence[str], say: Callable[[str], None]) -> None:
    """Returns when everything is well. Raises SetupError with what the supervisor said where it gave up."""
    if read_state(home) is not None:
        say("a stack runs here already")
        return
    file = fresh_log(home, "stack.log")
    with file.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "stack", "up", "--foreground", *options],
            env={**os.environ, "DYNO_HOME": str(home.root)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    seen = ""
    while process.poll() is None:
        state = read_state(home)
        names = [one["name"] for one in state["services"]] if state else []
        if names and names[-1] != seen:
            seen = names[-1]
            say(f"starting {seen}")
        if state is not None and state["stage"] == "up":
            return
        time.sleep(0.2)
    raise SetupError(
        f"the stack did not start; its log is {file}", log_excerpt=file.read_text(errors="replace")[-2000:]
    )


def stop_stack(home: Home, *, patience_s: float = 120.0) -> bool:
    """Ends the stack of this store, or what a supervisor that was killed left of it; False where nothing ran. Raises
    SetupError where it does not end."""
    state = read_state(home)
    if state is None:
        return bool(reap(home.leases, grace_s=LONGEST_END_S))
    supervisor = ProcessIdentity(**state["supervisor"])
    os.kill(supervisor.pid, signal.SIGTERM)
    limit = time.monotonic() + patience_s
    while is_alive(supervisor):
        if time.monotonic() > limit:
            raise SetupError(
                f"the stack's supervisor, process {supervisor.pid}, does not end; see {home.logs}/stack.log"
            )
        time.sleep(0.1)
    return True
