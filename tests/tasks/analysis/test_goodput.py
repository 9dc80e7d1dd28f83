"""What requests show about an SLO."""

import random
from collections.abc import Callable

import pytest

from experiments.schema.result import SLOAttainment
from experiments.schema.slo import parse_slo
from tasks.analysis.columns import Columns, read_columns
from tasks.analysis.goodput import joint_attainment, judge, slo_attainments
from tasks.loadgen.record import Outcome, RequestRecord, records_table

MakeRecord = Callable[..., RequestRecord]


@pytest.fixture
def trial(record: MakeRecord, origin_ns: int) -> Callable[..., Columns]:
    """Requests with the given TTFTs in ms (None: failed) over a window of ten seconds."""

    def make(ttfts: list[float | None]) -> Columns:
        records = [
            record(i, i * 1.0, [i + ttft, i + ttft + 10], end_ms=i + ttft + 10)
            if ttft is not None
            else record(i, i * 1.0, outcome=Outcome.FAILED)
            for i, ttft in enumerate(ttfts)
        ]
        return read_columns(records_table(records), (origin_ns, origin_ns + 10**10))

    return make


def only(columns: Columns, slo: str, overloaded: bool = False) -> SLOAttainment:
    (found,) = slo_attainments(columns, [parse_slo(slo)], overloaded=overloaded)
    return found


def shuffled(low: int, high: int) -> list[float | None]:
    """`low` latencies under 100 ms and `high` over it, mixed so that no neighbour tells of the next."""
    rng = random.Random(4)
    values = [rng.uniform(50, 60) for _ in range(low)] + [rng.uniform(200, 210) for _ in range(high)]
    return rng.sample(values, len(values))


@pytest.mark.parametrize(
    ("percentile", "n", "over", "verdict"),
    [
        (95, 90, 0, "certified"),
        (95, 89, 0, "unknown"),
        (95, 130, 1, "certified"),
        (95, 129, 1, "unknown"),
        (90, 44, 0, "certified"),
        (90, 64, 1, "certified"),
        (99, 459, 0, "certified"),
        (99, 458, 0, "unknown"),
        (95, 100, 30, "refuted"),
        (95, 100, 6, "unknown"),
    ],
)
def test_verdicts_follow_the_counts(percentile: float, n: int, over: int, verdict: str) -> None:
    assert judge(n, over / n, percentile, 0.01) == verdict


def test_a_certified_percentile_has_its_upper_bound_under_the_limit(trial: Callable[..., Columns]) -> None:
    found = only(trial(shuffled(131, 0)), "ttft:p95<100ms")
    assert found.verdict == "certified"
    assert found.upper_ms is not None
    assert found.upper_ms < 100
    assert found.attainment == 1.0
    assert found.goodput_rps == pytest.approx(13.1)
    assert found.reason == ""


def test_a_refuted_percentile_has_its_lower_bound_over_the_limit(trial: Callable[..., Columns]) -> None:
    found = only(trial(shuffled(71, 30)), "ttft:p95<100ms")
    assert found.verdict == "refuted"
    assert found.lower_ms is not None
    assert found.lower_ms >= 100


def test_an_unknown_says_how_many_requests_would_decide(trial: Callable[..., Columns]) -> None:
    found = only(trial(shuffled(61, 0)), "ttft:p95<100ms")
    assert found.verdict == "unknown"
    assert found.upper_ms is None
    assert "needs 90" in found.reason


def test_failures_are_misses_of_infinite_latency(trial: Callable[..., Columns]) -> None:
    found = only(trial([*shuffled(71, 0), *([None] * 30)]), "ttft:p95<100ms")
    assert found.attainment == pytest.approx(71 / 101)
    assert found.percentile_ms is None
    assert found.share_over == pytest.approx(30 / 101)


def test_a_latency_at_the_bound_is_over_it(trial: Callable[..., Columns]) -> None:
    assert only(trial([100.0]), "ttft:p50<100ms").attainment == 0.0
    assert only(trial([99.999]), "ttft:p50<100ms").attainment == 1.0


def test_an_overloaded_point_certifies_nothing_but_may_refute(trial: Callable[..., Columns]) -> None:
    good, bad = trial(shuffled(131, 0)), trial(shuffled(71, 30))
    assert only(good, "ttft:p95<100ms", overloaded=True).verdict == "unknown"
    assert "overloaded" in only(good, "ttft:p95<100ms", overloaded=True).reason
    assert only(bad, "ttft:p95<100ms", overloaded=True).verdict == "refuted"


def test_a_queue_that_grows_certifies_less_than_its_requests(trial: Callable[..., Columns]) -> None:
    """A trend through the trial: a hundred requests that each tell of the next."""
    rising: list[float | None] = [10 + 0.5 * i for i in range(100)]
    found = only(trial(rising), "ttft:p95<100ms")
    assert found.n == 100
    assert found.effective_n < 25
    assert found.verdict == "unknown"


def test_goodput_counts_requests_that_met_every_slo(trial: Callable[..., Columns]) -> None:
    columns = trial([50.0, 150.0, 250.0, None])
    both = [parse_slo("ttft:p50<200ms"), parse_slo("e2e:p50<100ms")]
    found = joint_attainment(columns, both)
    assert found is not None
    assert found == pytest.approx((0.1, 0.25))
    assert joint_attainment(columns, []) is None


def test_itl_is_held_per_token_and_met_per_request(record: MakeRecord, origin_ns: int) -> None:
    """The second request has one slow token of four: its own p50 is fast, its p90 is slow."""
    fast = record(0, 0, [10, 20, 30, 40, 50])
    slow = record(1, 0, [10, 20, 30, 40, 540])
    columns = read_columns(records_table([fast, slow]), (origin_ns, origin_ns + 10**9))
    found = only(columns, "itl:p90<100ms")
    assert found.share_over == pytest.approx(1 / 8)
    assert found.attainment == 0.5
    assert only(columns, "itl:p50<100ms").attainment == 1.0
    assert found.effective_n == 2


def test_itl_without_counts_is_unknown_and_points_to_tpot(record: MakeRecord, origin_ns: int) -> None:
    columns = read_columns(
        records_table([record(0, 0, [10, 20], tokens=[None, None], output_tokens=4)]), (origin_ns, origin_ns + 10**9)
    )
    found = only(columns, "itl:p90<100ms")
    assert found.attainment is None
    assert found.verdict == "unknown"
    assert "tpot" in found.reason
