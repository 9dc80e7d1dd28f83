"""Warm is what two windows agree on."""

from collections.abc import Callable

import numpy as np
import pytest

from tasks.analysis.warm import is_steady, tokens_per_window
from tasks.loadgen.record import RequestRecord, records_table


@pytest.mark.parametrize("windows", [[], [100], [0, 0], [3, 3], [16, 33], [100, 10, 60], [1000, 1200], [8, 10, 15, 25]])
def test_windows_that_differ_or_say_little_are_not_steady(windows: list[int]) -> None:
    assert not is_steady(windows)


@pytest.mark.parametrize(
    "windows", [[16, 16], [100, 110], [10, 900, 930], [100_000, 104_000], [104_000, 100_000], [9, 8, 7, 10]]
)
def test_windows_that_agree_are_steady(windows: list[int]) -> None:
    assert is_steady(windows)


def test_noise_of_one_rate_is_mostly_steady() -> None:
    random = np.random.default_rng(3)
    found = [is_steady(list(random.poisson(60, size=2))) for _ in range(500)]
    assert np.mean(found) > 0.93


def test_an_engine_that_is_still_speeding_up_by_half_is_not_steady() -> None:
    random = np.random.default_rng(4)
    found = [is_steady([random.poisson(200), random.poisson(300)]) for _ in range(500)]
    assert np.mean(found) < 0.05


def test_tokens_are_counted_in_the_second_that_they_arrive_in(
    record: Callable[..., RequestRecord], origin_ns: int
) -> None:
    """One request of unknown counts: six tokens over three chunks, two a chunk; another counts for itself."""
    records = [
        record(0, 0, [500.0, 900.0, 1100.0], tokens=[None, None, None], output_tokens=6),
        record(1, 0, [1500.0, 2500.0, 3500.0], tokens=[1, 3, 5], output_tokens=9),
        record(2, 0, [1600.0], tokens=[None], output_tokens=None),
    ]
    window = (origin_ns, origin_ns + 3 * 10**9)
    assert tokens_per_window(records_table(records), window) == [4, 2 + 1 + 1, 3]
    assert tokens_per_window(records_table(records), window, seconds=10) == [11]
