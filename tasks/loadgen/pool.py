"""Worker processes, kept alive across the trials of a launch. None of them outlives its owner."""

import contextlib
import os
import subprocess
import sys
from multiprocessing.connection import Pipe, wait
from pathlib import Path
from types import TracebackType
from typing import Self

from experiments.errors import MeasurementError, SetupError
from tasks.loadgen.assignment import Broke

_ROOT = Path(__file__).parents[2]
_PATIENCE_S = 2.0


def python_path() -> str:
    """So that a child finds these packages wherever it is started, and before any namesakes."""
    return os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH", ""))))


class Worker:
    """One client process. Its standard input is what ties its life to ours."""

    def __init__(self) -> None:
        (orders, self._orders), (self.reports, reports) = Pipe(duplex=False), Pipe(duplex=False)
        theirs = (orders.fileno(), reports.fileno())
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tasks.loadgen.worker", *map(str, theirs)],
            stdin=subprocess.PIPE,
            pass_fds=theirs,
            env={**os.environ, "PYTHONPATH": python_path()},
            process_group=0,  # Ctrl-C at the terminal is the parent's to hear
        )
        orders.close()
        reports.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def receive(self) -> object:
        """The next message. Raises MeasurementError where the worker broke or is gone, SetupError
        where the machine has no room for it."""
        try:
            message = self.reports.recv()
        except (EOFError, OSError) as error:
            code = self._process.wait()
            raise MeasurementError(f"a process of the load generator ended with {code} while it measured") from error
        if isinstance(message, Broke) and message.machine:
            raise SetupError(f"the load generator could not go on: {message.machine}")
        if isinstance(message, Broke):
            raise MeasurementError(
                "a process of the load generator broke; this is a defect of dyno", log_excerpt=message.traceback
            )
        return message

    def send(self, message: object) -> None:
        """A worker that is gone is told by `receive`."""
        with contextlib.suppress(OSError):
            self._orders.send(message)

    def end(self) -> None:
        """Asks by closing the pipes, then insists."""
        self._orders.close()
        self.reports.close()
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        self._process.kill()
        self.end()


class Pool:
    """`with Pool() as pool`: every trial that is given it finds its workers warm."""

    def __init__(self) -> None:
        self._workers: list[Worker] = []

    def workers(self, count: int) -> list[Worker]:
        """That many, starting what is missing; they come up while the caller goes on."""
        self._workers += [Worker() for _ in range(count - len(self._workers))]
        return self._workers[:count]

    def discard(self) -> None:
        """Ends all of them at once: after a trial that broke off, nobody knows where they stand."""
        for worker in self._workers:
            worker.kill()
        self._workers = []

    def close(self) -> None:
        for worker in self._workers:
            worker.end()
        self._workers = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def ready_workers(workers: list[Worker], timeout_s: float) -> list[Worker]:
    """Those with a message to receive."""
    ready = wait([worker.reports for worker in workers], timeout_s)
    return [worker for worker in workers if worker.reports in ready]
