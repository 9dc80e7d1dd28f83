"""A whole load point with its telemetry: a real trial against the fake engine; the GPU is a stand-in."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine_adapters.base import RequestDialect
from experiments.schema.load import ClosedLoop, LoadPoint, StopRule
from experiments.schema.result import PointResult
from experiments.schema.workload import Workload
from tasks.load_point import measure_point
from tasks.loadgen.plan import Endpoint, TrialPlan
from tasks.loadgen.preflight import run_preflight
from tasks.telemetry.record import read_telemetry
from tests.fake_engine import FakeEngine

GpuLines = Callable[..., None]
SOUND = (90, 60 << 30, 500_000, 60, 1980, 2619, 0, 1)
HOT = (90, 60 << 30, 300_000, 91, 900, 2619, 0x40, 1)


def measure(engine: FakeEngine, folder: Path, **plan: Any) -> PointResult:
    load, stop = ClosedLoop(concurrency=2), StopRule(seconds=2)
    trial = TrialPlan(
        endpoint=Endpoint(engine.url, "fake:steady"),
        dialect=RequestDialect(),
        workload=Workload(name="w", prompt_tokens=40, output_tokens=4),
        load=load,
        stop=stop,
        processes=1,
        metric_names={"prompt_tokens": "fake:prompt_tokens_total", "cached_prompt_tokens": "fake:cached_total"},
        **plan,
    )
    point = LoadPoint(step=0, role="saturation", load=load, stop=stop)
    return measure_point(point, trial, run_preflight(trial), folder, ())


def of_telemetry(point: PointResult) -> list[str]:
    return [reason for reason in point.summary.invalid_reasons if reason.startswith(("GPU", "the engine"))]


def test_a_trial_without_a_gpu_says_so_and_keeps_its_engines_metrics(engine: FakeEngine, tmp_path: Path) -> None:
    point = measure(engine, tmp_path)
    assert point.summary.reasons["energy_j"] == "no GPU: this launch takes none"
    assert of_telemetry(point) == []
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["engine_metrics.parquet", "requests.parquet", "trial.json"]


def test_energy_and_samples_cover_the_window_of_a_real_trial(
    engine: FakeEngine, stand_in_gpus: GpuLines, tmp_path: Path
) -> None:
    stand_in_gpus(SOUND)
    point = measure(engine, tmp_path, gpus=("0",))
    gpu, window = read_telemetry(tmp_path).gpu, point.window_ns
    assert gpu is not None
    at_ns = gpu["at_ns"].to_pylist()
    assert at_ns[0] <= window[0] < window[1] <= at_ns[-1]
    taken_j = 500 * (window[1] - window[0]) / 1e9
    assert point.summary.energy_j is not None
    assert abs(point.summary.energy_j - taken_j) < 0.01 * taken_j
    assert of_telemetry(point) == []


def test_a_gpu_that_throttles_while_it_is_measured_makes_the_trial_invalid(
    engine: FakeEngine, stand_in_gpus: GpuLines, tmp_path: Path
) -> None:
    stand_in_gpus(SOUND)
    overheats = threading.Timer(1.5, stand_in_gpus, [HOT])
    overheats.start()
    point = measure(engine, tmp_path, gpus=("0",))
    overheats.join()
    (reason,) = of_telemetry(point)
    assert "GPU 0 throttled in" in reason
    assert "hardware thermal slowdown" in reason
    assert point.summary.gpu["max_temperature_c"] == 91


def test_an_engine_that_starts_anew_while_it_is_measured_makes_the_trial_invalid(
    engine: FakeEngine, tmp_path: Path
) -> None:
    """From a second into it on the engine remembers nothing for longer than 20 ms."""
    done = threading.Event()

    def forget() -> None:
        done.wait(1.5)
        while not done.wait(0.02):
            engine.seen.clear()

    forgetful = threading.Thread(target=forget)
    forgetful.start()
    point = measure(engine, tmp_path)
    done.set()
    forgetful.join()
    (reason,) = of_telemetry(point)
    assert "started anew" in reason
    assert "its counter prompt_tokens fell from" in reason
