"""One maker at a time, across processes and threads: flock on a file. The kernel drops it when its holder dies."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ANNOUNCE_AFTER_S = 0.3
POLL_S = 0.05


@contextmanager
def locked(path: Path, *, waiting: Callable[[str], None]) -> Iterator[None]:
    """Holds the lock; `waiting` is told once who holds it, if that is another for longer than a moment.

    It polls: a blocking flock in a thread could not be interrupted by Ctrl-C. The file stays when the lock is
    released: removing it would let two holders each lock a file of that name.
    """
    descriptor = _open(path)
    try:
        _wait(descriptor, path, waiting)
        _sign(descriptor)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def lock_if_free(path: Path) -> Iterator[bool]:
    """Yields whether the lock was free; it is held until the block ends."""
    descriptor = _open(path)
    try:
        yield _try(descriptor)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(descriptor: int, path: Path, waiting: Callable[[str], None]) -> None:
    since = time.monotonic()
    announced = False
    while not _try(descriptor):
        if not announced and time.monotonic() - since > ANNOUNCE_AFTER_S:
            announced = True
            waiting(f"waiting for process {path.read_text() or 'unknown'}, which is making the same thing")
        time.sleep(POLL_S)


def _sign(descriptor: int) -> None:
    """Names the holder, for those who wait; never read to decide anything."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
