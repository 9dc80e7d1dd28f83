"""Release comparison: each piece against another implementation, the whole against planted truths."""

from collections.abc import Iterator

import numpy as np
import pytest
from scipy import stats

from tasks.analysis.comparison import (
    LOOKS,
    Judgement,
    Look,
    Series,
    broken_canary,
    compare,
    compare_over_looks,
    decided,
    false_discovery_rates,
    inverse_trigamma,
    practical_margin,
    variance_prior,
)

LAST = LOOKS[-1]


def series(baseline: list[float], candidate: list[float], *, higher: bool = True, at: str = "0.6") -> Series:
    return Series("cell", at, "output_tokens_per_s", "variant", higher, tuple(baseline), tuple(candidate))


def judged(one: Series, *, margin: float = 0.03, look: Look = LAST) -> Judgement:
    return compare([one], {one.metric: margin}, look)[0]


def test_a_single_series_is_students_t_on_logs() -> None:
    old, new = [100.0, 101.5, 99.2, 100.4], [96.0, 97.1, 95.5, 96.6]
    expected = stats.ttest_ind(np.log(new), np.log(old))
    low, high = expected.confidence_interval(0.95)
    found = judged(series(old, new))
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval == pytest.approx((np.expm1(low), np.expm1(high)))


def test_discovery_rates_are_those_of_scipy() -> None:
    p = np.random.default_rng(1).uniform(size=40) ** 2
    assert false_discovery_rates(p) == pytest.approx(stats.false_discovery_control(p))


@pytest.mark.parametrize("x", [0.05, 0.7, 3.0, 40.0, 2000.0])
def test_trigamma_is_inverted(x: float) -> None:
    terms = np.arange(2_000_000) + x
    trigamma = float(np.sum(1 / terms**2)) + 1 / (terms[-1] + 0.5)  # its series, the rest as an integral
    assert inverse_trigamma(trigamma) == pytest.approx(x, rel=1e-6)


def test_a_prior_that_made_the_variances_is_found_again() -> None:
    rng = np.random.default_rng(2)
    true_degrees, true_variance, degrees = 8.0, 0.0004, 6.0
    variances = true_variance * true_degrees / rng.chisquare(true_degrees, 4000)
    seen = variances * rng.chisquare(degrees, 4000) / degrees
    prior = variance_prior(seen, np.full(4000, degrees))
    assert prior.degrees == pytest.approx(true_degrees, rel=0.15)
    assert prior.variance == pytest.approx(true_variance, rel=0.05)


def test_equal_variances_are_pooled_whole() -> None:
    prior = variance_prior(np.full(10, 0.0002), np.full(10, 6.0))
    assert np.isinf(prior.degrees)


def test_which_way_is_worse_depends_on_the_figure() -> None:
    slower = [95.0, 95.2, 94.9, 95.1]
    assert judged(series([100.0, 100.2, 99.9, 100.1], slower)).verdict == "regressed"
    assert judged(series([100.0, 100.2, 99.9, 100.1], slower, higher=False)).verdict == "improved"


def test_a_real_change_below_the_margin_is_no_regression() -> None:
    found = judged(series([100.0, 100.02, 99.98, 100.01], [98.5, 98.52, 98.48, 98.51]))
    assert found.verdict == "equivalent"
    assert found.q is not None
    assert found.q < 0.001


def test_a_wide_interval_is_undecided_and_says_why() -> None:
    found = judged(series([100.0, 110.0, 90.0, 104.0], [97.0, 108.0, 93.0, 101.0]))
    assert found.verdict == "undecided"
    assert "margin" in found.reason


def test_a_side_with_one_figure_is_undecided_and_names_the_side() -> None:
    found = judged(series([100.0, 101.0], [99.0]))
    assert (found.verdict, found.change) == ("undecided", None)
    assert "candidate has 1 launch " in found.reason


def test_what_never_varies_is_equal() -> None:
    assert judged(series([5.0, 5.0, 5.0], [5.0, 5.0, 5.0])).verdict == "equivalent"


def test_what_was_decided_stays_decided() -> None:
    first = series([100.0, 100.2, 99.9, 100.1], [95.0, 95.2, 94.9, 95.1])
    known = decided(compare([first], {first.metric: 0.03}, LOOKS[0]))
    later = series([100.0] * 6, [100.0] * 6)
    (kept,) = compare_over_looks([later], {first.metric: 0.03}, known, LOOKS[1])
    assert (kept.verdict, kept.launches) == ("regressed", 4)


def test_the_margin_follows_the_canaries_once_there_are_eight() -> None:
    canaries = [[0.05, -0.04], [-0.05], [0.04], [-0.04], [0.05], [-0.05], [0.04], [-0.04]]
    spread = np.std([0.05, -0.05, 0.04, -0.04], ddof=0)  # about zero, the truth of A against A
    pooled = [ratio for one in canaries for ratio in one]
    assert practical_margin(canaries[:7], own=0.04) == 0.04
    assert practical_margin(canaries, own=0.04) == pytest.approx(np.exp(2 * np.linalg.norm(pooled) / 3) - 1)
    assert practical_margin(canaries, own=0.04) == pytest.approx(2 * spread, rel=0.1)
    assert practical_margin([[0.001], [-0.001]] * 4, own=0.04) == 0.03


def release(rng: np.random.Generator, *, changes: dict[int, float], noise: float = 0.015) -> list[Series]:
    """24 figures of four variants; half of a figure's noise is its launch's, shared by the variant's figures."""
    found = []
    for figure in range(24):
        if figure % 6 == 0:
            shared = rng.normal(size=(2, 8))
        own = noise * np.exp(0.3 * rng.normal())
        logs = own * (np.sqrt(0.5) * shared + np.sqrt(0.5) * rng.normal(size=(2, 8)))
        logs[1] += np.log1p(changes.get(figure, 0.0))
        sides = (tuple(np.exp(side)) for side in logs)
        found.append(Series("cell", str(figure), f"m{figure % 3}", f"v{figure // 6}", True, *sides))
    return found


def escalated(all_launches: list[Series], margin: float) -> Iterator[Judgement]:
    """As the flow does it: more launches only where something is undecided."""
    margins = {one.metric: margin for one in all_launches}
    known: dict[tuple[str, str, str], Judgement] = {}
    for look in LOOKS:
        seen = [_first(one, look.launches) for one in all_launches]
        judgements = compare_over_looks(seen, margins, known, look)
        known = decided(judgements)
    yield from judgements


def _first(one: Series, launches: int) -> Series:
    sides = one.baseline[:launches], one.candidate[:launches]
    return Series(one.cell, one.at, one.metric, one.group, one.higher_is_better, *sides)


def test_a_release_against_itself_seldom_cries_wolf() -> None:
    rng = np.random.default_rng(3)
    alarms = sum(bool(broken_canary(tuple(escalated(release(rng, changes={}), 0.03)))) for _ in range(200))
    # q = 5 % over the looks: of 200 releases without a change more than 19 alarm with a probability below 0.2 %
    assert alarms <= 19


def test_planted_regressions_are_found_at_the_rate_designed() -> None:
    rng = np.random.default_rng(4)
    planted = dict.fromkeys(range(6), -0.05)
    found, false_shares = 0, []
    for _ in range(100):
        called = [one for one in escalated(release(rng, changes=planted), 0.03) if one.verdict == "regressed"]
        true = sum(int(one.series.at) in planted for one in called)
        found += true
        false_shares.append((len(called) - true) / max(1, len(called)))
    assert found / (100 * len(planted)) > 0.82
    assert np.mean(false_shares) < 0.05
