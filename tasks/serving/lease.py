"""Leases: a file for each process that dyno started and must not leave behind, and the reaper that reads them."""

import contextlib
import json
import os
import signal
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process that cannot be mistaken for a later one of the same number: start time in clock ticks since boot."""

    pid: int
    started_ticks: int
    boot_id: str


@dataclass(frozen=True, slots=True)
class Lease:
    """`owner` holds what runs; `pidfile` receives the number of the process that was started for it."""

    path: Path
    what: str
    owner: ProcessIdentity

    @property
    def pidfile(self) -> Path:
        """Written by the guard, beside the lease."""
        return self.path.with_suffix(".pid")


def identify(pid: int) -> ProcessIdentity | None:
    """The identity of a live process; None where it is gone or a zombie."""
    fields = _stat(pid)
    if fields is None or fields[0] == "Z":
        return None
    return ProcessIdentity(pid, int(fields[19]), Path("/proc/sys/kernel/random/boot_id").read_text().strip())


def is_alive(identity: ProcessIdentity) -> bool:
    """Whether that very process still runs."""
    return identify(identity.pid) == identity


def take_lease(folder: Path, what: str) -> Lease:
    """Names this process as the owner of something that is about to start."""
    folder.mkdir(parents=True, exist_ok=True)
    owner = identify(os.getpid())
    assert owner is not None
    lease = Lease(folder / f"{uuid.uuid4().hex[:12]}.json", what, owner)
    aside = lease.path.with_suffix(".partial")
    aside.write_text(json.dumps({"what": what, "owner": asdict(owner)}))
    aside.rename(lease.path)
    return lease


def drop_lease(lease: Lease) -> None:
    """What it named runs no more."""
    lease.pidfile.unlink(missing_ok=True)
    lease.path.unlink(missing_ok=True)


def leases(folder: Path) -> Iterator[Lease]:
    """All leases of a folder; one that cannot be read was half-written by a dead owner, and is removed."""
    for path in sorted(folder.glob("*.json")):
        try:
            body = json.loads(path.read_text())
            yield Lease(path, body["what"], ProcessIdentity(**body["owner"]))
        except FileNotFoundError:
            continue
        except (ValueError, KeyError, TypeError):
            path.unlink(missing_ok=True)


def reap(folder: Path, *, grace_s: float = 3.0) -> list[str]:
    """Ends what dead owners left running, and drops their leases; returns what was ended."""
    ended = []
    for lease in leases(folder):
        if is_alive(lease.owner):
            continue
        session = _session_of(lease)
        if session and end_session(session, grace_s=grace_s):
            ended.append(lease.what)
        drop_lease(lease)
    return ended


def end_session(session: int, *, grace_s: float) -> bool:
    """Ends every process of a session: SIGTERM, then SIGKILL. False where there was none."""
    if not session_members(session):
        return False
    for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        for pid in session_members(session):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        limit = time.monotonic() + wait_s
        while session_members(session) and time.monotonic() < limit:
            time.sleep(0.02)
    return True


def session_members(session: int) -> list[int]:
    """The live processes whose session is this one."""
    members = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = _stat(int(entry))
            if fields is not None and fields[0] != "Z" and int(fields[3]) == session:
                members.append(int(entry))
    return members


def _session_of(lease: Lease) -> int | None:
    """The session that the guard made: its leader's number is in the pidfile, and is older than a reused one."""
    if lease.owner.boot_id != Path("/proc/sys/kernel/random/boot_id").read_text().strip():
        return None
    try:
        session = int(lease.pidfile.read_text())
    except (FileNotFoundError, ValueError):
        return None
    leader = _stat(session)
    # A session's leader bears its number. Another session's member there means that the number was used again.
    return session if leader is None or int(leader[3]) == session else None


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the name: state, parent, group, session, … , start time at [19]."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()
    except OSError:
        return None
