"""What of a launch enters a comparison."""

from experiments.schema.comparison import LaunchResult
from experiments.schema.load import CapacitySearch, ClosedLoop, LoadPlan, LoadPoint, OpenLoop, Poisson, StopRule
from experiments.schema.model import Model, SyntheticSource
from experiments.schema.result import Distribution, PointResult, SLOAttainment, TrialSummary
from experiments.schema.slo import parse_slo
from experiments.schema.variant import Quantization, Variant
from tasks.analysis.launch_figures import Figure, Searched, launch_figures, series_of

VARIANT = Variant(
    engine="llama_cpp",
    engine_version="1",
    model=Model(name="m", source=SyntheticSource(kind="synthetic")),
    quantization=Quantization.F16,
)
LOADS = {"w": {1: "saturation", 2: "0.6"}}


def point(step: int, *, valid: bool = True, speed: float = 200.0, p50: float | None = 12.0) -> PointResult:
    at_rate = OpenLoop(arrivals=Poisson(), rate_rps=3.0)
    load = LoadPoint(
        step=step,
        role="saturation" if step == 1 else "open_loop",
        load=ClosedLoop(concurrency=4) if step == 1 else at_rate,
        stop=StopRule(requests=50),
    )
    ttft = Distribution(n=50, p50=p50, p95=None, reasons={"p95": "too few"})
    summary = TrialSummary(
        method_version="1",
        requests=50,
        outcomes={"completed": 50},
        valid=valid,
        window_s=10.0,
        output_tokens_per_s=speed,
        latencies={"ttft_ms": ttft},
    )
    return PointResult(point=load, summary=summary, directory=f"0{step}", started_at="2026-11-21T00:00:00+00:00")


def launch(number: int, arm: str, *points: PointResult) -> LaunchResult:
    return LaunchResult(
        number=number,
        round=number,
        arm=arm,
        system="llama_cpp m f16",
        variant=VARIANT,
        points={"w": points},
        start_s={"ready": 1.5},
    )


def test_a_launch_shows_its_start_its_ceiling_and_its_latencies() -> None:
    assert launch_figures(launch(1, "baseline", point(1), point(2)), LOADS) == {
        Figure("", "start", "ready_s"): 1.5,
        Figure("w", "saturation", "output_tokens_per_s"): 200.0,
        Figure("w", "saturation", "server_seconds_per_million_output_tokens"): 5000.0,
        Figure("w", "0.6", "p50_ttft_ms"): 12.0,
    }


def test_an_invalid_trial_shows_nothing() -> None:
    found = launch_figures(launch(1, "baseline", point(1, valid=False), point(2)), LOADS)
    assert {figure.at for figure in found} == {"start", "0.6"}


def test_a_point_that_is_no_load_of_the_plan_shows_nothing() -> None:
    assert set(launch_figures(launch(1, "baseline", point(7)), LOADS)) == {Figure("", "start", "ready_s")}


def test_the_canary_is_never_pooled_with_the_baseline() -> None:
    launches = [
        launch(3, "candidate", point(1, speed=190.0)),
        launch(1, "baseline", point(1, speed=200.0)),
        launch(2, "canary", point(1, speed=900.0)),
        launch(4, "baseline", point(1, speed=201.0)),
    ]
    (speed,) = (one for one in series_of(launches, {"llama_cpp m f16": LOADS}) if one.metric == "output_tokens_per_s")
    assert (speed.baseline, speed.candidate, speed.higher_is_better) == ((200.0, 201.0), (190.0,), True)


def test_less_is_better_of_latencies_and_of_seconds() -> None:
    better = {
        one.metric: one.higher_is_better
        for one in series_of([launch(1, "baseline", point(2))], {"llama_cpp m f16": LOADS})
    }
    assert better == {"ready_s": False, "p50_ttft_ms": False}


def test_gpus_cost_the_seconds_of_each() -> None:
    on_gpus = launch(1, "baseline", point(1)).model_copy(update={"gpus": 4})
    found = launch_figures(on_gpus, LOADS)
    assert found[Figure("w", "saturation", "gpu_seconds_per_million_output_tokens")] == 4 * 5000.0
    assert not any("server_seconds" in figure.metric for figure in found)


def look(step: int, rate: float, share_over: float) -> PointResult:
    """One of 3000 independent requests, long enough that the queue's memory does not matter."""
    seen = SLOAttainment(
        slo="ttft:p95<100ms", attainment=None, goodput_rps=None, verdict="unknown", n=3000, effective_n=3000,
        share_over=share_over,
    )  # fmt: skip
    made = point(step)
    load = OpenLoop(arrivals=Poisson(), rate_rps=rate)
    at = made.point.model_copy(update={"role": "capacity", "load": load, "slo": str(seen.slo)})
    told = {"slos": (seen,), "achieved_rps": rate, "completed_rps": rate, "window_s": 3000.0}
    return made.model_copy(update={"point": at, "summary": made.summary.model_copy(update=told)})


SEARCH = Searched(LoadPlan(capacity=CapacitySearch()), (parse_slo("ttft:p95<100ms"),))


def test_a_capacity_is_the_middle_of_what_is_held_and_what_is_not() -> None:
    looks = (look(4, 4.0, 0.001), look(5, 9.0, 0.5), point(1))
    found = launch_figures(launch(1, "baseline", *looks), LOADS, SEARCH)
    assert found[Figure("w", "capacity", "capacity_rps/ttft_p95_100ms")] == 6.0


def test_a_capacity_that_is_open_on_a_side_is_no_figure() -> None:
    found = launch_figures(launch(1, "baseline", look(4, 4.0, 0.001), point(1)), LOADS, SEARCH)
    assert not any(figure.at == "capacity" for figure in found)
