"""Order statistics and exact bounds, against simulation and against the definition of the binomial."""

import math

import numpy as np
import pytest

from tasks.analysis.intervals import (
    binomial_cdf,
    certification_requests,
    correlation_time,
    effective_n,
    effective_n_at,
    interval_ranks,
    least_over,
    linear_quantile,
    most_over,
    quantile_interval,
    share_interval,
)


def mass(n: int, k: int, p: float) -> float:
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)


@pytest.mark.parametrize(("n", "p"), [(1, 0.5), (17, 0.1), (60, 0.95)])
def test_the_binomial_is_the_sum_of_its_definition(n: int, p: float) -> None:
    cdf = binomial_cdf(n, p)
    for k in range(n + 1):
        assert cdf[k] == pytest.approx(sum(mass(n, i, p) for i in range(k + 1)), abs=1e-12)


@pytest.mark.parametrize(("percentile", "none_over", "one_over"), [(90, 44, 64), (95, 90, 130), (99, 459, 662)])
def test_certification_needs_the_published_counts(percentile: float, none_over: int, one_over: int) -> None:
    assert certification_requests(percentile, 0) == none_over
    assert certification_requests(percentile, 1) == one_over
    assert most_over(none_over, percentile, 0.01) == 0
    assert most_over(none_over - 1, percentile, 0.01) is None
    assert most_over(one_over, percentile, 0.01) == 1


@pytest.mark.parametrize(("quantile", "needed"), [(0.90, 36), (0.95, 72), (0.99, 368)])
def test_two_sides_need_the_published_counts(quantile: float, needed: int) -> None:
    low, high = interval_ranks(needed, quantile)
    assert low is not None
    assert high == needed
    low, high = interval_ranks(needed - 1, quantile)
    assert low is not None
    assert high is None


@pytest.mark.parametrize(("n", "quantile"), [(20, 0.9), (30, 0.9), (60, 0.95)])
def test_one_side_alone_has_all_five_percent(n: int, quantile: float) -> None:
    """The highest rank whose statistic exceeds the quantile with a probability of at most 5 %."""
    low, high = interval_ranks(n, quantile)
    assert high is None
    assert low is not None
    exceeds = [sum(mass(n, i, quantile) for i in range(rank)) for rank in (low, low + 1)]
    assert exceeds[0] <= 0.05 < exceeds[1]


def test_refuting_takes_the_fewest_over_that_chance_would_not_bring() -> None:
    k = least_over(100, 95, 0.01)
    assert k is not None
    chance = [sum(mass(100, i, 0.05) for i in range(least, 101)) for least in (k, k - 1)]
    assert chance[0] <= 0.01 < chance[1]
    assert least_over(1, 95, 0.01) is None
    assert least_over(0, 95, 0.01) is None


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.95])
def test_the_interval_of_a_percentile_covers_it_95_times_in_100(quantile: float) -> None:
    random = np.random.default_rng(5)
    true = -math.log(1 - quantile)
    inside = 0
    for _ in range(2000):
        low, high = quantile_interval(np.sort(random.exponential(size=100)), quantile, 100)
        assert low is not None
        assert high is not None
        inside += low <= true <= high
    # Order statistics are conservative: three standard errors below 95 %, and no more than 99.5 %.
    assert 0.935 <= inside / 2000 <= 0.995


def test_a_percentile_lies_between_its_neighbours() -> None:
    values = [1.0, 2.0, 4.0, 8.0]
    assert linear_quantile(np.array(values), 0.5) == 3.0
    assert linear_quantile(np.array(values), 0.9) == pytest.approx(4.0 + 0.7 * 4.0)


def test_a_percentile_among_failures_is_absent() -> None:
    values = np.array([1.0, 2.0, math.inf, math.inf])
    assert linear_quantile(values, 0.25) == pytest.approx(1.75)
    assert linear_quantile(values, 0.5) is None
    assert linear_quantile(values, 1.0) is None
    assert linear_quantile(np.array([1.0, math.inf, math.inf]), 0.0) == 1.0


@pytest.mark.parametrize(("hits", "n"), [(0, 20), (3, 20), (20, 20), (99, 100)])
def test_the_bounds_of_a_share_leave_its_tails_on_each_side(hits: int, n: int) -> None:
    low, high = share_interval(hits, n)
    at_least = sum(mass(n, i, low) for i in range(hits, n + 1))
    at_most = sum(mass(n, i, high) for i in range(hits + 1))
    assert low == 0.0 if hits == 0 else at_least == pytest.approx(0.025, abs=1e-6)
    assert high == 1.0 if hits == n else at_most == pytest.approx(0.025, abs=1e-6)


def test_independent_samples_mostly_count_in_full() -> None:
    random = np.random.default_rng(1)
    full = [effective_n(random.lognormal(size=200)) == 200 for _ in range(300)]
    assert np.mean(full) > 0.94


def test_a_queue_that_remembers_is_worth_fewer_samples() -> None:
    """AR(1) with ρ = 0.9 has n (1 − ρ)/(1 + ρ) independent samples for its mean: 52.6 of 1,000."""
    random = np.random.default_rng(2)
    found = []
    for _ in range(40):
        series = np.empty(1000)
        series[0] = random.normal()
        for i in range(1, 1000):
            series[i] = 0.9 * series[i - 1] + math.sqrt(1 - 0.81) * random.normal()
        found.append(effective_n(series))
    assert 35 < np.median(found) < 80


def test_dependent_samples_widen_the_interval_to_what_is_true() -> None:
    """With ρ = 0.9 the interval for independent samples covers the p90 about every other time."""
    random = np.random.default_rng(3)
    covered = {"independent": 0, "effective": 0}
    for _ in range(300):
        series = np.empty(1000)
        series[0] = random.normal()
        noise = random.normal(size=1000) * math.sqrt(1 - 0.81)
        for i in range(1, 1000):
            series[i] = 0.9 * series[i - 1] + noise[i]
        ordered = np.sort(series)
        for name, n in (("independent", 1000), ("effective", effective_n_at(series, 0.90))):
            low, high = quantile_interval(ordered, 0.90, n)
            covered[name] += low is not None and low <= 1.2815516 and (high is None or high >= 1.2815516)
    assert covered["independent"] < 0.75 * 300
    assert covered["effective"] > 0.90 * 300


def test_a_series_without_variation_counts_in_full() -> None:
    assert effective_n(np.full(50, 3.0)) == 50


def test_a_common_rise_below_the_quantile_costs_the_quantile_little() -> None:
    """The level wanders slowly, the tail comes at random: the median is uncertain, the p95 is not."""
    random = np.random.default_rng(6)
    wandering = 5 * np.sin(np.arange(400) / 30) + random.normal(size=400)
    series = np.where(random.random(400) < 0.08, 100 + random.random(400), wandering)
    assert effective_n_at(series, 0.95) > 300
    assert effective_n_at(series, 0.50) < 50


def test_slow_requests_that_come_in_a_row_count_as_few() -> None:
    series = np.arange(400.0) % 7 + np.where(np.arange(400) > 370, 100.0, 0.0)
    assert effective_n_at(series, 0.95) < 40


def test_memory_is_the_sum_of_the_autocorrelations_beyond_their_noise() -> None:
    random = np.random.default_rng(8)
    series = np.convolve(random.normal(size=300), np.ones(5), mode="valid")
    centred = [float(x - series.mean()) for x in series]
    power = sum(x * x for x in centred)
    expected = 1.0
    for lag in range(1, 148):
        correlation = sum(a * b for a, b in zip(centred[lag:], centred, strict=False)) / power
        if correlation < 1.96 / math.sqrt(len(centred)):
            break
        expected += 2 * correlation
    assert correlation_time(series) == pytest.approx(expected)
    assert expected > 3
