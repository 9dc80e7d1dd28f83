"""One maker at a time, and no removal of what is used, across processes and threads: flock on files.

The kernel drops a lock when its last holder dies, so nothing that a kill leaves behind keeps anybody waiting.
"""

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ANNOUNCE_AFTER_S = 0.3
POLL_S = 0.05

_in_use: dict[Path, int] = {}
"""What this process uses until it ends: its open descriptor, with a shared lock, by the file that stands for it."""

_one_thread = threading.Lock()


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


def use_until_exit(path: Path) -> None:
    """Marks what `path` stands for as used now, and until this process ends: `lock_if_free` does not get it.

    Its modification time is that of the last use. Where nothing can be written (a store shared for reading, a full
    disk), it is used unmarked: whoever cannot write there does not remove anything either.
    """
    with _one_thread, contextlib.suppress(OSError):
        if not _is_marked(path):
            _in_use[path] = _shared(path)
        os.utime(_in_use[path])


def is_in_use(path: Path) -> bool:
    """Whether a living process uses what `path` stands for."""
    if not path.exists():
        return False
    with lock_if_free(path) as free:
        return not free


def _is_marked(path: Path) -> bool:
    """A file that was removed and made again is another file: the lock on the old one says nothing."""
    if path not in _in_use:
        return False
    if path.exists() and os.path.samestat(os.fstat(_in_use[path]), path.stat()):
        return True
    os.close(_in_use.pop(path))
    return False


def _shared(path: Path) -> int:
    """Waits while another has it alone, which is as long as a rename takes."""
    descriptor = _open(path)
    while not _try(descriptor, fcntl.LOCK_SH):
        time.sleep(POLL_S / 10)
    return descriptor


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


def _try(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
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
