"""Two clocks as one: the kernel stamps arrivals on CLOCK_REALTIME, records are told on CLOCK_MONOTONIC."""

import time
from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_STEP_US = 50.0
"""A step of CLOCK_REALTIME above this makes the trial's stamps worthless."""

_TRIES = 7

Clock = Callable[[], int]


def _realtime_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_REALTIME)


class ClockLog:
    """Samples of the offset CLOCK_REALTIME − CLOCK_MONOTONIC; both are slewed alike, so it moves only by steps."""

    def __init__(self, monotonic: Clock = time.monotonic_ns, realtime: Clock = _realtime_ns) -> None:
        self._monotonic = monotonic
        self._realtime = realtime
        self._realtime_at = array("q")
        self._offsets = array("q")

    def sample(self) -> None:
        """Keeps the tightest of a few brackets: a preemption in between would look like a step."""
        _, at, offset = min(self._bracket() for _ in range(_TRIES))
        self._realtime_at.append(at)
        self._offsets.append(offset)

    def _bracket(self) -> tuple[int, int, int]:
        before = self._monotonic()
        real = self._realtime()
        after = self._monotonic()
        return after - before, real, real - (before + after) // 2

    @property
    def latest_offset_ns(self) -> int:
        """CLOCK_REALTIME − CLOCK_MONOTONIC as last sampled."""
        return self._offsets[-1]

    def to_monotonic(self, realtime_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """The same instants on CLOCK_MONOTONIC, with the offset interpolated between samples."""
        at, offsets = np.asarray(self._realtime_at), np.asarray(self._offsets)
        # Relative to the first sample: float64 cannot hold today's nanoseconds.
        drift = np.interp(realtime_ns - at[0], at - at[0], offsets - offsets[0])
        monotonic: NDArray[np.int64] = realtime_ns - offsets[0] - drift.astype(np.int64)
        return monotonic

    def largest_step_us(self) -> float:
        """The largest change between two neighbouring samples."""
        if len(self._offsets) < 2:
            return 0.0
        return float(np.abs(np.diff(np.asarray(self._offsets))).max()) / 1e3


def stamps_to_monotonic(stamps: bytes | bytearray, clock: ClockLog) -> tuple[list[int], bool]:
    """Decodes stamps of 16 bytes each: the kernel's (s, ns) on CLOCK_REALTIME, or (−1, ns on CLOCK_MONOTONIC).

    Returns the times on CLOCK_MONOTONIC in ns, never falling, and whether all of them are the kernel's."""
    if not stamps:
        return [], False
    pairs: NDArray[Any] = np.frombuffer(stamps, dtype=np.int64).reshape(-1, 2)
    ours = pairs[:, 0] < 0
    times = clock.to_monotonic(pairs[:, 0] * 1_000_000_000 + pairs[:, 1])
    times = np.where(ours, pairs[:, 1], times)
    return np.maximum.accumulate(times).tolist(), not bool(ours.any())
