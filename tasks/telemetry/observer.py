"""The process that watches: GPUs at 10 Hz, the engine's metrics at 1 Hz, until its standard input ends.

Reads what to watch as one JSON line, prints `ready` once each has been read or has failed, and writes JSON lines to the
file that it is told. It imports only what it needs, so that its start costs little, and it yields to whoever else wants
the processor: a late sample bears its true time.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from tasks.telemetry.gpus import Gpus, NoGpus
from tasks.telemetry.scrape import NoMetrics, Scraped, Scraper

GPU_PERIOD_S = 0.1
ENGINE_PERIOD_S = 1.0
NICENESS = 5
FLUSHED_EACH_S = 1.0


class _Notebook:
    """Lines of one file, by several threads."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._flushed_at = time.monotonic()

    def write(self, *line: object) -> None:
        with self._lock:
            self._file.write(json.dumps(line) + "\n")
            if time.monotonic() > self._flushed_at + FLUSHED_EACH_S:
                self._file.flush()
                self._flushed_at = time.monotonic()


def observe(asked: dict[str, Any], file: TextIO, stop: threading.Event, ready: Callable[[], None]) -> None:
    """Until `stop`; a last sample is taken then, so that what was measured lies between two."""
    notes = _Notebook(file)
    watches: list[tuple[float, Callable[[], None]]] = []
    if asked["gpus"]:
        watches.append((GPU_PERIOD_S, _gpu_watch(tuple(asked["gpus"]), notes)))
    if asked["engine"]:
        watches.append((ENGINE_PERIOD_S, _engine_watch(Scraped(**asked["engine"]), notes)))
    for _, take in watches:
        take()
    ready()
    threads = [threading.Thread(target=_repeat, args=(period_s, take, stop)) for period_s, take in watches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _repeat(period_s: float, take: Callable[[], None], stop: threading.Event) -> None:
    """On an absolute beat: a late sample delays no other, and beats that were missed are left out."""
    due = time.monotonic() + period_s
    while not stop.wait(max(0.0, due - time.monotonic())):
        take()
        due += period_s * max(1, int((time.monotonic() - due) // period_s) + 1)
    take()


def _gpu_watch(chosen: tuple[str, ...], notes: _Notebook) -> Callable[[], None]:
    try:
        gpus: Gpus | None = Gpus(chosen)
    except NoGpus as why:
        notes.write("no gpu", str(why))
        gpus = None

    def take() -> None:
        nonlocal gpus
        if gpus is None:
            return
        try:
            for row in gpus.rows():
                notes.write("gpu", *row)
        except NoGpus as why:
            notes.write("no gpu", str(why))
            gpus = None

    return take


def _engine_watch(scraped: Scraped, notes: _Notebook) -> Callable[[], None]:
    scraper = Scraper(scraped)

    def take() -> None:
        try:
            notes.write("engine", scraper.sample(), time.monotonic_ns())
        except NoMetrics as why:
            notes.write("no engine", str(why))

    return take


def main() -> None:
    """Ends with its standard input, which ends with its owner, however that ends."""
    os.nice(NICENESS)
    asked = json.loads(sys.stdin.readline())
    stop = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    with Path(asked["file"]).open("w", encoding="utf-8") as file:
        observe(asked, file, stop, ready=lambda: print("ready", flush=True))


if __name__ == "__main__":
    main()
