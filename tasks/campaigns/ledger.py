"""The account of one launch: which stage runs, how long each took, on what; and the results that come of it."""

import contextlib
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from errno import EDQUOT, ENOSPC
from typing import Any

from experiments.errors import DynoError, SetupError
from experiments.schema.failure import FailureClass
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
            load_plan=self.run.load_plan,
            slos=self.run.slos,
            seed=self.run.seed,
            **fields,
        )

    def failure(
        self,
        cell: CellOrder,
        error: Exception,
        points: tuple[PointResult, ...] = (),
        *,
        failure_class: FailureClass = FailureClass.UNKNOWN,
        log_excerpt: str = "",
    ) -> CellResult:
        """Class, stage, cause and the lines that tell it: what a person needs to know without opening the log."""
        said = log_excerpt or (error.log_excerpt if isinstance(error, DynoError) else "")
        if not isinstance(error, DynoError | OSError):
            said = said or "".join(traceback.format_exception(error)[-6:])
        return self.result(
            cell,
            CellState.FAILED,
            stage=self._stage_of(error),
            cause=_cause(error),
            failure_class=failure_class,
            log_excerpt=said,
            points=points,
        )

    def _stage_of(self, error: Exception) -> str:
        """A setup error knows its stage better than the flow; what fails while measuring fails where the flow is."""
        told = error.stage if isinstance(error, DynoError) else ""
        return (told or self.stage) if isinstance(error, SetupError) else (self.stage or told)


def _cause(error: Exception) -> str:
    if isinstance(error, DynoError):
        return str(error)
    if isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT):
        return f"{error.filename or 'the disk'}: {error.strerror}"
    return f"internal error, please report it: {type(error).__name__}: {error}"
