"""What a flow is told to do: the parameters of runs and deployments, whole in themselves."""

from pydantic import Field

from experiments.schema.base import Spec
from experiments.schema.cold_start import ColdStartPlan
from experiments.schema.load import LoadPlan
from experiments.schema.quality import QualityPlan
from experiments.schema.slo import SLO
from experiments.schema.variant import Variant
from experiments.schema.workload import Workload


class CellOrder(Spec):
    """One cell to measure."""

    cell_id: str = Field(description="identity of variant × workload × load plan")
    workload: Workload


class VariantOrder(Spec):
    """One variant and the cells of it that are to be measured, on launches of its server."""

    variant: Variant
    cells: tuple[CellOrder, ...]


class ExperimentOrder(Spec):
    """One invocation: what of an experiment is measured, in which campaign, and which cells are kept from before."""

    experiment: str = Field(description="name of the experiment: the stem of its file")
    description: str = ""
    campaign: int = Field(description="number of the campaign that the results belong to", ge=1)
    home: str = Field(description="the store's folder")
    variants: tuple[VariantOrder, ...] = Field(description="what is measured")
    kept: tuple[str, ...] = Field(default=(), description="ids of the cells kept from before")
    load_plan: LoadPlan = LoadPlan()
    slos: tuple[SLO, ...] = ()
    quality: QualityPlan | None = None
    cold_start: ColdStartPlan | None = None
    seed: int = 0
    invocation_run_id: str = Field(default="", description="MLflow run that the cells' runs belong to")
