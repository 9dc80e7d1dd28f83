"""The account of one launch: which stage runs, how long each took, on what; and the results that come of it."""

import contextlib
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from experiments.errors import DynoError
from experiments.schema.order import CellOrder, ExperimentOrder
from experiments.schema.result import CellResult, CellState, PointResult
from experiments.schema.variant import Variant
from tasks.campaigns.campaign import Campaign


def now() -> str:
    """The date and time that a person reads, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(slots=True)
class Ledger:
    """`stage` is the one that runs, or the last one that did; `stages_s` holds the seconds of each."""

    run: ExperimentOrder
    variant: Variant
    campaign: Campaign
    launch: int
    prefect_run_id: str
    stage: str = ""
    stages_s: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    started_at: str = field(default_factory=now)

    @contextlib.contextmanager
    def during(self, stage: str) -> Iterator[None]:
        """Names the stage while the block runs, and adds its seconds to the account."""
        self.stage = stage
        started = time.monotonic()
        try:
            yield
        finally:
            self.stages_s[stage] = self.stages_s.get(stage, 0.0) + time.monotonic() - started

    def page(self) -> "Ledger":
        """For one cell: what the launch took so far, and from here on what the cell takes."""
        return replace(self, stages_s=dict(self.stages_s), started_at=now())

    def result(self, cell: CellOrder, state: CellState, **fields: Any) -> CellResult:
        """What became of a cell; `fields` are further ones of CellResult."""
        return CellResult(
            cell_id=cell.cell_id,
            experiment=self.run.experiment,
            campaign=self.campaign.name,
            launch=self.launch,
            variant=self.variant,
            workload=cell.workload,
            state=state,
            stages_s={name: round(seconds, 3) for name, seconds in self.stages_s.items()},
            provenance=self.provenance,
            started_at=self.started_at,
            ended_at=now(),
            prefect_run_id=self.prefect_run_id,
            **fields,
        )

    def failure(self, cell: CellOrder, error: Exception, points: tuple[PointResult, ...] = ()) -> CellResult:
        """Stage, cause and last lines: what a person needs to know without opening the log."""
        if isinstance(error, DynoError):
            cause, excerpt = str(error), error.log_excerpt
        else:
            cause = f"internal error, please report it: {type(error).__name__}: {error}"
            excerpt = "".join(traceback.format_exception(error)[-6:])
        stage = (error.stage if isinstance(error, DynoError) else "") or self.stage
        known = error.failure_class if isinstance(error, DynoError) else None
        fields = {"stage": stage, "cause": cause, "failure_class": known, "log_excerpt": excerpt, "points": points}
        return self.result(cell, CellState.FAILED, **fields)
