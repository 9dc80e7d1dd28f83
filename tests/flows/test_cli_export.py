"""What `dyno export` finds: a folder, a cell by the first letters of its id, the store's only campaign."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from experiments.errors import InputError
from experiments.schema.result import CellResult, CellState
from experiments.schema.variant import Variant
from experiments.schema.workload import Workload
from flows.cli import app
from flows.cli_export import export_text, trials_of, write_text
from tasks.campaigns.campaign import Campaign
from tasks.import_trial import import_file

RESULT = Path(__file__).parents[1] / "tasks/interchange/captured/vllm-0.32-schema-by-hand.json"
Store = Callable[..., Campaign]


def dyno(*words: str) -> str:
    """What it prints; what it raises is raised."""
    done = CliRunner().invoke(app, list(words))
    if done.exception is not None:
        raise done.exception
    return done.stdout


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: Variant) -> Store:
    """A store with cells of two points each; a cell that failed has none."""
    monkeypatch.setenv("DYNO_HOME", str(tmp_path / "home"))

    def fill(*cells: str, experiment: str = "small", number: int = 1, failed: str = "") -> Campaign:
        campaign = Campaign(experiment, tmp_path / "home/campaigns" / experiment / str(number))
        for cell in cells:
            folders = [campaign.launch_folder(cell, 1) / name for name in ("00-synchronous", "01-saturation")]
            points = [] if cell == failed else [import_file(RESULT, (), folder)[0] for folder in folders]
            result = CellResult(
                cell_id=cell, experiment=experiment, campaign=campaign.name, launch=1, variant=variant,
                workload=Workload(name="w", prompt_tokens=32, output_tokens=8, endpoint="chat"), points=tuple(points),
                state=CellState.FAILED if cell == failed else CellState.MEASURED, cause="it died",
            )  # fmt: skip
            campaign.save(result)
        return campaign

    return fill


def test_a_cell_is_all_of_its_points(store: Store) -> None:
    store("aaaa1", "bbbb2")
    trials = trials_of("aa")
    assert [trial.about["cell"] for trial in trials] == ["aaaa1", "aaaa1"]
    assert (trials[0].model, trials[0].endpoint) == ("tiny", "chat")


def test_without_a_name_it_is_the_latest_campaign(store: Store) -> None:
    store("aaaa1", "bbbb2", number=9)
    store("aaaa1", "cccc3", number=10)
    found = [(trial.about["campaign"], trial.about["cell"]) for trial in trials_of(None)]
    assert found == [("small-10", "aaaa1")] * 2 + [("small-10", "cccc3")] * 2


def test_a_folder_of_a_launch_is_its_points(store: Store) -> None:
    campaign = store("aaaa1")
    assert len(trials_of(str(campaign.launch_folder("aaaa1", 1)))) == 2


def test_guidellm_gets_one_report_and_vllm_an_object_a_point(store: Store) -> None:
    store("aaaa1", "bbbb2")
    trials = trials_of(None)
    report = json.loads(export_text(True, trials))
    assert [benchmark["config"]["requests"]["cell"] for benchmark in report["benchmarks"]] == ["aaaa1"] * 2 + [
        "bbbb2"
    ] * 2
    objects = [json.loads(line) for line in export_text(False, trials).splitlines()]
    assert [each["dyno_cell"] for each in objects] == ["aaaa1"] * 2 + ["bbbb2"] * 2
    assert {each["backend"] for each in objects} == {"openai-chat"}


@pytest.mark.parametrize(
    ("what", "said"),
    [("", "no cell of the store"), ("a", "begins the ids of 2 cells"), ("dead", "has no measured point: it is failed")],
)
def test_a_name_that_does_not_lead_to_one_is_refused(store: Store, what: str, said: str) -> None:
    store("aaaa1", "abbb2", "dead4", failed="dead4")
    with pytest.raises(InputError, match=said):
        trials_of(what)


def test_two_experiments_need_a_name(store: Store) -> None:
    store("aaaa1")
    store("bbbb2", experiment="other")
    with pytest.raises(InputError, match="holds other, small"):
        trials_of(None)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write_text(tmp_path / "nowhere/out.json", "text")


def test_the_whole_store_is_written_in_every_form(store: Store, tmp_path: Path) -> None:
    store("aaaa1", "bbbb2")
    store("cccc3", experiment="other", failed="cccc3")
    dyno("export", "--cells", str(tmp_path / "all"))
    there = {path.name for path in (tmp_path / "all").iterdir()}
    assert there == {
        "cells.parquet", "cells.csv", "points.csv", "capacities.csv", "failures.csv", "dyno.sqlite", "metadata.json",
        "inferencex.json", "benchmark-reports",
    }  # fmt: skip
    cells = pd.read_parquet(tmp_path / "all/cells.parquet")
    assert [(row.experiment, row.cell_id) for row in cells.itertuples()] == [
        ("other", "cccc3"), ("small", "aaaa1"), ("small", "bbbb2"),
    ]  # fmt: skip
    assert len(list((tmp_path / "all/benchmark-reports").iterdir())) == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--cells DIR for all of the store"),
        (["--out", "x"], "--out needs --format"),
        (["--format", "vllm", "--cells", "x"], "leave one of them out"),
        (["--cells", "x", "--out", "y"], "leave --out out"),
        (["aaaa1", "--cells", "x"], "the whole store"),
    ],
)
def test_what_contradicts_is_refused(store: Store, words: list[str], said: str) -> None:
    store("aaaa1")
    with pytest.raises(InputError, match=said):
        dyno("export", *words)


def test_one_cell_becomes_reports_and_rows(store: Store) -> None:
    store("aaaa1", "bbbb2")
    reports = list(yaml.safe_load_all(dyno("export", "--format", "benchmark-report", "bb")))
    assert [report["results"]["profiling"]["dyno"]["cell_id"] for report in reports] == ["bbbb2", "bbbb2"]
    assert json.loads(dyno("export", "--format", "inferencex")) == []  # it has rows of closed loops only


def test_a_store_without_results_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNO_HOME", str(tmp_path / "empty"))
    with pytest.raises(InputError, match="dyno run FILE"):
        dyno("export", "--cells", str(tmp_path / "out"))
