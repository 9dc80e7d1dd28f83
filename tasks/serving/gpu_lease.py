"""Who measures on a GPU: one process at a time, and only on one that nobody else computes on."""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from experiments.errors import LaunchError
from tasks.serving.gpus import GpuFacts, GpuProcess, NoNvml, chosen_gpus, describe_gpus, processes_on

LONGEST_WAIT_S = 3600.0
LONGEST_RELEASE_S = 30.0
"""For the driver to take back what a server that has just ended held."""


@contextlib.contextmanager
def leased_gpus(
    count: int,
    leases: Path,
    say: Callable[[str], None],
    *,
    wait_s: float = LONGEST_WAIT_S,
    release_s: float = LONGEST_RELEASE_S,
) -> Iterator[tuple[GpuFacts, ...]]:
    """So many GPUs, free, and nobody else's while the block runs. None of this machine is looked at where count is 0.

    Waits, and says for whom, where another dyno holds them; the kernel frees the locks of one that dies. Raises
    LaunchError where there are too few, where the wait is over, or where others compute on one, and names them."""
    if not count:
        yield ()
        return
    candidates = _candidates(count)
    with contextlib.ExitStack() as held:
        gpus = _take(candidates, count, leases, say, time.monotonic() + wait_s, held)
        for gpu in gpus:
            _check_free(gpu, time.monotonic() + release_s)
        yield gpus


def _candidates(count: int) -> list[GpuFacts]:
    try:
        found = describe_gpus()
    except NoNvml as absent:
        raise LaunchError(f"this variant takes {count} GPU(s), and {absent}") from absent
    chosen = chosen_gpus(found)
    if len(chosen) < count:
        visible = "" if len(chosen) == len(found) else f" of {len(found)} (CUDA_VISIBLE_DEVICES leaves so many)"
        raise LaunchError(f"this variant takes {count} GPU(s), and there are {len(chosen)}{visible}")
    return chosen


def _take(
    candidates: Sequence[GpuFacts],
    count: int,
    leases: Path,
    say: Callable[[str], None],
    limit: float,
    held: contextlib.ExitStack,
) -> tuple[GpuFacts, ...]:
    """All at once or none: two that each hold half of what both want would wait for each other."""
    leases.mkdir(parents=True, exist_ok=True)
    told = ""
    while True:
        with contextlib.ExitStack() as attempt:
            gpus = [gpu for gpu in candidates if _lock(gpu, leases, attempt)][:count]
            if len(gpus) == count:
                held.enter_context(attempt.pop_all())
                return tuple(gpus)
        holders = ", ".join(_holder(_lock_file(gpu, leases)) for gpu in candidates)
        if holders != told:
            say(f"waiting for {count} of {len(candidates)} GPU(s), which other measurements hold: {holders}")
            told = holders
        if time.monotonic() > limit:
            raise LaunchError(
                f"no {count} GPU(s) became free in time: {holders}. Wait for them, or leave dyno others with "
                "CUDA_VISIBLE_DEVICES."
            )
        time.sleep(0.2)


def _lock_file(gpu: GpuFacts, leases: Path) -> Path:
    return leases / f"gpu-{gpu.index}.lock"


def _lock(gpu: GpuFacts, leases: Path, attempt: contextlib.ExitStack) -> bool:
    file: IO[str] = attempt.enter_context(_lock_file(gpu, leases).open("a+"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    file.truncate(0)
    file.write(json.dumps({"pid": os.getpid(), "gpu": gpu.index}))
    file.flush()
    return True


def _holder(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError, KeyError):
        body = json.loads(path.read_text())
        return f"GPU {body['gpu']} process {body['pid']}"
    return path.stem


def _check_free(gpu: GpuFacts, limit: float) -> None:
    while found := processes_on(gpu):
        if time.monotonic() > limit:
            raise LaunchError(_busy(gpu, found))
        time.sleep(0.2)


def _busy(gpu: GpuFacts, found: Sequence[GpuProcess]) -> str:
    return (
        f"GPU {gpu.index} ({gpu.name}) is in use by {', '.join(map(str, found))}: what is measured beside others is "
        "not the engine. End them, or leave dyno another GPU with CUDA_VISIBLE_DEVICES."
    )
