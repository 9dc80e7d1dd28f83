"""The order of launches, escalation, resuming and the verdict. What a launch measures is drawn here, not measured: the
stand-in for `measure_launch` returns figures of known truth; everything else is the flow's own code."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine_adapters import ADAPTERS
from experiments.errors import InputError
from experiments.schema.comparison import ComparisonOrder, ComparisonResult, LaunchResult
from experiments.schema.failure import FailureClass
from experiments.schema.load import ClosedLoop, LoadPoint, OpenLoop, Poisson, StopRule
from experiments.schema.order import CellOrder
from experiments.schema.read import read_experiment
from experiments.schema.result import Distribution, PointResult, TrialSummary
from flows import compare_releases
from flows.comparing import comparison_order, engine_of, exit_code_of, settings_of, url_of
from tasks.campaigns.comparison import Comparison, open_comparison
from tasks.campaigns.home import Home
from tasks.campaigns.ledger import Ledger

EXPERIMENT = """
variants:
  - {engine: llama_cpp, engine_version: "1.0", model: tiny-llama-3m, quantization: [f16, q8_0]}
workloads: [in16-out64, in128-out16]
load_plan: {requests_per_point: 20}
"""
CEILING_RPS = 40.0


def order(tmp_path: Path, **fields: object) -> ComparisonOrder:
    file = tmp_path / "e.yaml"
    file.write_text(EXPERIMENT)
    sides = {"baseline": {"engine_version": "1.0"}, "candidate": {"engine_version": "2.0"}}
    given = {"engine": "llama_cpp", "looks": (4, 6, 8), "margin": 0.03, "canary": True, "budget_s": None, **sides}
    return comparison_order(
        read_experiment(file, ADAPTERS),
        home=tmp_path / "home",
        **given | fields,  # type: ignore[arg-type]
    )


def point(step: int, speed: float, ttft_ms: float) -> PointResult:
    load = ClosedLoop(concurrency=8) if step == 0 else OpenLoop(arrivals=Poisson(), rate_rps=CEILING_RPS / 2)
    role = "saturation" if step == 0 else "open_loop"
    latencies = {"ttft_ms": Distribution(n=99, p50=ttft_ms, p95=2 * ttft_ms), "tpot_ms": Distribution(n=99, p50=9.0)}
    summary = TrialSummary(
        method_version="1",
        requests=99,
        outcomes={"completed": 99},
        valid=True,
        window_s=9.0,
        completed_rps=CEILING_RPS,
        output_tokens_per_s=speed,
        latencies=latencies,
    )
    made = LoadPoint(step=step, role=role, load=load, stop=StopRule(requests=99))
    return PointResult(point=made, summary=summary, directory=f"{step}", started_at="2026-11-21T00:00:00+00:00")


class Machine:
    """Stands in for engine and instrument: `effect` is the true relative change of the candidate's speed, by system's
    quantization; `noise` the spread between launches; `drift` what the canary alone suffers."""

    def __init__(self, *, effect: dict[str, float], noise: float = 0.01, canary: float = 0.0, seed: int = 0) -> None:
        self.effect, self.noise, self.canary = effect, noise, canary
        self.rng = np.random.default_rng(seed)
        self.made: list[tuple[str, str, int]] = []
        self.dies_at: int | None = None

    def measure(
        self, ledger: Ledger, cells: tuple[CellOrder, ...], whose: LaunchResult, *, folder: Path, next_point: object
    ) -> LaunchResult:
        assert folder.is_dir()
        (folder / "half.parquet").write_bytes(b"")
        if len(self.made) == self.dies_at:
            raise KeyboardInterrupt
        self.made.append((whose.system, whose.arm, whose.round))
        true = self.effect.get(whose.variant.quantization.value, 0.0) if whose.arm == "candidate" else 0.0
        true = self.canary if whose.arm == "canary" else true
        luck = np.exp(self.noise * self.rng.normal(size=3))
        points = tuple(point(step, 1000 * (1 + true) * luck[0], 20 / (1 + true) * luck[1]) for step in range(4))
        found = {cell.workload.name: points for cell in cells}
        return whose.model_copy(update={"points": found, "start_s": {"first_token": 0.5 * luck[2]}})


@pytest.fixture
def compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ComparisonResult]:
    monkeypatch.setattr(compare_releases, "publish_comparison", lambda result, *_: result)

    def run(machine: Machine, **fields: object) -> ComparisonResult:
        monkeypatch.setattr(compare_releases, "measure_launch", machine.measure)
        asked = order(tmp_path, **fields)
        home = Home(Path(asked.home))
        return compare_releases._compare(asked, open_comparison(home.comparisons, asked), home)

    return run


def test_the_same_engine_on_both_sides_is_equivalent(compared: Callable[..., ComparisonResult]) -> None:
    result = compared(Machine(effect={}, noise=0.004))
    assert result.verdict == "equivalent"
    assert not result.canary.broken


def test_a_slower_candidate_is_regressed_and_only_where_it_is_slower(
    compared: Callable[..., ComparisonResult],
) -> None:
    result = compared(Machine(effect={"q8_0": -0.08}))
    assert result.verdict == "regressed"
    slow = {one.system.split()[1] for one in result.cells if one.verdict == "regressed"}
    assert slow == {"q8_0"}
    speed = next(one for one in result.cells if one.metric == "output_tokens_per_s" and "q8_0" in one.system)
    assert speed.change == pytest.approx(-0.08, abs=0.02)


def test_arms_go_forth_and_back_after_a_pilot(compared: Callable[..., ComparisonResult]) -> None:
    machine = Machine(effect={}, noise=0.002)
    compared(machine, looks=(2,))
    first = [arm for system, arm, _ in machine.made if "f16" in system]
    assert first == ["pilot", "baseline", "candidate", "canary", "canary", "candidate", "baseline"]


def test_more_launches_are_made_only_of_what_is_undecided(compared: Callable[..., ComparisonResult]) -> None:
    just_within_the_margin, clear = -0.029, -0.1
    machine = Machine(effect={"f16": just_within_the_margin, "q8_0": clear}, noise=0.003)
    compared(machine)
    candidates = [system for system, arm, _ in machine.made if arm == "candidate"]
    assert sum("q8_0" in system for system in candidates) == 4
    assert sum("f16" in system for system in candidates) > 4


def test_a_machine_that_differs_from_itself_voids_the_comparison(compared: Callable[..., ComparisonResult]) -> None:
    result = compared(Machine(effect={}, canary=-0.2))
    assert (result.verdict, result.canary.broken) == ("void", True)
    assert "baseline differs from itself" in result.reason


def test_a_stopped_comparison_goes_on_at_the_launch(compared: Callable[..., ComparisonResult], tmp_path: Path) -> None:
    machine = Machine(effect={}, noise=0.002)
    machine.dies_at = 5
    with pytest.raises(KeyboardInterrupt):
        compared(machine, looks=(2,))
    machine.dies_at = None
    result = compared(machine, looks=(2,))
    assert len(machine.made) == len(set(machine.made)) == 14
    assert [one.number for one in result.launches] == list(range(1, 15))
    assert len(list((tmp_path / "home" / "comparisons").iterdir())) == 1


def test_what_has_ended_is_compared_anew(compared: Callable[..., ComparisonResult]) -> None:
    machine = Machine(effect={}, noise=0.002)
    ids = [compared(machine, looks=(2,)).id for _ in range(2)]
    assert [name[-2:] for name in ids] == ["-1", "-2"]


def test_a_pilot_that_fails_is_launched_once_more_and_then_told(compared: Callable[..., ComparisonResult]) -> None:
    machine = Machine(effect={}, noise=0.002)
    measure = machine.measure

    def broken(ledger: Ledger, cells: object, whose: LaunchResult, **more: object) -> LaunchResult:
        done = measure(ledger, cells, whose, **more)  # type: ignore[arg-type]
        return done.model_copy(update={"cause": "it died", "stage": "load sweep", "points": {}})

    machine.measure = broken  # type: ignore[method-assign]
    result = compared(machine, looks=(2,))
    assert [arm for _, arm, _ in machine.made] == ["pilot"] * 4  # two of each of two systems
    told = "4 of 4 launches failed, the last (pilot) at load sweep: it died"
    assert (result.verdict, result.reason) == ("void", f"no figure could be compared: {told}")
    assert exit_code_of(result) == 4
    never_ran = [one.model_copy(update={"stage": "launch"}) for one in result.launches]
    assert exit_code_of(result.model_copy(update={"launches": tuple(never_ran)})) == 3


def test_a_candidate_that_does_not_run_is_a_regression_after_two_tries(
    compared: Callable[..., ComparisonResult],
) -> None:
    machine = Machine(effect={}, noise=0.002)
    measure = machine.measure

    def broken(ledger: Ledger, cells: object, whose: LaunchResult, **more: object) -> LaunchResult:
        done = measure(ledger, cells, whose, **more)  # type: ignore[arg-type]
        if whose.arm != "candidate":
            return done
        why = {"cause": "out of memory", "stage": "launch", "failure_class": FailureClass.OUT_OF_MEMORY}
        return whose.model_copy(update=why)

    machine.measure = broken  # type: ignore[method-assign]
    result = compared(machine, looks=(4,))
    assert result.verdict == "regressed"
    assert {one.reason for one in result.cells if one.metric == "runs"} == {
        "the candidate does not run: launch: out_of_memory: out of memory"
    }
    assert sum(arm == "candidate" for _, arm, _ in machine.made) == 4  # two of each of two systems


FALLEN_BEHIND = {"valid": False, "invalid_reasons": ("throughput drifts",), "completed_rps": 15.0, "offered_rps": 20.0}


def falling_behind(machine: Machine, *arms: str) -> Machine:
    """At the highest rate of one workload these arms complete fewer requests than are due."""
    measure = machine.measure

    def behind(ledger: Ledger, cells: object, whose: LaunchResult, **more: object) -> LaunchResult:
        done = measure(ledger, cells, whose, **more)  # type: ignore[arg-type]
        *held, last = done.points["in16-out64"]
        lost = last.model_copy(update={"summary": last.summary.model_copy(update=FALLEN_BEHIND)})
        points = done.points | {"in16-out64": (*held, lost)}
        return done.model_copy(update={"points": points}) if whose.arm in arms else done

    machine.measure = behind  # type: ignore[method-assign]
    return machine


def test_a_candidate_that_falls_behind_a_load_is_regressed_there_and_says_so(
    compared: Callable[..., ComparisonResult],
) -> None:
    result = compared(falling_behind(Machine(effect={}, noise=0.002), "candidate"), looks=(4,))
    fallen = [one for one in result.cells if one.metric == "keeps_up"]
    assert {(one.workload, one.at, one.verdict.value) for one in fallen} == {("in16-out64", "0.85", "regressed")}
    told = "4 of 4 trials of the candidate are invalid: throughput drifts"
    assert {one.reason for one in fallen} == {f"{told}; it cannot keep up: 15 of 20 requests/s completed"}
    lacking = [one for one in result.cells if (one.at, one.workload) == ("0.85", "in16-out64")]
    assert all(told in one.reason for one in lacking)
    assert result.verdict == "regressed"


def test_trials_lost_by_both_sides_alike_are_no_regression_and_no_equality(
    compared: Callable[..., ComparisonResult],
) -> None:
    result = compared(falling_behind(Machine(effect={}, noise=0.002), "baseline", "candidate", "canary"), looks=(4,))
    assert {one.verdict.value for one in result.cells} == {"equivalent"}
    assert result.verdict == "undecided"
    assert result.reason.endswith("no trial of either side is valid at 0.85 of in16-out64: throughput drifts")


def test_loads_without_a_valid_trial_are_never_called_equivalent(compared: Callable[..., ComparisonResult]) -> None:
    machine = Machine(effect={}, noise=0.002)
    measure = machine.measure

    def disturbed(ledger: Ledger, cells: object, whose: LaunchResult, **more: object) -> LaunchResult:
        done = measure(ledger, cells, whose, **more)  # type: ignore[arg-type]
        late = {"valid": False, "invalid_reasons": ("the client was late",)}
        points = {
            name: tuple(p.model_copy(update={"summary": p.summary.model_copy(update=late)}) for p in several)
            for name, several in done.points.items()
        }
        return done.model_copy(update={"points": points})

    machine.measure = disturbed  # type: ignore[method-assign]
    result = compared(machine, looks=(4,))
    assert {(one.at, one.verdict.value) for one in result.cells} == {("start", "equivalent")}
    assert result.verdict == "undecided"
    everything = 2 * 2 * 4 * 2 * 4  # systems, workloads, loads, sides, launches
    assert f"{everything} of {everything} trials are invalid" in result.reason
    assert result.reason.endswith("and others: the client was late")


ENDPOINTS = """
variants:
  - engine: endpoint
    engine_version: "1.0"
    runtime: endpoint
    endpoint_url: "http://localhost:1"
    model: tiny-llama-3m
    quantization: f16
workloads: [in16-out64]
load_plan: {requests_per_point: 20}
"""


def test_two_servers_that_are_there_are_compared_by_their_addresses(
    compared: Callable[..., ComparisonResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "EXPERIMENT", ENDPOINTS)
    machine = Machine(effect={}, noise=0.002)
    seeds: list[int] = []
    measure = machine.measure

    def noting(ledger: Ledger, cells: object, whose: LaunchResult, **more: object) -> LaunchResult:
        seeds.append(ledger.launch)
        return measure(ledger, cells, whose, **more)  # type: ignore[arg-type]

    machine.measure = noting  # type: ignore[method-assign]
    sides = {"baseline": url_of("http://a:1"), "candidate": url_of("http://b:2")}
    result = compared(machine, looks=(2,), engine="endpoint", **sides)
    assert {one.variant.endpoint_url for one in result.launches if one.arm == "candidate"} == {"http://b:2"}
    assert result.notes[0] == "baseline http://a:1, candidate http://b:2"
    assert "no new start" in result.notes[1]
    assert len(seeds) == len(set(seeds)) == 7  # a server that remembers never gets a prompt twice


def test_an_engine_is_asked_for_unless_the_servers_are_there() -> None:
    assert engine_of(None, "http://a:1", None) == "endpoint"
    with pytest.raises(InputError, match="--from-url"):
        engine_of(None, None, None)


def test_canaries_are_remembered_once_a_comparison(compared: Callable[..., ComparisonResult], tmp_path: Path) -> None:
    machine = Machine(effect={}, noise=0.002)
    for _ in range(3):
        compared(machine, looks=(2,))
    lines = (tmp_path / "home" / "canaries" / "cpu.jsonl").read_text().splitlines()
    assert len(lines) == 3


def test_a_comparison_whose_baseline_ran_for_the_pilot_alone_is_void_with_its_cause(
    compared: Callable[..., ComparisonResult],
) -> None:
    machine = Machine(effect={}, noise=0.002)
    measure = machine.measure

    def broken(ledger: Ledger, cells: object, whose: LaunchResult, **more: object) -> LaunchResult:
        done = measure(ledger, cells, whose, **more)  # type: ignore[arg-type]
        lost = {"cause": "the port is taken", "stage": "launch", "points": {}}
        return done.model_copy(update=lost) if whose.arm in ("baseline", "canary") else done

    machine.measure = broken  # type: ignore[method-assign]
    result = compared(machine, looks=(2,))
    assert result.verdict == "void"
    assert "8 of 14 launches failed" in result.reason
    assert "the port is taken" in result.reason
    assert exit_code_of(result) == 4
    assert {one.verdict for one in result.cells} <= {"undecided"}


def test_a_budget_that_leaves_no_time_for_both_sides_is_no_verdict(compared: Callable[..., ComparisonResult]) -> None:
    machine = Machine(effect={})
    result = compared(machine, budget_s=1e-9)
    assert machine.made == []
    told = "no figure could be compared: there was no time for a launch of both sides"
    assert (result.verdict, result.reason) == ("void", told)
    assert exit_code_of(result) == 4


def test_a_comparison_on_disk_is_whole_or_absent(tmp_path: Path) -> None:
    comparison = Comparison(tmp_path / "x-1")
    assert comparison.result() is None
    (tmp_path / "x-1").mkdir()
    comparison.result_file.write_text('{"id": "x-1", "eng')
    assert comparison.result() is None


def test_a_setting_that_is_none_is_refused_with_the_names() -> None:
    with pytest.raises(InputError, match="max_num_seqs"):
        settings_of(["slots=1"], "--candidate-set")


def test_a_setting_that_the_engine_cannot_do_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(EXPERIMENT)
    with pytest.raises(InputError, match="tensor_parallel"):
        comparison_order(
            read_experiment(file, ADAPTERS),
            engine="llama_cpp",
            baseline={},
            candidate={"tensor_parallel": 2},
            looks=(4,),
            margin=0.05,
            canary=True,
            budget_s=None,
            home=tmp_path,
        )


def test_an_engine_that_the_experiment_has_not_is_refused_with_those_it_has(tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(EXPERIMENT)
    with pytest.raises(InputError, match="its engines are llama_cpp"):
        comparison_order(
            read_experiment(file, ADAPTERS),
            engine="vllm_cpu",
            baseline={},
            candidate={},
            looks=(4,),
            margin=0.05,
            canary=True,
            budget_s=None,
            home=tmp_path,
        )
