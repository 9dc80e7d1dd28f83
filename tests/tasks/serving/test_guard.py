"""Nothing that dyno started outlives it: real processes, really killed."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.serving.guarded import guarded_process
from tasks.serving.lease import identify, leases, reap, session_members, take_lease

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

TREE = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)   # a server that does not listen
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
"""
"""A server with a worker in a session of its own, neither of which ends by itself."""

OWNER = """
import sys, time
from pathlib import Path
from tasks.serving.guarded import guarded_process
folder, program = Path(sys.argv[1]), sys.argv[2]
with guarded_process([sys.executable, "-c", program], env={"PATH": "/usr/bin"}, log=folder / "log",
                     leases=folder / "leases", what="a tree", grace_s=0.2):
    time.sleep(600)
"""


def until(is_true: Callable[[], object], limit_s: float = 15.0) -> bool:
    """Whether it came true within the limit."""
    limit = time.monotonic() + limit_s
    while time.monotonic() < limit:
        if is_true():
            return True
        time.sleep(0.02)
    return False


def pids_in(log: Path) -> list[int]:
    """The process numbers that TREE printed."""
    return [int(word) for word in log.read_text().split()] if log.exists() else []


def none_lives(pids: list[int]) -> bool:
    return all(identify(pid) is None for pid in pids)


@pytest.fixture
def owned(tmp_path: Path) -> "tuple[subprocess.Popen[bytes], list[int]]":
    """An owner process whose tree is up, and the numbers of the tree."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path), TREE])
    assert until(lambda: len(pids_in(tmp_path / "log")) == 2)
    return owner, pids_in(tmp_path / "log")


def test_the_tree_ends_with_the_block(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with guarded_process(
        [sys.executable, "-c", TREE], env={}, log=log, leases=tmp_path / "leases", what="a tree", grace_s=0.2
    ) as process:
        assert until(lambda: len(pids_in(log)) == 2)
        assert process.exit_status() is None
    assert none_lives(pids_in(log))
    assert list(leases(tmp_path / "leases")) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_tree_ends_with_its_owner(
    owned: "tuple[subprocess.Popen[bytes], list[int]]", number: signal.Signals
) -> None:
    owner, tree = owned
    owner.send_signal(number)
    owner.wait()
    assert until(lambda: none_lives(tree))


def test_an_owner_that_was_killed_leaves_no_lease(
    owned: "tuple[subprocess.Popen[bytes], list[int]]", tmp_path: Path
) -> None:
    owner, _ = owned
    assert len(list((tmp_path / "leases").iterdir())) == 2  # the lease, and the number of its process
    owner.kill()
    owner.wait()
    assert until(lambda: not list((tmp_path / "leases").iterdir()))


def test_a_lease_is_its_owners_to_drop_while_it_lives(tmp_path: Path) -> None:
    with guarded_process(["true"], env={}, log=tmp_path / "log", leases=tmp_path / "leases", what="x") as process:
        assert until(lambda: process.exit_status() == 0)
        assert len(list(leases(tmp_path / "leases"))) == 1


def test_what_survives_owner_and_guard_is_found_by_its_lease(
    owned: "tuple[subprocess.Popen[bytes], list[int]]", tmp_path: Path
) -> None:
    """The guard's death takes the server along (PDEATHSIG); a server in the same session as its worker would stay."""
    owner, tree = owned
    (lease,) = leases(tmp_path / "leases")
    survivor = subprocess.Popen(["sleep", "600"], start_new_session=True)
    lease.pidfile.write_text(str(survivor.pid))
    (guard,) = Path(f"/proc/{owner.pid}/task/{owner.pid}/children").read_text().split()
    os.kill(int(guard), signal.SIGKILL)
    owner.kill()
    owner.wait()
    os.kill(tree[1], signal.SIGKILL)
    assert until(lambda: none_lives(tree))
    assert reap(tmp_path / "leases") == ["a tree"]
    assert survivor.wait(10) == -signal.SIGTERM
    assert list(leases(tmp_path / "leases")) == []


def test_what_a_live_owner_runs_is_left_alone(tmp_path: Path) -> None:
    lease = take_lease(tmp_path, "mine")
    sleeper = subprocess.Popen(["sleep", "600"], start_new_session=True)
    lease.pidfile.write_text(str(sleeper.pid))
    assert reap(tmp_path) == []
    assert session_members(sleeper.pid) == [sleeper.pid]
    sleeper.kill()
    sleeper.wait()


def test_a_number_that_was_used_again_is_not_killed(tmp_path: Path) -> None:
    """The lease of a dead owner names a number that by now belongs to a process of another session."""
    lease = take_lease(tmp_path, "old")
    bystander = subprocess.Popen(["sleep", "600"])  # in this process's own session
    lease.pidfile.write_text(str(bystander.pid))
    text = lease.path.read_text()
    dead = subprocess.Popen(["true"])
    dead.wait()
    lease.path.write_text(text.replace(f'"pid": {os.getpid()}', f'"pid": {dead.pid}'))
    assert reap(tmp_path) == []
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_half_a_lease_is_removed(tmp_path: Path) -> None:
    (tmp_path / "half.json").write_text('{"what": "x"')
    assert reap(tmp_path) == []
    assert not (tmp_path / "half.json").exists()


def test_a_command_that_does_not_exist_says_so(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with guarded_process(["/no/such/program"], env={}, log=log, leases=tmp_path / "leases", what="x") as process:
        assert until(lambda: process.exit_status() is not None)
        assert process.exit_status() == 127
        assert "cannot start /no/such/program" in process.log_tail()


def test_a_death_is_seen_at_once(tmp_path: Path) -> None:
    with guarded_process(
        ["sleep", "600"], env={}, log=tmp_path / "log", leases=tmp_path / "leases", what="x"
    ) as process:
        assert until(process.learn_session)
        assert process.exit_status() is None
        assert process.session is not None
        os.kill(process.session, signal.SIGKILL)
        assert until(lambda: identify(process.session or 0) is None)
        assert process.exit_status() == 128 + signal.SIGKILL


def test_an_exit_status_is_handed_on(tmp_path: Path) -> None:
    program = textwrap.dedent("import sys; print('last words'); sys.exit(7)")
    with guarded_process(
        [sys.executable, "-c", program], env={}, log=tmp_path / "log", leases=tmp_path / "leases", what="x"
    ) as process:
        assert until(lambda: process.exit_status() == 7)
        assert process.log_tail() == "last words"


ORPHANS = """
import subprocess, sys, time
leave = "import subprocess; subprocess.Popen(['sleep', '0.2'], start_new_session=True)"
for _ in range(3):
    subprocess.run([sys.executable, "-c", leave])
print("left", flush=True)
time.sleep(600)
"""


def test_orphans_that_end_do_not_pile_up_while_the_server_lives(tmp_path: Path) -> None:
    """A worker runs for months; each flow of it that is killed leaves some."""
    with guarded_process(
        [sys.executable, "-c", ORPHANS], env={"PATH": "/usr/bin:/bin"}, log=tmp_path / "log",
        leases=tmp_path / "leases", what="a worker", grace_s=0.2,
    ) as process:  # fmt: skip
        assert until(lambda: "left" in (tmp_path / "log").read_text())
        guard = parent_of(int(next(tmp_path.glob("leases/*.pid")).read_text()))
        assert until(lambda: children_of(guard) == 1)
        assert process.exit_status() is None


def status_fields(pid: str) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []


def parent_of(pid: int) -> int:
    return int(status_fields(str(pid))[1])


def children_of(pid: int) -> int:
    """Ended ones that nobody has waited for included."""
    fields = [status_fields(entry.name) for entry in Path("/proc").glob("[0-9]*")]
    return sum(len(one) > 1 and int(one[1]) == pid for one in fields)
