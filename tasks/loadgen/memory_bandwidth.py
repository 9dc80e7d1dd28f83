"""How fast this machine's cores read memory together, by the size of what they read: the bound of decoding on a CPU.

Like STREAM, but reading only, since a decode step reads weights and writes next to nothing; and over working sets from
what a cache holds to what only memory does, since a small model is read from a cache.
"""

import os
import threading
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WORKING_SETS_MIB = (2, 8, 32, 128, 512)
REPEATS = 3


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """Of all cores together, the best of some repeats: others on the machine can only take from it."""

    working_set_bytes: int
    gb_per_s: float


def measure_memory_bandwidth(*, seconds: float = 0.1, cores: int | None = None) -> list[Bandwidth]:
    """One entry for each working set that fits a quarter of the memory; `seconds` is of each repeat."""
    threads = cores or len(os.sched_getaffinity(0))
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    sizes = [size for mib in WORKING_SETS_MIB if (size := mib * 2**20) <= available / 4]
    return [_measure(size, threads, seconds) for size in sizes]


def _measure(size_bytes: int, threads: int, seconds: float) -> Bandwidth:
    parts = [np.ones(size_bytes // threads // 4, dtype=np.int32) for _ in range(threads)]
    best = max(_bytes_per_s(parts, seconds) for _ in range(REPEATS))
    return Bandwidth(size_bytes, round(best / 1e9, 2))


def _bytes_per_s(parts: list[NDArray[np.int32]], seconds: float) -> float:
    """The maximum of an integer array is as fast as its bytes come; numpy holds no lock meanwhile."""
    read = [0] * len(parts)
    began = time.monotonic()

    def work(index: int) -> None:
        while time.monotonic() - began < seconds:
            parts[index].max()
            read[index] += parts[index].nbytes

    workers = [threading.Thread(target=work, args=(index,)) for index in range(len(parts))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(read) / (time.monotonic() - began)
