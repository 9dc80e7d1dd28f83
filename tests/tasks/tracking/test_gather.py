"""What one host measured arrives in the store of another, through MLflow alone."""

from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.schema.result import CellResult, CellState
from tasks.campaigns.campaign import Campaign
from tasks.campaigns.home import Home
from tasks.gather import gathered
from tasks.tracking.mlflow_store import TrackingStore

MakeCell = Callable[..., CellResult]


@pytest.fixture
def here(tmp_path: Path, store: TrackingStore, monkeypatch: pytest.MonkeyPatch) -> Home:
    """The store that gathers."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    return Home(tmp_path / "here")


def campaign_in(home: Home) -> Campaign:
    return Campaign("quickstart", home.campaigns / "quickstart" / "1")


def records(folder: Path) -> dict[str, Path]:
    """As a worker publishes them: the latest launch, one before it, and what the server said."""
    for name in ("launch-2/00-sync", "launch-1/00-sync"):
        (folder / name).mkdir(parents=True)
        (folder / name / "requests.parquet").write_bytes(name.encode())
    (folder / "server.log").write_text("loading\nready\n")
    found = {"points/launch-2": "launch-2", "points/launch-1": "launch-1", "server.log": "server.log"}
    return {name: folder / path for name, path in found.items()}


def test_a_result_arrives_with_its_records_where_a_measurement_here_would_have_them(
    here: Home, store: TrackingStore, cell: MakeCell, tmp_path: Path
) -> None:
    measured = cell(launch=2)
    run_id = store.publish_cell(measured, files=records(tmp_path / "worker"))
    found = gathered(measured.cell_id, campaign_in(here), here, "")
    assert found is not None
    assert (found.mlflow_run_id, found.headlines, found.points) == (run_id, measured.headlines, measured.points)
    assert campaign_in(here).result(measured.cell_id) == found
    for launch in (1, 2):
        file = campaign_in(here).launch_folder(measured.cell_id, launch) / "00-sync" / "requests.parquet"
        assert file.read_bytes() == f"launch-{launch}/00-sync".encode()
    assert campaign_in(here).server_log(found.variant.id, 2).read_text() == "loading\nready\n"
    assert not list(here.root.glob("gather-*")), "nothing half is left"


def test_the_result_that_is_to_be_replaced_does_not_count_as_arrived(
    here: Home, store: TrackingStore, cell: MakeCell
) -> None:
    failed = cell(state=CellState.FAILED, ended_at="2026-11-21T10:05:00+00:00")
    store.publish_cell(failed)
    assert gathered(failed.cell_id, campaign_in(here), here, failed.ended_at) is None
    again = cell(launch=2, ended_at="2026-11-21T11:05:00+00:00")
    store.publish_cell(again)
    found = gathered(failed.cell_id, campaign_in(here), here, failed.ended_at)
    assert found is not None
    assert (found.state, found.launch) == (CellState.MEASURED, 2)


def test_a_cell_of_another_campaign_or_one_that_nobody_published_does_not_arrive(
    here: Home, store: TrackingStore, cell: MakeCell
) -> None:
    assert gathered("c0ffee123456", campaign_in(here), here, "") is None
    store.publish_cell(cell(campaign="quickstart-2"))
    assert gathered("c0ffee123456", campaign_in(here), here, "") is None


def test_what_was_measured_is_known_by_release_on_whatever_host(store: TrackingStore, cell: MakeCell) -> None:
    assert store.measured_versions("quickstart", "llama_cpp") == frozenset()
    store.publish_cell(cell())
    failed = cell().variant.model_copy(update={"engine_version": "0.4.0"})
    store.publish_cell(cell(cell_id="f00d", variant=failed, state=CellState.FAILED))
    assert store.measured_versions("quickstart", "llama_cpp") == {"0.3.1"}
    assert store.measured_versions("quickstart", "vllm") == frozenset()
