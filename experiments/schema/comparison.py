"""The vocabulary of comparisons: what comparison.json holds. Data only; the statistics live in tasks/analysis."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from experiments.schema.base import Spec
from experiments.schema.failure import FailureClass
from experiments.schema.load import LoadPlan
from experiments.schema.order import CellOrder
from experiments.schema.result import PointResult
from experiments.schema.slo import SLO
from experiments.schema.variant import Variant

Arm = Literal["pilot", "baseline", "candidate", "canary"]
"""The canary is the baseline once more, never pooled with it: A against A must show no change."""


class ChangeVerdict(StrEnum):
    """Of one figure, or of a whole comparison; `void` where the canary saw a change that is not
    there, or where no figure could be compared: it says nothing of the candidate."""

    REGRESSED = "regressed"
    IMPROVED = "improved"
    EQUIVALENT = "equivalent"
    UNDECIDED = "undecided"
    VOID = "void"


class System(Spec):
    """What is compared with itself: `name` is the variant without its engine's version. `left_out` are the flags that
    the candidate lacks, where their effect is asked for; `has_canary` is whether its baseline is launched as its own
    rival, where the comparison has canaries at all."""

    name: str
    baseline: Variant
    candidate: Variant
    cells: tuple[CellOrder, ...]
    left_out: tuple[str, ...] = ()
    has_canary: bool = True


class ComparisonOrder(Spec):
    """One comparison, whole in itself. `looks` are the launches a side at which it is judged; `margin` the smallest
    relative change that matters, until the machine's own canaries tell; `canary` whether the baseline is launched as
    its own rival too."""

    model_config = ConfigDict(**Spec.model_config, populate_by_name=True, serialize_by_alias=True)

    id: str
    engine: str
    from_version: str = Field(alias="from")
    to_version: str = Field(alias="to")
    experiment: str
    home: str = Field(description="the store's folder")
    systems: tuple[System, ...]
    load_plan: LoadPlan = LoadPlan()
    slos: tuple[SLO, ...] = ()
    seed: int = 0
    looks: tuple[int, ...] = (4, 6, 8)
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.03
    canary: bool = True
    budget_s: Annotated[float, Field(gt=0)] | None = Field(default=None, description="no new launch is made after it")


class LaunchResult(Spec):
    """One launch of one arm, in the order in which they were made, counted from 1 over the comparison. In a
    `round`, from 0, each arm has one; both sides of a round get the same prompts.

    `system` names what is compared with itself: the variant without its engine's version. `points` holds by workload
    name what was measured; `start_s` the seconds of the phases of its start; `gpus` how many the server takes. One
    that failed has the stage, the class, the cause and the lines that tell it instead.
    """

    number: int
    round: int
    arm: Arm
    system: str
    variant: Variant
    points: dict[str, tuple[PointResult, ...]] = Field(default_factory=dict)
    start_s: dict[str, float] = Field(default_factory=dict)
    gpus: int = 0
    provenance: dict[str, Any] = Field(default_factory=dict)
    failure_class: FailureClass | None = None
    stage: str = ""
    cause: str = ""
    log_excerpt: str = ""
    started_at: str = ""
    ended_at: str = ""


class FigureChange(Spec):
    """One figure of one system on one workload at one load. `change` is relative, of the geometric means of the
    launches; `interval` holds its bounds at confidence `level`; `margin` is the smallest change that matters; `q` the
    false discovery rate at which the change would be called real. `launches` is the smaller side's number."""

    system: str
    workload: str
    at: str
    metric: str
    higher_is_better: bool
    verdict: ChangeVerdict
    margin: float
    change: float | None = None
    interval: tuple[float, float] | None = None
    level: float | None = None
    p: float | None = None
    q: float | None = None
    launches: int = 0
    reason: str = ""
    baseline: tuple[float, ...] = ()
    candidate: tuple[float, ...] = ()


class CanaryResult(Spec):
    """The baseline against itself, on launches of its own between the others."""

    broken: bool = False
    figures: tuple[FigureChange, ...] = ()


class FlagEffect(Spec):
    """What a group of flags brings to one system: the changes when it is left out, and what they say of it. Of flags
    without which it is slower, `effect` is helps; mixed where they help one figure and hurt another."""

    flags: tuple[str, ...]
    system: str
    effect: Literal["helps", "hurts", "mixed", "none", "undecided", "void"]
    figures: tuple[FigureChange, ...] = ()


class ComparisonResult(Spec):
    """comparison.json. `from` and `to` are the engine's versions; `looks` the launches a side at which it was judged,
    with the share of q that each spent; `notes` say what else a reader must know of how it was made."""

    model_config = ConfigDict(**Spec.model_config, populate_by_name=True, serialize_by_alias=True)

    id: str
    engine: str
    from_version: str = Field(alias="from")
    to_version: str = Field(alias="to")
    experiment: str
    method_version: str
    verdict: ChangeVerdict
    reason: str = ""
    looks: tuple[dict[str, float], ...] = ()
    cells: tuple[FigureChange, ...] = ()
    canary: CanaryResult = CanaryResult()
    launches: tuple[LaunchResult, ...] = ()
    notes: tuple[str, ...] = ()
    started_at: str = ""
    ended_at: str = ""
    mlflow_run_id: str = ""
