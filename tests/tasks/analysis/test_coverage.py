"""How often an interval holds the truth: on independent data within 3 points of what it says, and near the knee of a
queue, where neighbours wait for one another, at least 90 times in 100 for 95."""

import math

import numpy as np
import pytest

from tasks.analysis.intervals import cautious_n_at, quantile_interval
from tests.tasks.analysis.queues import Queue


def covered(series: np.ndarray, quantile: float, true: float) -> bool:
    low, high = quantile_interval(np.sort(series), quantile, cautious_n_at(series, quantile))
    return (low is None or low <= true) and (high is None or true <= high)


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.95])
def test_on_independent_data_an_interval_covers_what_it_says(quantile: float) -> None:
    """800 trials: two standard errors are 1.5 points."""
    random = np.random.default_rng(11)
    true = -math.log(1 - quantile)
    share = np.mean([covered(random.exponential(size=400), quantile, true) for _ in range(800)])
    assert 0.92 <= share <= 0.98


@pytest.mark.parametrize("quantile", [0.5, 0.95])
@pytest.mark.parametrize(
    ("queue", "load"), [(Queue(1, 0.02), 0.85), (Queue(8, 0.1), 0.9)], ids=["M/D/1 at 85 %", "M/D/8 at 90 %"]
)
def test_near_the_knee_an_interval_still_covers(queue: Queue, load: float, quantile: float) -> None:
    """200 trials of 3,000 requests: 90 of 100 is what is promised."""
    random = np.random.default_rng(12)
    rate = load * queue.rate_rps

    def times(requests: int) -> np.ndarray:
        due = np.cumsum(random.exponential(1 / rate, requests * 7 // 6))
        return np.asarray((queue.open_loop(due, random)[1] - due)[-requests:])

    true = float(np.quantile(times(1_000_000), quantile))
    assert np.mean([covered(times(3000), quantile, true) for _ in range(200)]) >= 0.90
