"""Flags left out one at a time: which sides are compared, one canary, and what is said of each flag. What a launch
measures is drawn by a named stand-in of known truth."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from engine_adapters import ADAPTERS
from experiments.errors import InputError
from experiments.schema.comparison import ComparisonOrder, ComparisonResult, LaunchResult
from experiments.schema.load import ClosedLoop, LoadPoint, StopRule
from experiments.schema.order import CellOrder
from experiments.schema.read import read_experiment
from experiments.schema.result import PointResult, TrialSummary
from flows import compare_releases
from flows.attributing import attribution_order, flags_of, groups_of
from tasks.analysis.attribution import flag_effects
from tasks.campaigns.comparison import open_comparison
from tasks.campaigns.home import Home
from tasks.campaigns.ledger import Ledger
from tasks.reporting.attribution_table import attribution_table

ON_A_CPU = """
variants:
  - engine: llama_cpp
    engine_version: "1.0"
    model: tiny-llama-3m
    quantization: f16
    extra_args: [--slots, "4", --prefix-cache, --seed, "-1"]
workloads: [in16-out64]
"""
TUNED = """
variants:
  - engine: vllm
    engine_version: 0.33.0
    model: tiny-llama-3m
    quantization: bf16
    hardware: h100
    runtime: container
    extra_args: [--max-num-batched-tokens, "8192"]
workloads: [in16-out64]
"""
BUILT = """
variants:
  - engine: tensorrt_llm
    engine_version: 1.2.1
    engine_backend: tensorrt
    model: tiny-llama-3m
    quantization: bf16
    hardware: h100
    runtime: container
workloads: [in16-out64]
"""


def order(folder: Path, text: str = ON_A_CPU, **fields: Any) -> ComparisonOrder:
    file = folder / "e.yaml"
    file.write_text(text)
    given: dict[str, Any] = {
        "engine": "llama_cpp", "profile": None, "flags": None, "looks": (4, 6, 8), "margin": 0.03, "canary": True,
        "budget_s": None, "home": folder / "home",
    }  # fmt: skip
    return attribution_order(read_experiment(file, ADAPTERS), **(given | fields))


def test_the_arguments_of_a_variant_are_left_out_one_at_a_time(tmp_path: Path) -> None:
    asked = order(tmp_path)
    whole = ("--slots", "4", "--prefix-cache", "--seed", "-1")
    assert {one.baseline.extra_args for one in asked.systems} == {whole}
    assert [(one.left_out, one.candidate.extra_args) for one in asked.systems] == [
        (("--slots", "4"), ("--prefix-cache", "--seed", "-1")),
        (("--prefix-cache",), ("--slots", "4", "--seed", "-1")),
        (("--seed", "-1"), ("--slots", "4", "--prefix-cache")),
    ]
    assert [one.has_canary for one in asked.systems] == [True, False, False]
    assert asked.id.startswith("attribution-llama_cpp-1.0-1.0-")


def test_flags_that_are_given_join_those_of_the_variant(tmp_path: Path) -> None:
    (system,) = order(tmp_path, flags="--threads 1").systems
    assert system.candidate.extra_args == ("--slots", "4", "--prefix-cache", "--seed", "-1")
    assert system.baseline.extra_args == (*system.candidate.extra_args, "--threads", "1")


def test_without_the_only_flag_of_a_profile_it_is_the_engine_as_it_comes(tmp_path: Path) -> None:
    (system,) = order(tmp_path, TUNED, engine="vllm", profile="throughput").systems
    launched = [ADAPTERS["vllm"].launch_spec(side).argv for side in (system.baseline, system.candidate)]
    assert [word for word in launched[0] if word not in launched[1]] == ["--performance-mode", "throughput"]
    assert [word for word in launched[0] if word in launched[1]] == list(launched[1])


def test_a_profile_of_a_build_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="of its build"):
        order(tmp_path, BUILT, engine="tensorrt_llm", profile="tuned")


@pytest.mark.parametrize(
    ("text", "fields", "said"),
    [
        (ON_A_CPU, {"profile": "nothing-like-it"}, "nothing-like-it"),
        (ON_A_CPU, {"profile": "p", "flags": "--a"}, "contradict"),
        (ON_A_CPU, {"flags": "a 1"}, "beginning with its flag"),
        (
            ON_A_CPU.replace('    extra_args: [--slots, "4", --prefix-cache, --seed, "-1"]\n', ""),
            {},
            "no flags to leave",
        ),
    ],
)
def test_what_cannot_be_attributed_is_said(tmp_path: Path, text: str, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        order(tmp_path, text, **fields)


def test_groups_are_read_as_they_are_written() -> None:
    assert groups_of('--a 1; --b "x y" ;') == (("--a", "1"), ("--b", "x y"))
    assert flags_of(("--a", "-1", "-v", "--c=2", "d")) == (("--a", "-1"), ("-v",), ("--c=2", "d"))


class SlotsHelp:
    """Stands in for engine and instrument: without --slots a server of 12 % less speed, whatever else is left out."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(5)
        self.made: list[tuple[str, str]] = []

    def measure(
        self, ledger: Ledger, cells: tuple[CellOrder, ...], whose: LaunchResult, *, folder: Path, next_point: Any
    ) -> LaunchResult:
        self.made.append((whose.system, whose.arm))
        speed = (1000 if "--slots" in whose.variant.extra_args else 880) * np.exp(0.004 * self.rng.normal())
        summary = TrialSummary(
            method_version="2", requests=60, outcomes={"completed": 60}, valid=True, window_s=9.0, completed_rps=9.0,
            output_tokens_per_s=float(speed),
        )  # fmt: skip
        point = LoadPoint(step=0, role="saturation", load=ClosedLoop(concurrency=8), stop=StopRule(requests=60))
        done = PointResult(point=point, summary=summary, directory="0", started_at="2026-11-21T00:00:00+00:00")
        return whose.model_copy(update={"points": {cells[0].workload.name: (done,)}})


@pytest.fixture
def attributed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[SlotsHelp, ComparisonOrder, ComparisonResult]:
    machine, asked = SlotsHelp(), order(tmp_path)
    monkeypatch.setattr(compare_releases, "publish_comparison", lambda result, *_: result)
    monkeypatch.setattr(compare_releases, "measure_launch", machine.measure)
    home = Home(Path(asked.home))
    return machine, asked, compare_releases._compare(asked, open_comparison(home.comparisons, asked), home)


def test_a_flag_without_which_it_is_slower_helps_and_the_others_do_nothing(
    attributed: tuple[SlotsHelp, ComparisonOrder, ComparisonResult],
) -> None:
    _, asked, result = attributed
    effects = flag_effects(asked.systems, result)
    assert [(one.flags[0], one.effect) for one in effects] == [
        ("--slots", "helps"),
        ("--prefix-cache", "none"),
        ("--seed", "none"),
    ]
    (speed,) = (one for one in effects[0].figures if one.metric == "output_tokens_per_s")
    assert speed.change == pytest.approx(-0.12, abs=0.01)
    shown = io.StringIO()
    Console(width=120, file=shown).print(attribution_table(result, effects))
    assert "--slots 4: it helps" in shown.getvalue()


def test_the_canary_is_launched_once_and_not_for_each_flag(
    attributed: tuple[SlotsHelp, ComparisonOrder, ComparisonResult],
) -> None:
    machine, asked, _ = attributed
    assert {system for system, arm in machine.made if arm == "canary"} == {asked.systems[0].name}
    assert sum(arm == "candidate" for _, arm in machine.made) >= 4 * len(asked.systems)
