"""Leases: a file for each process that dyno started and must not leave behind, and the reaper that reads them."""

import contextlib
import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process that cannot be mistaken for a later one of the same number: start time in clock ticks since boot."""

    pid: int
    started_ticks: int
    boot_id: str


CONTAINER_CLI_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Container:
    """A container by its name; `cli` is the docker or podman that started it. It is no descendant of ours."""

    cli: str
    name: str

    def ending(self, grace_s: float) -> dict[str, list[str]]:
        """The commands of its end: stop, tell how it ended, remove."""
        return {
            "stop": [self.cli, "stop", "-t", str(max(1, round(grace_s))), self.name],
            "tell": [self.cli, "inspect", "--type", "container", "--format", TELL, self.name],
            "remove": [self.cli, "rm", "--force", "--volumes", self.name],
        }

    def exists(self) -> bool:
        """Whether it is there, running or not."""
        return self._run(self.ending(0)["tell"])

    def remove(self) -> bool:
        """Ends and removes it at once. False where there was none."""
        return self.exists() and self._run(self.ending(0)["remove"])

    def _run(self, command: list[str]) -> bool:
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=CONTAINER_CLI_PATIENCE_S)
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0


TOLD = "dyno: the container has ended:"
TELL = f"{TOLD} status={{{{.State.ExitCode}}}} oom_killed={{{{.State.OOMKilled}}}}"
"""What is told in the server's log before the container is removed, which takes its state along."""


@dataclass(frozen=True, slots=True)
class Lease:
    """`owner` holds what runs; `pidfile` receives the number of the process that was started for it, which is the
    client of `container` where there is one."""

    path: Path
    what: str
    owner: ProcessIdentity
    container: Container | None = None

    @property
    def pidfile(self) -> Path:
        """Written by the guard, beside the lease."""
        return self.path.with_suffix(".pid")


def identify(pid: int) -> ProcessIdentity | None:
    """The identity of a live process; None where it is gone or a zombie."""
    fields = _stat(pid)
    if fields is None or fields[0] == "Z":
        return None
    return ProcessIdentity(pid, int(fields[19]), boot_id())


def is_alive(identity: ProcessIdentity) -> bool:
    """Whether that very process still runs."""
    return identify(identity.pid) == identity


def this_process() -> ProcessIdentity:
    """The identity of the process that asks."""
    found = identify(os.getpid())
    assert found is not None
    return found


def take_lease(folder: Path, what: str, container: Container | None = None) -> Lease:
    """Names this process as the owner of something that is about to start."""
    folder.mkdir(parents=True, exist_ok=True)
    lease = Lease(folder / f"{uuid.uuid4().hex[:12]}.json", what, this_process(), container)
    aside = lease.path.with_suffix(".partial")
    named = {"container": asdict(container)} if container else {}
    aside.write_text(json.dumps({"what": what, "owner": asdict(lease.owner), **named}))
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
            container = Container(**body["container"]) if "container" in body else None
            yield Lease(path, body["what"], ProcessIdentity(**body["owner"]), container)
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
        had_session = bool(session) and end_session(session or 0, grace_s=grace_s)
        had_container = lease.container is not None and lease.container.remove()
        if had_session or had_container:
            ended.append(lease.what)
        drop_lease(lease)
    return ended


OWNER_LABELS = ("dyno.owner.pid", "dyno.owner.started_ticks", "dyno.owner.boot_id", "dyno.owner.pid_namespace")


def owner_labels(owner: ProcessIdentity) -> dict[str, str]:
    """Who owns a container, on the container itself: a store that was removed took its leases along."""
    values = (str(owner.pid), str(owner.started_ticks), owner.boot_id, _pid_namespace())
    return dict(zip(OWNER_LABELS, values, strict=True))


def is_left_behind(labels: Mapping[str, str]) -> bool:
    """Whether the owner that these labels name was a process of this boot and this pid namespace, and is gone. Another
    machine's dyno may use the same daemon: of its processes nothing can be known here."""
    pid, ticks, boot, namespace = (labels.get(name, "") for name in OWNER_LABELS)
    if not (pid.isdigit() and ticks.isdigit()) or namespace != _pid_namespace() or boot != boot_id():
        return False
    return not is_alive(ProcessIdentity(int(pid), int(ticks), boot))


def _pid_namespace() -> str:
    return os.readlink("/proc/self/ns/pid")


def boot_id() -> str:
    """The kernel's name of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


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
    if lease.owner.boot_id != boot_id():
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
