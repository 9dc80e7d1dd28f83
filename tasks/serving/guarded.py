"""A process under a guard and a lease: whatever becomes of dyno, it does not stay behind."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.serving.lease import TOLD, Container, drop_lease, end_session, identify, take_lease

GUARD = Path(__file__).with_name("guard.py")
OOM_COUNTERS = ("/proc/vmstat", "/sys/fs/cgroup/memory.events")
"""Of this kernel, and of this control group: either has a line `oom_kill N`."""

LOG_HEAD_BYTES, LOG_TAIL_BYTES = 2**17, 2**19
LONGEST_FAREWELL_S = 15.0
LONGEST_REMOVAL_S = 60.0


@dataclass(slots=True)
class GuardedProcess:
    """A process that runs under a guard, with its output in `log`. `session` is its number once the guard has
    started it: it leads a session of its own. Where it is the client of a `container`, that ends with it."""

    guard: "subprocess.Popen[bytes]"
    pidfile: Path
    log: Path
    session: int | None = None
    oom_kills_before: int = 0
    container: Container | None = None

    def exit_status(self) -> int | None:
        """None while it runs; afterwards its exit status (128 + n: ended by signal n).

        The guard looks ten times a second, and ends what its command left before it ends itself: where the command is
        gone already, this waits for the guard, so that a death is seen at once."""
        session = self.learn_session()
        if session is not None and identify(session) is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.guard.wait(LONGEST_FAREWELL_S)
        status = self.guard.poll()
        return 128 - status if status is not None and status < 0 else status

    def learn_session(self) -> int | None:
        """Reads the number that the guard wrote; None until then."""
        if self.session is None:
            with contextlib.suppress(FileNotFoundError, ValueError):
                self.session = int(self.pidfile.read_text())
        return self.session

    def oom_killed(self) -> bool:
        """Whether the kernel has ended a process for its memory since this one was started."""
        return oom_kills() > self.oom_kills_before or self.is_container_out_of_memory()

    def is_container_out_of_memory(self) -> bool:
        """Whether its container was ended for the memory that it took: as its client told before it was removed, or,
        where that client overlooks it, by SIGKILL while the kernel ended something for its memory."""
        told = [line for line in self.log_tail().splitlines() if line.startswith(TOLD)]
        is_killed = bool(told) and f"status={128 + signal.SIGKILL} " in told[-1]
        is_ours = oom_kills() > self.oom_kills_before
        return bool(told) and ("oom_killed=true" in told[-1] or (is_killed and is_ours))

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of its output, read from the last 32 KiB."""
        with contextlib.suppress(FileNotFoundError), self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - 32768))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
        return ""


def oom_kills() -> int:
    """How many processes were ended for the memory that they took, as far as the kernel tells; it never sinks."""
    found = 0
    for counter in OOM_COUNTERS:
        with contextlib.suppress(OSError, ValueError):
            lines = Path(counter).read_text().splitlines()
            found += sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return found


def read_log(path: Path) -> str:
    """A log as text, whatever is in it and however long it is: of a long one the beginning and the end."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size <= LOG_HEAD_BYTES + LOG_TAIL_BYTES:
                return file.read().decode("utf-8", "replace")
            head = file.read(LOG_HEAD_BYTES).decode("utf-8", "replace")
            file.seek(size - LOG_TAIL_BYTES)
            tail = file.read(LOG_TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    return f"{head}\n[{(size - LOG_HEAD_BYTES - LOG_TAIL_BYTES) // 2**20} MiB left out]\n{tail}"


@contextlib.contextmanager
def guarded_process(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    log: Path,
    leases: Path,
    what: str,
    grace_s: float = 5.0,
    container: Container | None = None,
    cwd: Path | None = None,
) -> Iterator[GuardedProcess]:
    """Runs `argv` in `cwd` until the block ends, however it ends; nothing of it is left then, nor of its `container`.

    Output goes to the file `log`: an inherited pipe would outlive its reader. Raises OSError where the guard itself
    cannot start; a command that cannot start shows as exit status 127.
    """
    lease, before = take_lease(leases, what, container), oom_kills()
    ending = json.dumps(container.ending(grace_s) if container else {})
    read_end, write_end = os.pipe()
    try:
        with log.open("ab") as output:
            guard = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    str(GUARD),
                    str(read_end),
                    str(lease.pidfile),
                    str(grace_s),
                    ending,
                    *argv,
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(env),
                cwd=cwd or (log.parent if container else None),  # podman 4's conmon leaves a file `oom` there
                pass_fds=(read_end,),
                start_new_session=True,
            )
        os.close(read_end)
        process = GuardedProcess(guard, lease.pidfile, log, oom_kills_before=before, container=container)
        try:
            yield process
        finally:
            _stop(process, write_end, grace_s)
            write_end = -1
    finally:
        if write_end >= 0:
            os.close(write_end)
        drop_lease(lease)


def _stop(process: GuardedProcess, write_end: int, grace_s: float) -> None:
    """Lets the guard go, and makes sure that it took everything with it. A second Ctrl-C does not stop this."""
    os.close(write_end)
    limit = time.monotonic() + grace_s + (10 if process.container is None else LONGEST_REMOVAL_S)
    while process.guard.poll() is None and time.monotonic() < limit:
        with contextlib.suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
            process.guard.wait(0.5)
    if process.guard.poll() is None:
        process.guard.kill()
        process.guard.wait()
    session = process.learn_session()
    if session:
        end_session(session, grace_s=1.0)
    if process.container:
        process.container.remove()
