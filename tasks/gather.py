"""Stage: what a worker with a store of its own measured arrives here, through MLflow and nothing else."""

import contextlib
import shutil
import tempfile
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from experiments.schema.result import CellResult
from tasks.campaigns.campaign import Campaign
from tasks.campaigns.home import Home
from tasks.track import tracking_store


@task(name="gather", task_run_name="gather {cell_id}", cache_policy=NO_CACHE)
def gather(cell_id: str, campaign: Campaign, home: Home, before: str) -> CellResult | None:
    """The cell's result, as a task of a flow; see gathered."""
    return gathered(cell_id, campaign, home, before)


def gathered(cell_id: str, campaign: Campaign, home: Home, before: str) -> CellResult | None:
    """The cell's result, newer than the one that ended at `before` ("" where there was none): from this store where the
    worker shares it, else from MLflow, with its records. None where it did not arrive. Raises PublishError."""
    here = campaign.result(cell_id)
    if here is not None and here.ended_at != before and here.mlflow_run_id:
        return here
    home.make()
    with tempfile.TemporaryDirectory(dir=home.root, prefix="gather-") as folder:
        found = tracking_store(home).fetch_cell(
            campaign.experiment, campaign=campaign.name, cell_id=cell_id, folder=Path(folder)
        )
        if found is None or found.ended_at == before:
            return None
        _keep_records(Path(folder), campaign, found)
    campaign.save(found)
    return found


def _keep_records(folder: Path, campaign: Campaign, result: CellResult) -> None:
    """To where a measurement of this store would have them."""
    for path in folder.glob("points/launch-*"):
        launch = int(path.name.rpartition("-")[2])
        shutil.copytree(path, campaign.launch_folder(result.cell_id, launch), dirs_exist_ok=True)
    if (folder / "quality").is_dir():
        shutil.copytree(folder / "quality", campaign.quality_folder(result.variant.id), dirs_exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        shutil.copyfile(folder / "server.log", campaign.server_log(result.variant.id, result.launch))
