"""`dyno replay`: what is measured again and by what seed, the exit codes, and what it refuses. The stand-in for
`measure_launch` draws a server of known speed; everything else is the command's own code."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from experiments.errors import EXIT_INPUT, EXIT_MEASUREMENT, EXIT_OK, AnotherSystem, InputError
from experiments.schema.base import METHOD_VERSION
from experiments.schema.comparison import LaunchResult
from experiments.schema.load import ClosedLoop, LoadPlan, LoadPoint, StopRule
from experiments.schema.order import CellOrder
from experiments.schema.replay import ReplayResult
from experiments.schema.result import CellResult, CellState, PointResult, TrialSummary
from experiments.schema.variant import Variant
from experiments.schema.workload import Workload
from flows import replay_cell, replaying
from flows.cli import app
from flows.replaying import replay_order
from tasks.campaigns.campaign import Campaign
from tasks.campaigns.home import open_home
from tasks.campaigns.ledger import Ledger
from tasks.campaigns.replays import Replay, open_replay
from tasks.serving.provenance import machine

SPEED = 1000.0


def point(step: int, users: int, speed: float, method: str = METHOD_VERSION) -> PointResult:
    summary = TrialSummary(
        method_version=method,
        requests=60,
        outcomes={"completed": 60},
        valid=True,
        window_s=9.0,
        output_tokens_per_s=speed,
    )
    made = LoadPoint(step=step, role="saturation", load=ClosedLoop(concurrency=users), stop=StopRule(requests=60))
    return PointResult(point=made, launch=3, summary=summary, directory=f"{step}", started_at="2026-11-21T00:00:00")


class StandIn:
    """A server of this speed instead of a launch; with the provenance of this machine, changed as given."""

    def __init__(self, speed: float = SPEED, cause: str = "", **provenance: object) -> None:
        self.speed, self.cause, self.provenance = speed, cause, {"machine": machine(), **provenance}
        self.ledgers: list[Ledger] = []
        self.points: list[LoadPoint] = []

    def measure(
        self, ledger: Ledger, cells: tuple[CellOrder, ...], whose: LaunchResult, *, folder: Path, next_point: Any,
        approve: Any,
    ) -> LaunchResult:  # fmt: skip
        assert folder.is_dir()
        self.ledgers.append(ledger)
        approve(self.provenance)
        if self.cause:
            return whose.model_copy(update={"stage": "launch", "cause": self.cause})
        done: list[PointResult] = []
        while (due := next_point(cells[0].workload.name, done, 1.0)) is not None:
            self.points.append(due)
            done.append(point(due.step, due.load.concurrency, self.speed))
        found = {"points": {cells[0].workload.name: tuple(done)}, "provenance": self.provenance}
        return whose.model_copy(update=found)


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: Variant) -> Callable[..., CellResult]:
    monkeypatch.setenv("DYNO_HOME", str(tmp_path / "home"))

    def save(**fields: object) -> CellResult:
        given: dict[str, Any] = {
            "cell_id": "c0ffee123456", "experiment": "small", "campaign": "small-2", "launch": 3, "variant": variant,
            "workload": Workload(name="w", prompt_tokens=32, output_tokens=8), "state": CellState.MEASURED,
            "points": (point(0, 1, SPEED), point(1, 8, SPEED)), "provenance": {"machine": machine()},
            "load_plan": LoadPlan(request_timeout_s=7.0), "seed": 5,
        }  # fmt: skip
        cell = CellResult(**(given | fields))
        Campaign("small", tmp_path / "home/campaigns/small/2").save(cell)
        return cell

    return save


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ReplayResult]:
    """Without Prefect's server: the flow's own function."""

    def run(stand_in: StandIn, *, anyway: bool = False) -> ReplayResult:
        monkeypatch.setattr(replay_cell, "measure_launch", stand_in.measure)
        home = open_home().make()
        folder, order = open_replay(home.replays, replay_order("c0ff", anyway=anyway))
        return replay_cell.replay(order, folder, home)

    return run


def test_a_cell_is_measured_again_at_its_own_loads_with_its_own_seed(
    stored: Callable[..., CellResult], replayed: Callable[..., ReplayResult]
) -> None:
    cell, stand_in = stored(), StandIn()
    result = replayed(stand_in)
    assert stand_in.points == [one.point for one in cell.points]
    (ledger,) = stand_in.ledgers
    assert (ledger.run.seed, ledger.run.campaign, ledger.launch) == (5, 2, 3)
    assert ledger.run.load_plan.request_timeout_s == 7.0
    assert (result.verdict, result.id) == ("reproduced", "c0ffee123456-1")
    assert replayed(StandIn()).id == "c0ffee123456-2"


def test_a_server_that_was_there_before_gets_other_prompts(
    stored: Callable[..., CellResult], replayed: Callable[..., ReplayResult], variant: Variant
) -> None:
    there = {"engine": "endpoint", "runtime": "endpoint", "endpoint_url": "http://a:1"}
    unset = {"max_model_len": None, "max_num_seqs": None, "cpu_threads": None}
    stored(variant=variant.model_copy(update=there | unset))
    stand_in = StandIn()
    for _ in range(2):
        replayed(stand_in)
    launches = [ledger.launch for ledger in stand_in.ledgers]
    assert len({3, *launches}) == 3


def test_a_slower_server_is_not_reproduced_and_is_kept(
    stored: Callable[..., CellResult], replayed: Callable[..., ReplayResult]
) -> None:
    stored()
    result = replayed(StandIn(speed=0.6 * SPEED))
    assert result.verdict == "not reproduced"
    assert [one.reproduced for one in result.figures] == [False, False]
    assert Replay(open_home().replays / result.id).result() == result


def test_a_launch_that_fails_is_not_reproduced_and_says_where(
    stored: Callable[..., CellResult], replayed: Callable[..., ReplayResult]
) -> None:
    stored()
    result = replayed(StandIn(cause="out of memory"))
    assert result.verdict == "not reproduced"
    assert "launch: out of memory" in result.reason


def test_another_system_is_refused_unless_anyway(
    stored: Callable[..., CellResult], replayed: Callable[..., ReplayResult]
) -> None:
    stored(provenance={"machine": machine(), "model": {"sha256": "aa"}})
    other = StandIn(model={"sha256": "bb"})
    with pytest.raises(AnotherSystem, match=r"weights: aa then, bb now.*--anyway"):
        replayed(other)
    assert other.points == []
    result = replayed(other, anyway=True)
    assert [(one.what, one.is_another_system) for one in result.differences] == [("weights", True)]


def test_figures_of_another_method_are_not_held_against_those_of_today(
    stored: Callable[..., CellResult], replayed: Callable[..., ReplayResult]
) -> None:
    stored(points=(point(0, 8, SPEED, method="0"),))
    with pytest.raises(AnotherSystem, match="method version: 0 then"):
        replayed(StandIn())


def test_a_cell_that_was_not_measured_is_refused(stored: Callable[..., CellResult]) -> None:
    stored(state=CellState.FAILED, points=(), cause="it died")
    with pytest.raises(InputError, match="it died"):
        replay_order("c0ff", anyway=False)


@pytest.mark.parametrize(
    ("verdict", "status"),
    [("reproduced", EXIT_OK), ("not reproduced", EXIT_MEASUREMENT), ("undecided", EXIT_OK)],
)
def test_the_exit_code_tells_the_verdict(
    stored: Callable[..., CellResult],
    replayed: Callable[..., ReplayResult],
    monkeypatch: pytest.MonkeyPatch,
    verdict: str,
    status: int,
) -> None:
    stored()
    told = replayed(StandIn()).model_copy(update={"verdict": verdict})
    monkeypatch.setattr(replaying, "run_replay", lambda _order: told)
    for arguments in (["replay", "c0ff"], ["replay", "c0ff", "--json"]):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == status
        assert verdict in done.stdout
    body = json.loads(done.stdout)
    assert body["cell_id"] == "c0ffee123456"
    assert body["figures"][0].keys() == {"metric", "at", "stored", "interval", "replayed", "reproduced", "reason"}


def test_an_unknown_cell_is_an_error_of_input(stored: Callable[..., CellResult]) -> None:
    stored()
    done = CliRunner().invoke(app, ["replay", "zzzz"])
    assert isinstance(done.exception, InputError)
    assert done.exception.exit_code == EXIT_INPUT
