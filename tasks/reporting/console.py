"""What a person sees while dyno works: one line per event, and a live line while a trial runs."""

import logging
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.status import Status
from rich.text import Text

from experiments.schema.result import PointResult

PLAIN_EVERY_S = 10.0
STYLES = {logging.WARNING: "yellow", logging.ERROR: "red"}


class ConsoleHandler(logging.Handler):
    """Prints the records of the `dyno` loggers. A record with `progress` or `live` is live: on a terminal it
    replaces the one before it, elsewhere a line of it is printed now and then."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.DEBUG)
        self.console = console
        self.started = time.monotonic()
        self.status: Status | None = None
        self.shown_at = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        """One record, one line."""
        progress = getattr(record, "progress", None)
        if progress is not None:
            self._live(progress_line(progress))
        elif hasattr(record, "live"):
            self._live(record.getMessage())
        elif record.levelno >= logging.INFO:
            self.clear()
            self._line(record)

    def clear(self) -> None:
        """Takes the live line away."""
        if self.status is not None:
            self.status.stop()
            self.status = None

    def _line(self, record: logging.LogRecord) -> None:
        if getattr(record, "heading", False):
            self.console.print()
            self.console.print(Text(record.getMessage(), style="bold"))
            return
        line = Text(f"{time.monotonic() - self.started:6.1f} s  ", style="dim")
        line.append(f"{record.name.removeprefix('dyno.').replace('_', ' '):<12}", style="cyan")
        line.append(record.getMessage(), style=STYLES.get(record.levelno, ""))
        self.console.print(line, soft_wrap=True)
        self.shown_at = time.monotonic()

    def _live(self, text: str) -> None:
        if self.console.is_terminal:
            if self.status is None:
                self.status = self.console.status(text)
                self.status.start()
            else:
                self.status.update(text)
        elif time.monotonic() - self.shown_at > PLAIN_EVERY_S:
            self.shown_at = time.monotonic()
            self.console.print(f"          {text}", soft_wrap=True, highlight=False)


def progress_line(progress: Any) -> str:
    """A tasks.loadgen.plan.Progress in one line."""
    line = (
        f"{progress.elapsed_s:5.1f} s  {progress.finished}/{progress.scheduled} requests, "
        f"{progress.in_flight} in flight, {progress.achieved_rps:.1f} rps, {progress.chunks_per_s:.0f} tokens/s"
    )
    if progress.ttft_p50_ms is not None and progress.ttft_p95_ms is not None:
        line += f", TTFT p50 {progress.ttft_p50_ms:.1f} p95 {progress.ttft_p95_ms:.1f} ms"
    return line + (f", {progress.errors} errors" if progress.errors else "")


def point_line(result: PointResult) -> str:
    """A load point as it ended, in one line; the reasons where it is invalid."""
    summary, load = result.summary, result.point.load
    if load.kind == "closed_loop":
        asked = f"{load.concurrency} users"
    else:
        asked = f"{load.rate_rps or 0:.1f} rps {load.arrivals.kind}"
    rates = f"{_figure(summary.completed_rps)} rps, {_figure(summary.output_tokens_per_s)} tokens/s"
    line = f"{result.point.role.replace('_', ' ')} {asked}: {rates}"
    ttft = summary.latencies.get("ttft_ms")
    if ttft and ttft.p50 is not None and ttft.p95 is not None:
        line += f", TTFT p50 {ttft.p50:.1f} p95 {ttft.p95:.1f} ms (n {ttft.n})"
    return line if summary.valid else f"{line}; invalid: {shortened(summary.invalid_reasons)}"


def shortened(reasons: Sequence[str]) -> str:
    """The first reason up to its advice, and how many more there are; all of them stand in the report."""
    first = reasons[0].partition(":")[0].partition(";")[0] if reasons else "for no reason given"
    return first + (f" (+{len(reasons) - 1} more)" if len(reasons) > 1 else "")


def _figure(value: float | None) -> str:
    return "no" if value is None else f"{value:.1f}"
