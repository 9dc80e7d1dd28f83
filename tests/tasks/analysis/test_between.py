"""Over several launches: t intervals, and what may be said of the variant."""

import numpy as np
import pytest

from experiments.schema.result import Capacity
from tasks.analysis.between import between, capacity_between, t_quantile


@pytest.mark.parametrize(
    ("freedom", "two_sided_95", "one_sided_99"),
    [(1, 12.706, 31.821), (2, 4.303, 6.965), (4, 2.776, 3.747), (30, 2.042, 2.457)],
)
def test_the_quantiles_are_those_of_the_tables(freedom: int, two_sided_95: float, one_sided_99: float) -> None:
    assert t_quantile(0.975, freedom) == pytest.approx(two_sided_95, abs=5e-4)
    assert t_quantile(0.99, freedom) == pytest.approx(one_sided_99, abs=5e-4)


def test_the_mean_of_launches_is_covered_95_times_in_100() -> None:
    random = np.random.default_rng(4)
    found = [between(list(random.normal(10, 2, 3))) for _ in range(1500)]
    inside = [one.low is not None and one.high is not None and one.low <= 10 <= one.high for one in found]
    assert 0.935 <= np.mean(inside) <= 0.965


def test_one_launch_has_a_mean_and_no_interval() -> None:
    alone = between([7.0])
    assert (alone.launches, alone.mean, alone.low, alone.high) == (1, 7.0, None, None)


def launch(certified: float | None, refuted: float | None) -> Capacity:
    verdict = "certified" if certified is not None else "refuted" if refuted is not None else "unknown"
    return Capacity(
        slo="ttft:p95<300ms", name="n", verdict=verdict, certified_rps=certified, refuted_rps=refuted, reason="one"
    )  # fmt: skip


def test_three_launches_make_a_claim_about_the_variant_on_the_safe_side() -> None:
    """Mean 10, standard deviation 1: the half width is 4.303/√3."""
    found = capacity_between([launch(9, 12), launch(10, 13), launch(11, 14)])
    assert found.verdict == "certified"
    assert found.certified_rps == pytest.approx(10 - 4.3027 / 3**0.5, abs=1e-3)
    assert found.refuted_rps == pytest.approx(13 + 4.3027 / 3**0.5, abs=1e-3)
    assert found.reason.startswith("of the variant: mean of 3 launches")


def test_two_launches_make_none() -> None:
    found = capacity_between([launch(9, 12), launch(10, 13)])
    assert (found.certified_rps, found.refuted_rps) == (9, 13)
    assert "needs three or more" in found.reason


def test_one_launch_that_certified_nothing_leaves_the_variant_uncertified() -> None:
    found = capacity_between([launch(9, 12), launch(10, 13), launch(None, 13)])
    assert found.verdict == "refuted"
    assert found.certified_rps is None
    undecided = capacity_between([launch(9, None), launch(None, None), launch(9, 12)])
    assert (undecided.verdict, undecided.certified_rps, undecided.refuted_rps) == ("unknown", None, None)


def test_launches_that_differ_without_measure_certify_nothing() -> None:
    assert capacity_between([launch(1, 30), launch(10, 30), launch(20, 30)]).certified_rps is None
