"""A workload as an MLflow dataset: the input of every run that asked it. Pure."""

import json
from dataclasses import dataclass

from experiments.redaction import redacted
from experiments.schema.base import content_id
from experiments.schema.facets import dataset_name, workload_facets
from experiments.schema.prompts import Dataset
from experiments.schema.result import CellResult

CONTEXT = "load"


@dataclass(frozen=True, slots=True)
class Input:
    """What MLflow's Dataset takes. Equal workloads have equal digests, whatever their names."""

    name: str
    digest: str
    source_type: str
    source: str
    profile: str


def workload_input(cell: CellResult) -> Input:
    """The prompts: of the hub, of a file, or made by this program from a seed."""
    workload = cell.workload
    prompts = workload.prompts
    asked = redacted(workload.model_dump(mode="json"))
    return Input(
        name=workload.name,
        digest=content_id(workload.identity()),
        source_type="hf" if isinstance(prompts, Dataset) and prompts.repo else "code",
        source=json.dumps({"path": dataset_name(workload), "workload": asked}, ensure_ascii=False),
        profile=json.dumps(workload_facets(workload), ensure_ascii=False),
    )
