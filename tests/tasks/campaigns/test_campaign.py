"""What was measured is kept, what failed waits for a retry, what was interrupted is due again."""

import multiprocessing
from pathlib import Path

import pytest

from experiments.schema.experiment import Experiment
from experiments.schema.failure import FailureClass
from experiments.schema.load import CapacitySearch, LoadPlan, OpenLoopPoints
from experiments.schema.result import CellResult, CellState
from experiments.schema.variant import Quantization, Variant
from experiments.schema.workload import Workload
from tasks.campaigns.campaign import all_results, open_campaign, to_measure
from tasks.campaigns.home import Home, measuring_alone
from tasks.campaigns.planning import check_lines, estimate, plan_cells


@pytest.fixture
def experiment(variant: Variant) -> Experiment:
    line = variant.model_dump() | {"quantization": ["f16", "q8_0"]}
    workloads = [Workload(name="w", prompt_tokens=8, output_tokens=4)]
    return Experiment.model_validate({"name": "e", "workloads": workloads, "variants": [line]})


def result(
    experiment: Experiment,
    index: int,
    state: CellState,
    campaign: str = "e-1",
    failure_class: FailureClass | None = None,
) -> CellResult:
    cell = experiment.cells()[index]
    return CellResult(
        cell_id=cell.id,
        experiment="e",
        campaign=campaign,
        launch=1,
        variant=cell.variant,
        workload=cell.workload,
        state=state,
        cause="it broke" if state == CellState.FAILED else "",
        stage="launch" if state == CellState.FAILED else "",
        failure_class=failure_class,
    )


@pytest.mark.parametrize(
    ("state", "due", "due_on_retry"),
    [
        (CellState.MEASURED, False, False),
        (CellState.INVALID, False, True),
        (CellState.FAILED, False, True),
        (CellState.INTERRUPTED, True, True),
    ],
)
def test_what_is_due_follows_from_what_became_of_a_cell(
    experiment: Experiment, tmp_path: Path, state: CellState, due: bool, due_on_retry: bool
) -> None:
    campaign = open_campaign(tmp_path, "e")
    campaign.save(result(experiment, 0, state))
    first, second = experiment.cells()
    assert to_measure(campaign, experiment.cells()) == ([first, second] if due else [second])
    assert to_measure(campaign, experiment.cells(), retry="what may pass") == ([first] if due_on_retry else [])


@pytest.mark.parametrize("failure_class", [None, *FailureClass])
def test_a_failure_is_retried_where_another_launch_may_come_out_otherwise(
    experiment: Experiment, tmp_path: Path, failure_class: FailureClass | None
) -> None:
    """One that was kept before failures had classes may be anything."""
    campaign = open_campaign(tmp_path, "e")
    campaign.save(result(experiment, 0, CellState.FAILED, failure_class=failure_class))
    first, _ = experiment.cells()
    may_pass = failure_class is None or failure_class.may_be_retried
    assert to_measure(campaign, experiment.cells(), retry="what may pass") == ([first] if may_pass else [])
    assert to_measure(campaign, experiment.cells(), retry="all") == [first]


def test_a_plan_names_the_class_and_the_stage_of_what_failed(experiment: Experiment, tmp_path: Path) -> None:
    campaign = open_campaign(tmp_path, "e")
    campaign.save(result(experiment, 0, CellState.FAILED, failure_class=FailureClass.BAD_FLAG))
    failed, due = (cell.row() for cell in plan_cells(experiment, campaign))
    assert (failed["state"], failed["failure_class"], failed["stage"]) == ("failed", "bad_flag", "launch")
    assert (due["state"], due["failure_class"], due["stage"]) == ("to measure", None, "")


def test_a_new_campaign_is_empty_and_the_old_one_stays(experiment: Experiment, tmp_path: Path) -> None:
    old = open_campaign(tmp_path, "e")
    old.save(result(experiment, 0, CellState.MEASURED))
    new = open_campaign(tmp_path, "e", new=True)
    assert (old.name, new.name) == ("e-1", "e-2")
    assert len(to_measure(new, experiment.cells())) == 2
    new.save(result(experiment, 0, CellState.MEASURED, "e-2"))
    assert open_campaign(tmp_path, "e").name == "e-2"
    assert [r.campaign for r in all_results(tmp_path)] == ["e-1", "e-2"]


def test_a_result_that_cannot_be_read_counts_as_none(experiment: Experiment, tmp_path: Path) -> None:
    campaign = open_campaign(tmp_path, "e")
    campaign.save(result(experiment, 0, CellState.MEASURED))
    (campaign.cell_folder(experiment.cells()[0].id) / "cell.json").write_text('{"cell_id": "x"')
    assert campaign.result(experiment.cells()[0].id) is None
    assert len(to_measure(campaign, experiment.cells())) == 2


def test_no_launch_number_is_used_twice(experiment: Experiment, tmp_path: Path) -> None:
    campaign = open_campaign(tmp_path, "e")
    assert campaign.next_launch("v") == 1
    campaign.server_log("v", 9).touch()
    campaign.server_log("w", 11).touch()
    assert campaign.next_launch("v") == 10


def test_a_plan_says_what_an_engine_cannot_do_and_a_line_that_can_do_nothing_is_an_error(
    experiment: Experiment, variant: Variant, tmp_path: Path
) -> None:
    from experiments.errors import InputError

    fp8 = variant.model_copy(update={"quantization": Quantization.FP8})
    mixed = experiment.model_copy(update={"variants": ((variant, fp8),)})
    check_lines(mixed, "f.yaml")
    states = {p.cell.variant.quantization: p.state for p in plan_cells(mixed, open_campaign(tmp_path, "e"))}
    assert states == {"q8_0": "to measure", "fp8": "unsupported"}
    with pytest.raises(InputError, match=r"f.yaml: variants\[1\].quantization: llama.cpp loads GGUF"):
        check_lines(experiment.model_copy(update={"variants": ((variant,), (fp8,))}), "f.yaml")


def test_a_workload_that_does_not_fit_the_context_is_unsupported(
    experiment: Experiment, variant: Variant, tmp_path: Path
) -> None:
    long = Workload(name="long", prompt_tokens=250, output_tokens=7)
    planned = plan_cells(experiment.model_copy(update={"workloads": (long,)}), open_campaign(tmp_path, "e"))
    assert {p.reason for p in planned} == {"long needs 257 tokens of context, and there are 256"}


def test_an_estimate_counts_launches_and_cells(experiment: Experiment, tmp_path: Path) -> None:
    takes = estimate(plan_cells(experiment, open_campaign(tmp_path, "e")), experiment.load_plan)
    points = 1 + 8 + 5  # synchronous, concurrency 2 to 256, four open-loop rates and one past the ceiling
    assert takes.cells == 2
    assert takes.seconds == 2 * 1.5 * 3 * (points + 2) + 2 * 5
    assert takes.gpu_hours == 0
    assert takes.most_seconds == takes.seconds


def test_limits_to_certify_may_take_each_rate_below_the_ceiling_its_longest(
    experiment: Experiment, tmp_path: Path
) -> None:
    plan = LoadPlan(min_seconds=2, max_seconds=20, open_loop=OpenLoopPoints(fractions=(0.4, 0.9, 1.1)))
    cells = plan_cells(experiment, open_campaign(tmp_path, "e"))
    takes = estimate(cells, plan, slos=1)
    assert takes.most_seconds - takes.seconds == 2 * 2 * (20 - 3)  # cells, rates, and what is counted already
    searched = plan.model_copy(update={"capacity": CapacitySearch()})
    assert estimate(cells, searched, slos=1).most_seconds == estimate(cells, searched).seconds


def hold(root: str, entered: "multiprocessing.synchronize.Event", leave: "multiprocessing.synchronize.Event") -> None:
    with measuring_alone(Home(Path(root)), print):
        entered.set()
        leave.wait(30)


def test_two_at_once_wait_for_one_another_and_say_so(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    entered, leave = context.Event(), context.Event()
    other = context.Process(target=hold, args=(str(tmp_path), entered, leave))
    other.start()
    assert entered.wait(30)
    said: list[str] = []

    def hear(text: str) -> None:
        said.append(text)
        leave.set()

    with measuring_alone(Home(tmp_path), hear):
        other.join()
    assert said == [f"another dyno measures here (process {other.pid}): waiting until it is done; Ctrl-C to stop"]


def test_a_tracking_address_is_shown_without_its_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@tracking.example/path")
    assert Home(tmp_path).shown_tracking_uri == "https://tracking.example/path"
    assert Home(tmp_path).tracking_uri == "https://me:secret@tracking.example/path"
