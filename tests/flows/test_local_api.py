"""Prefect's server, kept up while a run needs it."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from experiments.errors import SetupError
from flows.local_api import check_it_answers, started_again, wait_until_it_answers
from tasks.serving.guarded import GuardedProcess, guarded_process

Start = Callable[[], contextlib.AbstractContextManager[tuple[str, GuardedProcess]]]


def starting(folder: Path, started: list[GuardedProcess]) -> Start:
    """A server that only waits, and notes each start of itself."""

    @contextlib.contextmanager
    def start() -> Iterator[tuple[str, GuardedProcess]]:
        waits = [sys.executable, "-c", "import time; time.sleep(600)"]
        with guarded_process(waits, env=os.environ, log=folder / "log", leases=folder, what="a server") as process:
            started.append(process)
            yield "http://h", process

    return start


def until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.02)


def killed(process: GuardedProcess) -> None:
    until(lambda: process.learn_session() is not None)
    assert process.session is not None
    os.kill(process.session, signal.SIGKILL)


def test_a_server_that_is_killed_is_started_again_and_ends_with_the_run(tmp_path: Path) -> None:
    started: list[GuardedProcess] = []
    said: list[str] = []
    start = starting(tmp_path, started)
    with start() as (_, first), started_again(first, start, said.append):
        for count in (2, 3):
            killed(started[-1])
            until(lambda count=count: len(started) == count)  # type: ignore[misc]
        assert started[-1].exit_status() is None
    assert len(said) == 2
    assert all(process.exit_status() is not None for process in started)
    assert not list(tmp_path.glob("*.json")), "no lease is left"


@pytest.mark.parametrize(
    ("last", "says", "excerpt"),
    [
        ("sqlite3.OperationalError: database or disk is full", "is full, or nearly. Make room", ""),
        ("ValueError: other", "its log is", "ValueError: other"),
    ],
)
def test_a_server_that_ends_as_it_starts_says_what_to_do(tmp_path: Path, last: str, says: str, excerpt: str) -> None:
    ends = [sys.executable, "-c", f"raise SystemExit({last!r})"]
    with (
        guarded_process(ends, env=os.environ, log=tmp_path / "log", leases=tmp_path, what="a server") as process,
        pytest.raises(SetupError, match=says) as raised,
    ):
        wait_until_it_answers("http://127.0.0.1:9/", process, "a server")
    assert raised.value.log_excerpt.strip() == excerpt


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/api", "http://me:s3cret@127.0.0.1:9/api", "nonsense"])
def test_a_prefect_server_of_ones_own_that_is_not_there_is_told(url: str) -> None:
    with pytest.raises(SetupError, match=r"PREFECT_API_URL: .* does not answer .*unset the variable") as told:
        check_it_answers(url)
    assert "s3cret" not in str(told.value)
