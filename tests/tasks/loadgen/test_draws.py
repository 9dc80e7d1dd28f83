"""Drawn lengths: in their bounds, with the mean that sums over the density give, the same for any extent."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.schema.length import LogNormal, Normal, Uniform
from tasks.loadgen.draws import OUTPUT_STREAM, PROMPT_STREAM, drawn_lengths

COUNT = 4000
SEEDS = st.integers(0, 2**64)


def density_of_normal(mean: float, std: float, tokens: int) -> float:
    """The mass between tokens ± ½ by Simpson's rule."""
    at = [tokens - 0.5 + step / 8 for step in range(9)]
    values = [math.exp(-(((x - mean) / std) ** 2) / 2) for x in at]
    return (values[0] + values[-1] + 4 * sum(values[1:-1:2]) + 2 * sum(values[2:-1:2])) / 24


def density_of_lognormal(median: float, sigma: float, tokens: int) -> float:
    at = [tokens - 0.5 + step / 8 for step in range(9)]
    values = [math.exp(-((math.log(x / median) / sigma) ** 2) / 2) / x for x in at]
    return (values[0] + values[-1] + 4 * sum(values[1:-1:2]) + 2 * sum(values[2:-1:2])) / 24


def moments(weights: dict[int, float]) -> tuple[float, float]:
    total = sum(weights.values())
    mean = sum(tokens * weight for tokens, weight in weights.items()) / total
    return mean, math.sqrt(sum((tokens - mean) ** 2 * weight for tokens, weight in weights.items()) / total)


def holds(drawn: np.ndarray, weights: dict[int, float]) -> bool:
    """The mean within five standard errors: a chance of one in two million to be wrong."""
    mean, std = moments(weights)
    return abs(float(drawn.mean()) - mean) <= 5 * std / math.sqrt(len(drawn)) + 1e-9


@given(SEEDS, st.integers(1, 5000), st.integers(0, 5000))
@settings(max_examples=40, deadline=None)
def test_uniform_lengths_fill_their_range_evenly(seed: int, least: int, more: int) -> None:
    drawn = drawn_lengths(Uniform(min=least, max=least + more), COUNT, seed, PROMPT_STREAM)
    assert least <= drawn.min()
    assert drawn.max() <= least + more
    std = math.sqrt(((more + 1) ** 2 - 1) / 12)
    assert abs(float(drawn.mean()) - (least + more / 2)) <= 5 * std / math.sqrt(COUNT) + 1e-9


def test_uniform_lengths_reach_both_ends() -> None:
    drawn = drawn_lengths(Uniform(min=3, max=6), COUNT, 1, PROMPT_STREAM)
    counts = np.bincount(drawn)
    assert set(np.flatnonzero(counts)) == {3, 4, 5, 6}
    assert counts[3:].min() > 0.8 * COUNT / 4


@given(SEEDS, st.integers(2, 300), st.floats(0.5, 60), st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_normal_lengths_are_cut_and_not_heaped_at_their_bounds(
    seed: int, mean: int, std: float, below: int, above: int
) -> None:
    spec = Normal(mean=mean, std=std, min=max(1, mean - below), max=mean + above)
    drawn = drawn_lengths(spec, COUNT, seed, PROMPT_STREAM)
    assert spec.min <= drawn.min()
    assert drawn.max() <= mean + above
    weights = {tokens: density_of_normal(mean, std, tokens) for tokens in range(spec.min, mean + above + 1)}
    assert holds(drawn, weights)


@given(SEEDS, st.integers(4, 300), st.floats(0.1, 1.2), st.integers(2, 8))
@settings(max_examples=30, deadline=None)
def test_lognormal_lengths_have_the_mean_of_their_cut_density(seed: int, median: int, sigma: float, times: int) -> None:
    spec = LogNormal(median=median, sigma=sigma, min=max(1, median // times), max=median * times)
    drawn = drawn_lengths(spec, COUNT, seed, OUTPUT_STREAM)
    assert spec.min <= drawn.min()
    assert drawn.max() <= median * times
    weights = {t: density_of_lognormal(median, sigma, t) for t in range(spec.min, median * times + 1)}
    assert holds(drawn, weights)


@pytest.mark.parametrize("spec", [Uniform(min=1, max=99), Normal(mean=50, std=9), LogNormal(median=50, sigma=0.5), 7])
def test_a_longer_draw_keeps_its_beginning_and_a_seed_its_lengths(spec: int | Uniform | Normal | LogNormal) -> None:
    short, long = (drawn_lengths(spec, count, 5, PROMPT_STREAM).tolist() for count in (50, 200))
    assert long[:50] == short


def test_prompts_and_answers_have_streams_of_their_own() -> None:
    spec = Uniform(min=1, max=10_000)
    prompts, answers = (drawn_lengths(spec, 2000, 5, stream) for stream in (PROMPT_STREAM, OUTPUT_STREAM))
    assert abs(float(np.corrcoef(prompts, answers)[0, 1])) < 0.1


def test_a_spread_of_nothing_is_the_mean() -> None:
    assert set(drawn_lengths(Normal(mean=50, std=0), 10, 1, PROMPT_STREAM).tolist()) == {50}


def test_without_a_max_a_distribution_ends_four_deviations_out() -> None:
    drawn = drawn_lengths(Normal(mean=100, std=10), 20_000, 1, PROMPT_STREAM)
    assert drawn.max() <= 140
    assert drawn.min() >= 1
