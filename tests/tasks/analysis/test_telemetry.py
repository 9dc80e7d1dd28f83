"""Energy, throttling and the engine's own account: from tables built by hand, and once from the stand-ins' own."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from experiments.schema.load import Constant, OpenLoop
from experiments.schema.result import TrialSummary
from experiments.schema.workload import Workload
from tasks.analysis.trial import summarize_trial
from tasks.loadgen.record import RequestRecord, records_table
from tasks.telemetry.record import Telemetry, engine_table, gpu_table

Steady = Callable[..., list[RequestRecord]]
WINDOW_S = 10.0
TOKENS = 800
"""steady(): 100 requests of 8 tokens; all of their chunks arrive within 10 s."""


@pytest.fixture
def summarize(steady_records: Steady, origin_ns: int) -> Callable[..., TrialSummary]:
    def summary(**telemetry: Any) -> TrialSummary:
        return summarize_trial(
            records_table(steady_records()),
            window=(origin_ns, origin_ns + round(WINDOW_S * 1e9)),
            load=OpenLoop(arrivals=Constant(), rate_rps=10),
            workload=Workload(name="w", prompt_tokens=100, output_tokens=8),
            slos=(),
            client={"cpu_share": 0.3, "loop_delay_p99_ms": 0.2, "stamp": "kernel"},
            method_version="1",
            telemetry=Telemetry(**telemetry) if telemetry else None,
        )

    return summary


@pytest.fixture
def gpu(origin_ns: int) -> Callable[..., list[list[Any]]]:
    def rows(
        power_w: Callable[[float], float | None],
        *,
        index: int = 0,
        counted_j: Callable[[float], float] | None = None,
        throttle: Callable[[float], int] = lambda _: 0,
        times_s: Sequence[float] = [tenth / 10 - 1 for tenth in range(121)],
    ) -> list[list[Any]]:
        return [
            [origin_ns + round(s * 1e9), index, 90.0, 3 << 30, power_w(s), 60.0, 1700, 2619, throttle(s),
             counted_j(s) if counted_j else None]
            for s in times_s
        ]  # fmt: skip

    return rows


Gpu = Callable[..., list[list[Any]]]
Summarize = Callable[..., TrialSummary]


def test_the_counter_of_energy_is_read_at_both_ends_of_the_window(summarize: Summarize, gpu: Gpu) -> None:
    """It counts 500 W from long ago; what is sampled as power is another figure, and does not count."""
    table = gpu_table(gpu(lambda _: 123.0, counted_j=lambda s: 7e6 + 500 * s))
    summary = summarize(gpu=table)
    assert summary.energy_j == pytest.approx(500 * WINDOW_S)
    assert summary.joules_per_output_token == pytest.approx(500 * WINDOW_S / TOKENS)
    assert summary.gpu["mean_power_w"] == pytest.approx(500)
    assert "energy_j" not in summary.reasons


def test_without_a_counter_power_is_integrated(summarize: Summarize, gpu: Gpu) -> None:
    """A ramp from 100 W at the window's start to 300 W at its end: 200 W in the mean."""
    assert summarize(gpu=gpu_table(gpu(lambda s: 100 + 20 * s))).energy_j == pytest.approx(2000)


def test_samples_between_the_beats_are_interpolated(summarize: Summarize, gpu: Gpu) -> None:
    times = [tenth / 10 - 0.97 for tenth in range(121)]
    table = gpu_table(gpu(lambda _: 0.0, counted_j=lambda s: 500 * s, times_s=times))
    assert summarize(gpu=table).energy_j == pytest.approx(5000)


def test_the_gpus_of_a_launch_are_summed(summarize: Summarize, gpu: Gpu) -> None:
    one, other = gpu(lambda _: 400.0), gpu(lambda _: 1.0, index=3, counted_j=lambda s: 9000 + 250 * s)
    shuffled = [row for pair in zip(one, other, strict=True) for row in reversed(pair)]
    assert summarize(gpu=gpu_table(shuffled)).energy_j == pytest.approx(6500)


def test_a_counter_that_started_anew_is_not_believed(summarize: Summarize, gpu: Gpu) -> None:
    table = gpu_table(gpu(lambda _: 300.0, counted_j=lambda s: 9e5 + 300 * s if s < 5 else 300 * s))
    assert summarize(gpu=table).energy_j == pytest.approx(3000)


@pytest.mark.parametrize(
    ("times_s", "said"),
    [
        ([0.5 + tenth / 10 for tenth in range(121)], "0.5 s of it"),
        ([tenth / 10 - 1 for tenth in range(100)], "1.1 s of it"),
        ([tenth / 10 - 1 for tenth in range(121) if not 40 < tenth < 70], "3 s of it"),
    ],
)
def test_samples_that_do_not_cover_the_window_give_no_energy(
    summarize: Summarize, gpu: Gpu, times_s: list[float], said: str
) -> None:
    summary = summarize(gpu=gpu_table(gpu(lambda _: 300.0, times_s=times_s)))
    assert (summary.energy_j, summary.joules_per_output_token, summary.gpu) == (None, None, {})
    assert said in summary.reasons["energy_j"]
    assert said in summary.reasons["joules_per_output_token"]


def test_without_a_gpu_energy_is_absent_and_says_so(summarize: Summarize) -> None:
    summary = summarize(gpu_reason="no GPU: this launch takes none")
    assert summary.energy_j is None
    assert summary.reasons["energy_j"] == "no GPU: this launch takes none"
    assert summarize().reasons["energy_j"] == "no telemetry was taken beside this trial"
    assert summarize().valid


def test_a_gpu_that_tells_no_power_has_no_energy_and_keeps_the_rest(summarize: Summarize, gpu: Gpu) -> None:
    summary = summarize(gpu=gpu_table(gpu(lambda _: None)))
    assert summary.reasons["energy_j"] == "GPU 0 tells neither its energy nor its power"
    assert summary.gpu["max_memory_used_gib"] == 3.0


THERMAL, POWER_CAP, IDLE, BRAKE = 0x20, 0x4, 0x1, 0x80


def test_a_gpu_that_throttled_in_the_window_makes_the_trial_invalid(summarize: Summarize, gpu: Gpu) -> None:
    hot = gpu(lambda _: 300.0, index=1, throttle=lambda s: THERMAL | POWER_CAP if 4 <= s < 6 else 0)
    summary = summarize(gpu=gpu_table(gpu(lambda _: 300.0) + hot))
    (reason,) = summary.invalid_reasons
    assert "GPU 1 throttled in 19.8% of the window (software thermal slowdown)" in reason
    assert not summary.valid


def test_throttling_outside_the_window_or_for_one_sample_in_a_hundred_is_borne(summarize: Summarize, gpu: Gpu) -> None:
    before = gpu_table(gpu(lambda _: 300.0, throttle=lambda s: BRAKE if s < 0 or s > WINDOW_S else 0))
    once = gpu_table(gpu(lambda _: 300.0, throttle=lambda s: BRAKE if abs(s - 5) < 0.01 else 0))
    twice = gpu_table(gpu(lambda _: 300.0, throttle=lambda s: BRAKE if abs(s - 5) < 0.11 else 0))
    assert summarize(gpu=before).valid
    assert summarize(gpu=once).valid
    assert "hardware power brake" in summarize(gpu=twice).invalid_reasons[0]


def test_a_power_limit_is_told_and_not_held_against_the_trial(summarize: Summarize, gpu: Gpu) -> None:
    summary = summarize(gpu=gpu_table(gpu(lambda _: 300.0, throttle=lambda s: POWER_CAP if s < 2.45 else IDLE)))
    assert summary.valid
    assert summary.gpu["power_capped_share"] == pytest.approx(25 / 101)


@pytest.fixture
def engine(origin_ns: int) -> Callable[[dict[float, dict[str, float]]], Any]:
    return lambda samples: engine_table([(origin_ns + round(s * 1e9), values) for s, values in samples.items()])


def test_the_engines_figures_are_those_of_the_window(summarize: Summarize, engine: Callable[..., Any]) -> None:
    samples = {
        -3.0: {"requests_running": 99.0, "requests_waiting": 99.0, "kv_cache_usage": 0.99, "preemptions": 5.0},
        -0.5: {"requests_running": 99.0, "requests_waiting": 99.0, "kv_cache_usage": 0.99, "preemptions": 7.0},
        2.0: {"requests_running": 4.0, "requests_waiting": 9.0, "kv_cache_usage": 0.5, "preemptions": 7.0},
        8.0: {"requests_running": 7.0, "requests_waiting": 0.0, "kv_cache_usage": 0.25, "preemptions": 10.0},
        10.5: {"requests_running": 99.0, "requests_waiting": 99.0, "kv_cache_usage": 0.99, "preemptions": 12.0},
        12.0: {"preemptions": 50.0},
    }
    assert summarize(engine=engine(samples)).engine == {
        "mean_running_requests": 5.5, "max_waiting_requests": 9.0, "max_kv_cache_usage_ratio": 0.5, "preemptions": 5.0,
    }  # fmt: skip


def test_a_counter_that_falls_is_an_engine_that_started_anew(summarize: Summarize, engine: Callable[..., Any]) -> None:
    rising = {float(s): {"output_tokens": 100.0 * s, "requests_running": float(9 - s)} for s in range(8)}
    assert summarize(engine=engine(rising)).valid
    (reason,) = summarize(engine=engine(rising | {8.0: {"output_tokens": 3.0}})).invalid_reasons
    assert "started anew 8.0 s after the window's start: its counter output_tokens fell from 700 to 3" in reason


def test_metrics_that_were_never_read_in_the_window_have_a_reason(
    summarize: Summarize, engine: Callable[..., Any]
) -> None:
    summary = summarize(engine=engine({-1.0: {"requests_running": 3.0}, 11.0: {"requests_running": 3.0}}))
    assert summary.engine == {}
    assert "never read within the window" in summary.reasons["engine"]
    assert summarize(engine_reason="/metrics answered 404").reasons["engine"] == "/metrics answered 404"
