"""guard.py FD PIDFILE GRACE_S ENDING CMD…: runs CMD in a session of its own and outlives neither its owner nor CMD.

Run by path with the standard library only. FD is the read end of a pipe whose write end the owner holds: when it
reaches its end (the owner closed it, or died) or when CMD exits, every descendant gets SIGTERM, and SIGKILL after
GRACE_S seconds. PIDFILE receives CMD's process id; where the owner died, it is removed at the end with the lease beside
it (PIDFILE's name with .json), which names nothing any more. Exit status: CMD's own, 128 + n where signal n ended it.

ENDING is a JSON object of the commands that end what CMD started elsewhere, such as a container, which is nobody's
descendant: `stop`, then `tell` (its output goes to the log), then `remove`, each a list of words; {} where there is
nothing like that. They run before the descendants are ended, and `remove` once more after, for what CMD was only just
starting.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PATIENCE_S = 30.0
OWN_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(fd: int, pidfile: str, grace_s: float, ending: dict[str, list[str]], command: list[str]) -> int:
    """The guard's whole life."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    for number in OWN_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    os.set_inheritable(fd, False)
    try:
        # preexec_fn is safe here: this process has one thread.
        child = subprocess.Popen(command, start_new_session=True, preexec_fn=_become_child)
    except OSError as error:
        print(f"guard: cannot start {command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        return 127
    _write_aside(pidfile, str(child.pid))
    while not (_owner_is_gone(fd) or child.poll() is not None):
        _reap_adopted(child.pid)
    for name in ("stop", "tell", "remove"):
        _run(ending.get(name, []), grace_s, is_heard=name == "tell")
    _end_descendants(grace_s)
    _run(ending.get("remove", []), grace_s, is_heard=False)
    # Whether a container is gone only its reaper knows for certain.
    if not ending and _owner_is_gone(fd) and not _descendants():
        _drop_lease(pidfile)
    status = child.poll()
    if status is None:
        return 128 + signal.SIGKILL
    return status if status >= 0 else 128 - status


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _become_child() -> None:
    for number in OWN_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _write_aside(path: str, text: str) -> None:
    with open(path + ".partial", "w", encoding="ascii") as file:
        file.write(text)
    os.rename(path + ".partial", path)


def _drop_lease(pidfile: str) -> None:
    for path in (os.path.splitext(pidfile)[0] + ".json", pidfile):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _owner_is_gone(fd: int) -> bool:
    ready, _, _ = select.select([fd], [], [], 0.1)
    return bool(ready) and not os.read(fd, 1)


def _run(command: list[str], grace_s: float, *, is_heard: bool) -> None:
    """Whatever comes of it, the end goes on."""
    if command:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            output = None if is_heard else subprocess.DEVNULL
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
                timeout=grace_s + PATIENCE_S,
            )


def _descendants() -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                    fields = file.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if fields[0] != "Z":
                children.setdefault(int(fields[1]), []).append(int(entry))
    found, open_ends = [], [os.getpid()]
    while open_ends:
        below = children.get(open_ends.pop(), [])
        found += below
        open_ends += below
    return found


def _end_descendants(grace_s: float) -> None:
    for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        for pid in _descendants():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        limit = time.monotonic() + wait_s
        while _descendants() and time.monotonic() < limit:
            _reap()
            time.sleep(0.02)
        if not _descendants():
            return


def _reap_adopted(own_child: int) -> None:
    """Orphans of a long-lived CMD that have ended become this process's to bury; CMD's own end is for poll to see."""
    with contextlib.suppress(ChildProcessError, AttributeError):  # macOS has no waitid, and no adoption either
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid != own_child:
            os.waitpid(ended.si_pid, os.WNOHANG)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), json.loads(sys.argv[4]), sys.argv[5:]))
