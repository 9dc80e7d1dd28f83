"""Warm is what two windows agree on."""

import numpy as np
import pytest

from tasks.analysis.warm import is_steady


@pytest.mark.parametrize("windows", [[], [100], [0, 0], [3, 3], [16, 33], [100, 10, 60], [1000, 1200]])
def test_windows_that_differ_or_say_little_are_not_steady(windows: list[int]) -> None:
    assert not is_steady(windows)


@pytest.mark.parametrize("windows", [[16, 16], [100, 110], [10, 900, 930], [100_000, 104_000], [104_000, 100_000]])
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
