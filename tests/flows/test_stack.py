"""The supervisor of the stack, over services that only wait: what it keeps, says, and takes over."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.stack import Running, Supervisor, stop_stack
from flows.stack_services import Service, is_stopping
from tasks.campaigns.home import Home
from tasks.serving.lease import identify, take_lease

WAITS = (sys.executable, "-c", "import time; time.sleep(600)")


def until(true: Callable[[], object]) -> None:
    limit = time.monotonic() + 30
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.02)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path).make()


@pytest.fixture
def told() -> list[list[tuple[int | None, int]]]:
    """What was said each time: process and restarts of each service."""
    return []


@pytest.fixture
def supervisor(home: Home, told: list[list[tuple[int | None, int]]]) -> Iterator[Supervisor]:
    def tell(running: "list[Running]") -> None:
        told.append([(one.process.session, one.restarts) for one in running])

    made = Supervisor(home, tell)  # type: ignore[arg-type]
    made.start(Service("waits", WAITS, os.environ, lambda: True, grace_s=0.2))
    until(made.running[0].process.learn_session)
    yield made
    made.stop()


def kill(supervisor: Supervisor) -> None:
    session = supervisor.running[0].process.session
    assert session is not None
    os.kill(session, signal.SIGKILL)


def kept_until(supervisor: Supervisor, true: Callable[[], object]) -> None:
    def look() -> object:
        supervisor.keep()
        return true()

    until(look)


def test_of_a_service_that_was_started_again_the_process_is_told(
    supervisor: Supervisor, told: list[list[tuple[int | None, int]]]
) -> None:
    kill(supervisor)
    kept_until(supervisor, lambda: told[-1][0][1] == 1 and told[-1][0][0] is not None)
    pid = told[-1][0][0]
    assert pid is not None
    assert identify(pid) is not None


def test_a_disk_that_is_full_ends_no_supervisor(supervisor: Supervisor, home: Home) -> None:
    """A folder that cannot be written to is as good: of a full one no file can be made either."""
    kill(supervisor)
    kept_until(supervisor, lambda: supervisor.running[0].due_at is not None)
    home.leases.rename(home.root / "aside")
    home.leases.write_text("in the way")
    supervisor.running[0].due_at = 0.0
    supervisor.keep()
    assert supervisor.running[0].restarts == 0
    home.leases.unlink()
    (home.root / "aside").rename(home.leases)
    kept_until(supervisor, lambda: supervisor.running[0].restarts == 1)


def test_a_service_that_was_told_to_end_and_waits_for_its_clients_is_helped_along(home: Home) -> None:
    """As PostgreSQL after a SIGTERM, which serves those who are connected and nobody else."""
    marker = home.root / "stopping"
    keeps = Supervisor(home, lambda _running: None)
    keeps.start(Service("deaf", WAITS, os.environ, lambda: True, grace_s=0.2, is_ending=marker.exists))
    until(keeps.running[0].process.learn_session)
    first = keeps.running[0].process.session
    marker.touch()
    keeps.keep()
    marker.unlink()
    kept_until(keeps, lambda: keeps.running[0].restarts == 1)
    assert first is not None
    assert identify(first) is None
    keeps.stop()


@pytest.mark.parametrize(("word", "is_so"), [("stopping", True), ("ready   ", False), ("starting", False)])
def test_postgresql_says_itself_that_it_stops(tmp_path: Path, word: str, is_so: bool) -> None:
    lock = tmp_path / "postmaster.pid"
    assert not is_stopping(lock)
    lock.write_text(f"1\n/data\n1700000000\n5432\n\n127.0.0.1\n  1 2\n{word}\n")
    assert is_stopping(lock) is is_so


def test_down_ends_what_a_killed_supervisor_left(home: Home) -> None:
    lease = take_lease(home.leases, "the stack's postgres")
    left = subprocess.Popen(WAITS, start_new_session=True)
    lease.pidfile.write_text(str(left.pid))
    body = json.loads(lease.path.read_text())
    lease.path.write_text(json.dumps(body | {"owner": body["owner"] | {"started_ticks": 1}}))
    assert stop_stack(home)
    assert left.wait(10) == -signal.SIGTERM
    assert not stop_stack(home)
