"""The five searches of the README find what they say, and nothing else."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from experiments.schema.load import ClosedLoop, LoadPoint, StopRule
from experiments.schema.model import Model, SyntheticSource
from experiments.schema.result import CellResult, CellState
from experiments.schema.variant import Quantization, Variant
from experiments.schema.workload import Workload
from tasks.tracking import mlflow_store
from tasks.tracking.mlflow_store import TrackingStore

README = Path(mlflow_store.__file__).parent / "README.md"
SEARCHES = re.findall(r"```mlflow\n(.*?)\n```", README.read_text(encoding="utf-8"), re.DOTALL)
DOLLY = {"kind": "dataset", "repo": "databricks/databricks-dolly-15k"}
DATA = {"prompt_tokens": {"kind": "data", "max": 1024}, "output_tokens": {"kind": "data", "max": 1024}}


def variant(engine: str = "vllm", version: str = "0.33.0", **changes: Any) -> Variant:
    model = Model(name="llama-3.1-8b-instruct", source=SyntheticSource(kind="synthetic"))
    fields = {"quantization": Quantization.BF16, "hardware": "h100-sxm"} | changes
    return Variant(engine=engine, engine_version=version, model=model, **fields)


@pytest.fixture
def searched(store: TrackingStore, cell: Callable[..., CellResult]) -> Callable[[str], set[str]]:
    """The ids of the cells that a search finds."""
    asked = Workload(name="in1024-out128", prompt_tokens=1024, output_tokens=128)
    users = [
        cell()
        .points[0]
        .model_copy(
            update={"point": LoadPoint(step=0, role="ladder", load=ClosedLoop(concurrency=n), stop=StopRule(seconds=9))}
        )
        for n in (10, 50, 100)
    ]
    chat = {"name": "dolly", "endpoint": "chat", "prompts": DOLLY, **DATA}
    led = Workload.model_validate({**chat, "cache": "shared", "system_prompt": "Be brief."})
    none: dict[str, Any] = {"headlines": {}, "capacities": ()}
    variants: dict[str, dict[str, Any]] = {
        "old": {"variant": variant(version="0.32.0"), "workload": asked, "grade": "B"},
        "new": {"variant": variant(), "workload": asked},
        "elder": {"variant": variant(version="0.9.2"), "workload": asked, "grade": "C", **none},
        "other": {"variant": variant("sglang", "0.6.0"), "workload": asked, "grade": "B"},
        "big": {"variant": variant(hardware="l4"), "state": CellState.FAILED, "failure_class": "out_of_memory",
                "grade": None, "points": (), **none},
        "led": {"variant": variant(hardware="a100"), "workload": led, "points": tuple(users), **none},
        "bare": {"variant": variant(hardware="a100"), "workload": Workload.model_validate(chat),
                 "points": tuple(users), **none},
    }  # fmt: skip
    for name, changes in variants.items():
        store.publish_cell(cell(cell_id=name, **changes))
    client = MlflowClient(tracking_uri=store.uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return lambda query: {run.data.tags["dyno.cell_id"] for run in client.search_runs(experiments, query)}


def test_each_search_finds_its_cells(searched: Callable[[str], set[str]]) -> None:
    assert [searched(search) for search in SEARCHES] == [
        {"old", "new"},
        {"old", "new", "other"},
        {"big"},
        {"new"},
        {"led"},
    ]
    assert searched(SEARCHES[4].replace("'yes'", "'no'")) == {"bare"}
