"""The live view's numbers: beats of all processes, summed over the last seconds."""

from collections import deque

import numpy as np

from tasks.loadgen.assignment import Beat
from tasks.loadgen.plan import Progress

_BEATS_SEEN = 4
_BEAT_S = 0.5


class ProgressMeter:
    """`scheduled` None: nobody knows how many there will be; then what was sent so far stands in its place."""

    def __init__(self, start_ns: int, scheduled: int | None) -> None:
        self._start_ns = start_ns
        self._scheduled = scheduled
        self._last: dict[int, deque[Beat]] = {}
        self._sent = 0
        self._finished = 0
        self._errors = 0

    def add(self, process: int, beat: Beat) -> None:
        self._last.setdefault(process, deque(maxlen=_BEATS_SEEN)).append(beat)
        self._sent += beat.sent
        self._finished += beat.finished
        self._errors += beat.errors

    def progress(self, now_ns: int) -> Progress:
        """Rates and percentiles over the last two seconds, or since the start."""
        recent = [beat for beats in self._last.values() for beat in beats]
        seconds = max((len(beats) for beats in self._last.values()), default=0) * _BEAT_S or 1.0
        ttfts = [ttft for beat in recent for ttft in beat.ttft_ms]
        p50, p95 = np.percentile(ttfts, [50, 95]) if ttfts else (None, None)
        return Progress(
            elapsed_s=(now_ns - self._start_ns) / 1e9,
            scheduled=self._sent if self._scheduled is None else self._scheduled,
            finished=self._finished,
            errors=self._errors,
            in_flight=sum(beats[-1].in_flight for beats in self._last.values()),
            achieved_rps=sum(beat.sent for beat in recent) / seconds,
            chunks_per_s=sum(beat.chunks for beat in recent) / seconds,
            ttft_p50_ms=None if p50 is None else float(p50),
            ttft_p95_ms=None if p95 is None else float(p95),
        )
