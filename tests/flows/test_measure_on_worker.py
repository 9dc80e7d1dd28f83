"""What a worker measured while MLflow was away reaches it by itself."""

from pathlib import Path

import pytest

from experiments.errors import PublishError
from flows import measure_on_worker
from tasks.campaigns.home import Home


@pytest.mark.parametrize(("failures", "tries"), [(0, 1), (2, 3), (9, 4)])
def test_mlflow_is_told_as_soon_as_it_is_there_and_left_alone_after_a_while(
    failures: int, tries: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, str]] = []

    def sync(_home: Home, parents: dict[str, str]) -> int:
        told.append(parents)
        if len(told) <= failures:
            raise PublishError("away")
        return 1

    monkeypatch.setattr(measure_on_worker, "sync", sync)
    measure_on_worker.tell_mlflow(Home(tmp_path), {"e-1": "run"}, pauses_s=(0.0, 0.0, 0.0, 0.0))
    assert told == [{"e-1": "run"}] * tries
