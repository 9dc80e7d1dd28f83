"""Publishing at the end of a run tells whether MLflow took it, also where nothing was left to measure."""

from pathlib import Path

import pytest

from experiments.schema.order import ExperimentOrder
from tasks.campaigns.campaign import open_campaign
from tasks.campaigns.home import Home
from tasks.publish import publish


def published(home: Home) -> bool:
    campaign = open_campaign(home.campaigns, "e")
    campaign.folder.mkdir(parents=True)
    order = ExperimentOrder(experiment="e", campaign=1, home=str(home.root), variants=())
    return publish(order, home, campaign, [])


def test_a_broken_tracking_store_is_told_and_the_report_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 1000)
    assert not published(Home(tmp_path))
    assert (tmp_path / "campaigns/e/1/report.html").stat().st_size > 0
