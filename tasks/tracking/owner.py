"""Which process a run belongs to, and whether it still lives: so is found what a SIGKILL left RUNNING."""

import hashlib
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Owner:
    """A process: `machine` is a hash that names no host, `boot` changes with each start of the machine, `started` tells
    a process from a later one of the same number."""

    machine: str
    boot: str
    pid: int
    started: str

    @classmethod
    def this_process(cls) -> "Owner":
        return cls(_machine(), _boot(), os.getpid(), _started(os.getpid()) or "")

    @classmethod
    def read(cls, text: str) -> "Owner | None":
        """What `str()` wrote; None for anything else."""
        machine, boot, pid, started = [*text.split(":"), "", "", "", ""][:4]
        return cls(machine, boot, int(pid), started) if machine and pid.isdigit() else None

    def __str__(self) -> str:
        return f"{self.machine}:{self.boot}:{self.pid}:{self.started}"

    def is_dead(self) -> bool:
        """Certainly so: a process of another machine may live."""
        if self.machine != _machine():
            return False
        return self.boot != _boot() or not _is_running(self.pid, self.started)


def _machine() -> str:
    try:
        identity = Path("/etc/machine-id").read_text().strip()
    except OSError:
        identity = ""
    return hashlib.sha256(f"dyno {identity or uuid.getnode()}".encode()).hexdigest()[:12]


def _boot() -> str:
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()[:13]
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Start time in clock ticks after boot, from /proc; None where there is no such process or no /proc."""
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in ("Z", "X") else fields[18]


def _is_running(pid: int, started: str) -> bool:
    if started:
        return _started(pid) == started
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
