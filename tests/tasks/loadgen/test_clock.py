"""Kernel times, on CLOCK_REALTIME, become times on CLOCK_MONOTONIC; steps are seen."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.loadgen.clock import ClockLog, stamps_to_monotonic

EPOCH_NS = 1_790_000_000_123_456_789


class Clocks:
    """Two clocks that move only when told."""

    def __init__(self) -> None:
        self.monotonic_ns = 5_000_000_000
        self.offset_ns = EPOCH_NS

    def log(self) -> ClockLog:
        return ClockLog(lambda: self.monotonic_ns, lambda: self.monotonic_ns + self.offset_ns)


def stamp(realtime_ns: int) -> bytes:
    return struct.pack("qq", *divmod(realtime_ns, 1_000_000_000))


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_a_constant_offset_is_taken_off_to_the_nanosecond(before_ns: int, after_ns: int) -> None:
    clocks = Clocks()
    log = clocks.log()
    log.sample()
    times, kernel = stamps_to_monotonic(stamp(EPOCH_NS + before_ns) + stamp(EPOCH_NS + before_ns + after_ns), log)
    assert times == [before_ns, before_ns + after_ns]
    assert kernel


def test_the_offset_is_interpolated_between_samples() -> None:
    clocks = Clocks()
    log = clocks.log()
    log.sample()
    clocks.monotonic_ns += 1_000_000_000
    clocks.offset_ns += 40_000
    log.sample()
    half_way = np.array([EPOCH_NS + 5_500_000_000 + 20_000])
    assert log.to_monotonic(half_way).tolist() == pytest.approx([5_500_000_000], abs=2)
    assert log.largest_step_us() == pytest.approx(40)


def test_a_step_back_counts_like_a_step_forward() -> None:
    clocks = Clocks()
    log = clocks.log()
    for step_ns in (0, 1_000, -300_000, 1_000):
        clocks.offset_ns += step_ns
        clocks.monotonic_ns += 1_000_000_000
        log.sample()
    assert log.largest_step_us() == pytest.approx(300)


def test_a_preempted_sample_is_no_step() -> None:
    late = iter([0, 0, 900_000] + [0] * 100)  # between the readings of one bracket

    def realtime() -> int:
        return clocks.monotonic_ns + clocks.offset_ns

    def monotonic() -> int:
        clocks.monotonic_ns += next(late, 0)
        return clocks.monotonic_ns

    clocks = Clocks()
    log = ClockLog(monotonic, realtime)
    log.sample()
    log.sample()
    assert log.largest_step_us() == 0


def test_stamps_of_our_own_are_told_apart() -> None:
    log = Clocks().log()
    log.sample()
    ours = struct.pack("qq", -1, 777)
    assert stamps_to_monotonic(ours, log) == ([777], False)
    assert stamps_to_monotonic(stamp(EPOCH_NS + 700) + ours, log) == ([700, 777], False)
    assert stamps_to_monotonic(b"", log) == ([], False)


def test_times_never_fall() -> None:
    log = Clocks().log()
    log.sample()
    times, _ = stamps_to_monotonic(stamp(EPOCH_NS + 900) + stamp(EPOCH_NS + 800), log)
    assert times == [900, 900]


def test_the_real_clocks_agree_with_each_other() -> None:
    log = ClockLog()
    log.sample()
    log.sample()
    assert log.largest_step_us() < 1e6
