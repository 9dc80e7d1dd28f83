"""A command run to its end under a guard: its status, and the memory that it took."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.serving.guarded import guarded_process
from tasks.serving.lease import Container

SAMPLE_S = 0.1


def guarded_run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    log: Path,
    leases: Path,
    what: str,
    cwd: Path | None = None,
    container: Container | None = None,
) -> tuple[int, int | None]:
    """Exit status (143: ended by a signal, 127: cannot be started), and the peak in bytes of the resident memory of all
    its processes together, as sampled; None where it ended before the first look, and in a container, whose processes
    are not below its client. Shared pages count once a process."""
    peak: int | None = None
    with guarded_process(argv, env=env, log=log, leases=leases, what=what, cwd=cwd, container=container) as process:
        while (status := process.exit_status()) is None:
            resident = 0 if container else _resident_bytes(process.learn_session())
            peak = max(peak or 0, resident) if resident else peak
            time.sleep(SAMPLE_S)
    return status, peak


def _resident_bytes(root: int | None) -> int:
    """Of a process and all below it; 0 where it is gone."""
    if root is None:
        return 0
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, ends = [root], [root]
    while ends:
        below = children.get(ends.pop(), [])
        found += below
        ends += below
    return sum(map(_resident_of, found))


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _resident_of(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)
