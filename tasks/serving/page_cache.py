"""What of a checkpoint the page cache holds: asked of the kernel (mincore), dropped (posix_fadvise); no root needed."""

import ctypes
import mmap
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

LIBC = ctypes.CDLL(None, use_errno=True)
AT_ONCE_BYTES = 2**30


def checkpoint_files(path: Path) -> list[Path]:
    """The files that a server loads: `path` itself, or all below it."""
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())


def resident_share(files: Iterable[Path]) -> float | None:
    """The share of their pages in memory; None where the kernel does not tell: it does so to those who may write a
    file, and calls everything resident to others."""
    pages = resident = 0
    for file in files:
        if not os.access(file, os.W_OK):
            return None
        counted = _resident(file)
        if counted is None:
            return None
        pages, resident = pages + counted[1], resident + counted[0]
    return resident / pages if pages else None


def _resident(file: Path) -> tuple[int, int] | None:
    """Pages in memory, and pages in all."""
    size = file.stat().st_size
    found = total = 0
    with file.open("rb") as opened:
        for offset in range(0, size, AT_ONCE_BYTES):
            length = min(AT_ONCE_BYTES, size - offset)
            with mmap.mmap(opened.fileno(), length, offset=offset, access=mmap.ACCESS_READ) as mapped:
                told = _mincore(mapped, length)
            if told is None:
                return None
            found, total = found + told[0], total + told[1]
    return found, total


def _mincore(mapped: mmap.mmap, length: int) -> tuple[int, int] | None:
    """Looking at the mapping itself would read it in."""
    view = np.frombuffer(mapped, dtype=np.uint8)
    vector = np.zeros(-(-length // mmap.PAGESIZE), dtype=np.uint8)
    try:
        failed = LIBC.mincore(
            ctypes.c_void_p(view.ctypes.data), ctypes.c_size_t(length), ctypes.c_void_p(vector.ctypes.data)
        )
    finally:
        del view  # a mapping with a view of it cannot be closed
    return None if failed else (int((vector & 1).sum()), vector.size)


def drop(files: Iterable[Path]) -> None:
    """Written out first: pages that are not on the disk yet cannot be dropped."""
    for file in files:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
