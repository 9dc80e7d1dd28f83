"""The vocabulary of replays: what replay.json holds. Data only; the statistics live in tasks/analysis."""

from typing import Any, Literal

from pydantic import Field

from experiments.schema.base import Spec
from experiments.schema.comparison import LaunchResult
from experiments.schema.result import CellResult

ReplayVerdict = Literal["reproduced", "not reproduced", "undecided"]


class ReplayOrder(Spec):
    """One replay, whole in itself: the cell as it was measured, and whether it is replayed on another system
    `anyway`."""

    id: str
    home: str = Field(description="the store's folder")
    cell: CellResult
    anyway: bool = False


class ReplayFigure(Spec):
    """One figure at one load, `at`. `stored` is what was measured (of several launches the geometric mean), `interval`
    where another launch of the same system is to come out, `replayed` where it did. `reproduced` is None where there is
    nothing to hold against one another; `reason` says why."""

    metric: str
    at: str
    stored: float
    interval: tuple[float, float] | None = None
    replayed: float | None = None
    reproduced: bool | None = None
    reason: str = ""


class Difference(Spec):
    """What is not as it was; `is_another_system` where that alone may change the figures by more than chance."""

    what: str
    stored: Any
    now: Any
    is_another_system: bool = False


class ReplayResult(Spec):
    """replay.json. `level` is the confidence of each interval: so high that all of them hold together at 95 %."""

    id: str
    cell_id: str
    experiment: str
    verdict: ReplayVerdict
    reason: str
    level: float | None = None
    stored_launches: int = 1
    basis: str = ""
    figures: tuple[ReplayFigure, ...] = ()
    differences: tuple[Difference, ...] = ()
    launch: LaunchResult
    started_at: str = ""
    ended_at: str = ""
