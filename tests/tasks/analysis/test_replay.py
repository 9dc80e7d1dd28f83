"""Replays against planted truths: how often the same server is reproduced, and a slower one is not."""

from math import exp, log, sqrt

import numpy as np
import pytest

from experiments.schema.load import ClosedLoop, LoadPoint, OpenLoop, Poisson, Role, StopRule
from experiments.schema.result import Distribution, PointResult, TrialSummary
from tasks.analysis.replay import (
    SPREAD,
    basis_of,
    figures_of,
    judge_replay,
    load_name,
    replayed_points,
    stored_figures,
)
from tasks.analysis.replay_differences import another_system, differences

REQUESTS = 400


def trial(step: int, speed: float, ttft_ms: float, *, role: Role = "open_loop", valid: bool = True, round_: int = 1,
          rate: float = 5.0, half: float | None = 0.02) -> PointResult:  # fmt: skip
    """`half` is the half-width of a percentile's interval, in logs."""
    load = ClosedLoop(concurrency=8) if role == "saturation" else OpenLoop(arrivals=Poisson(), rate_rps=rate)
    bounds = {} if half is None else {"p50": (ttft_ms * exp(-half), ttft_ms * exp(half))}
    summary = TrialSummary(
        method_version="2", requests=REQUESTS, outcomes={"completed": REQUESTS}, valid=valid, window_s=20.0,
        invalid_reasons=() if valid else ("the client was late",), output_tokens_per_s=speed,
        latencies={"ttft_ms": Distribution(n=REQUESTS, p50=ttft_ms, intervals=bounds)},
    )  # fmt: skip
    point = LoadPoint(step=step, role=role, load=load, stop=StopRule(requests=REQUESTS))
    return PointResult(
        point=point, round=round_, launch=round_, summary=summary, directory=f"{step}",
        started_at="2026-11-21T00:00:00+00:00",
    )  # fmt: skip


def cell(speed: float, ttft_ms: float, *, round_: int = 1) -> list[PointResult]:
    points = [trial(step, 0.0, ttft_ms, rate=float(step + 1), round_=round_) for step in range(1, 5)]
    return [trial(0, speed, ttft_ms, role="saturation", round_=round_), *points]


def drawn(rng: np.random.Generator, *, slower: float = 0.0, round_: int = 1, spread: float = 0.02) -> list[PointResult]:
    """A launch of a server of known speed: its luck is common to its figures."""
    luck = spread * rng.normal()
    noise = iter(0.01 * rng.normal(size=5))
    speed = 1000 * exp(luck + next(noise)) / (1 + slower)
    points = [
        trial(step, 0.0, 20 * (1 + slower) * exp(-luck + next(noise)), rate=float(step + 1), round_=round_)
        for step in range(1, 5)
    ]
    return [trial(0, speed, 20.0, role="saturation", round_=round_), *points]


@pytest.mark.parametrize("launches", [1, 3])
def test_the_same_server_is_reproduced_and_a_much_slower_one_is_not(launches: int) -> None:
    rng = np.random.default_rng(11)
    same = slower = 0
    for _ in range(100):
        stored = [point for round_ in range(1, launches + 1) for point in drawn(rng, round_=round_)]
        same += judge_replay(stored, drawn(rng), {}).verdict == "reproduced"
        slower += judge_replay(stored, drawn(rng, slower=0.3), {}).verdict == "not reproduced"
    # 95 % asked: of 100 fewer than 89 with a probability below 1 %
    assert same >= 89
    assert slower >= 95


def test_one_launch_and_one_trial_are_held_to_the_stated_spread() -> None:
    found = judge_replay([trial(0, 1000.0, 20.0, role="saturation")], [trial(0, 990.0, 20.0, role="saturation")], {})
    (figure,) = found.figures
    assert figure.interval is not None
    assert log(figure.interval[1] / 1000) == pytest.approx(1.96 * SPREAD * sqrt(2), rel=1e-3)
    assert found.level == 0.95


def test_eight_canaries_speak_for_the_machine() -> None:
    canaries = {"output_tokens_per_s": [0.005, -0.005] * 4}
    stored, again = [trial(0, 1000.0, 20.0, role="saturation")], [trial(0, 960.0, 20.0, role="saturation")]
    assert judge_replay(stored, again, {}).verdict == "reproduced"
    assert judge_replay(stored, again, canaries).verdict == "not reproduced"
    assert "canaries (output_tokens_per_s)" in basis_of(stored, canaries)


def test_a_figure_within_its_launch_widens_its_interval() -> None:
    def width(half: float) -> float:
        stored = [trial(1, 0.0, 20.0, half=half)]
        (figure,) = judge_replay(stored, stored, {}).figures
        assert figure.interval is not None
        return log(figure.interval[1] / 20)

    # two launches, each with its own luck and its own noise
    assert width(0.2) == pytest.approx(sqrt(2) * sqrt((1.96 * SPREAD) ** 2 + 0.2**2), rel=1e-3)


def test_launches_that_differ_widen_the_interval() -> None:
    alike = [point for k in (1, 2, 3) for point in cell(1000.0, 20.0, round_=k)]
    apart = [point for k, speed in ((1, 700.0), (2, 1000.0), (3, 1400.0)) for point in cell(speed, 20.0, round_=k)]
    again = cell(800.0, 20.0)
    assert judge_replay(alike, again, {}).verdict == "not reproduced"
    assert judge_replay(apart, again, {}).verdict == "reproduced"


def test_rates_that_each_launch_found_for_itself_are_one_load() -> None:
    rounds = [trial(1, 0.0, 20.0, rate=rate, round_=k) for k, rate in ((1, 5.0), (2, 5.2), (3, 4.9), (4, 9.0))]
    (stored,) = stored_figures(rounds)
    assert len(stored.values) == 3


def test_a_trial_that_is_invalid_this_time_is_undecided_and_says_why() -> None:
    stored = [trial(0, 1000.0, 20.0, role="saturation")]
    found = judge_replay(stored, [trial(0, 1000.0, 20.0, role="saturation", valid=False)], {})
    assert found.verdict == "undecided"
    assert found.figures[0].reproduced is None
    assert found.figures[0].reason == "the trial is invalid this time: the client was late"


def test_a_stored_trial_that_was_invalid_is_nothing_to_reproduce() -> None:
    stored = [trial(0, 1000.0, 20.0, role="saturation"), trial(1, 0.0, 20.0, valid=False)]
    assert [one.metric for one in stored_figures(stored)] == ["output_tokens_per_s"]


def test_a_percentile_of_too_few_requests_is_not_judged() -> None:
    stored = [trial(0, 1000.0, 20.0, role="saturation"), trial(1, 0.0, 20.0, half=None)]
    found = judge_replay(stored, [stored[0], trial(1, 0.0, 90.0, half=None)], {})
    assert [one.reproduced for one in found.figures] == [True, None]
    assert "too few" in found.figures[1].reason


def test_past_the_ceiling_only_the_throughput_is_a_figure() -> None:
    assert set(figures_of(trial(1, 900.0, 20.0, role="overloaded"))) == {"output_tokens_per_s"}


def test_the_first_round_is_measured_again_at_its_own_loads() -> None:
    rounds = [*cell(1000.0, 20.0), *cell(1000.0, 20.0, round_=2)]
    points = replayed_points(rounds)
    assert [point.step for point in points] == [0, 1, 2, 3, 4]
    assert load_name(points[0]) == "saturation at concurrency 8"
    assert load_name(points[1]) == "open_loop at 2 rps, poisson"


STORED = {
    "machine": {"cpu": "A", "cpu_cores": 2, "kernel": "Linux 6.1"},
    "gpus": [{"name": "H100", "driver": "570"}],
    "model": {"sha256": "aa"},
    "packages": {"xllamacpp": "1.0", "numpy": "2.0"},
}


def changed(**parts: object) -> dict[str, object]:
    return {**STORED, **parts}


def test_the_same_provenance_has_no_difference() -> None:
    assert differences(STORED, changed(), package="xllamacpp") == ()


@pytest.mark.parametrize(
    ("now", "what", "is_another"),
    [
        (changed(machine={"cpu": "B", "cpu_cores": 2, "kernel": "Linux 6.1"}), "CPU", True),
        (changed(machine={"cpu": "A", "cpu_cores": 2, "kernel": "Linux 6.5"}), "kernel", False),
        (changed(gpus=[{"name": "A100", "driver": "570"}]), "GPU", True),
        (changed(gpus="absent: no driver"), "GPU", True),
        (changed(gpus=[{"name": "H100", "driver": "580"}]), "GPU driver", False),
        (changed(model={"sha256": "bb"}), "weights", True),
        (changed(packages={"xllamacpp": "1.1", "numpy": "2.0"}), "package xllamacpp", True),
        (changed(packages={"xllamacpp": "1.0", "numpy": "2.1"}), "package numpy", False),
    ],
)
def test_what_changed_is_named_and_told_apart(now: dict[str, object], what: str, is_another: bool) -> None:
    found = differences(STORED, now, package="xllamacpp")
    assert found[0].what == what
    assert found[0].is_another_system == is_another
    assert bool(another_system(found)) == is_another


def test_what_is_not_known_yet_is_no_difference() -> None:
    assert differences(STORED, {"machine": STORED["machine"]}, package="xllamacpp") == ()
