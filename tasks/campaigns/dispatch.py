"""One variant on its way through a pool: which run of it is the present one, and what its state asks for. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from experiments.schema.base import content_id
from experiments.schema.order import ExperimentOrder, VariantOrder
from tasks.campaigns.placement import ANY

PENDING_LIMIT_S = 600.0
"""A worker that took a run and did not start it in this time is gone: no heartbeat of the run was ever sent."""

PROCESS_LIMIT_S = 180.0
"""The same where nothing but a process is started."""

OFFER_LIMIT_S = 60.0
"""So long a run waits for the host that it was offered to, while another one has nothing to do."""

GONE = ("CRASHED", "CANCELLED", "FAILED")
"""Final states of a run that leave a variant without a result, unless MLflow has one."""

Step = Literal["wait", "done", "again", "offer", "lost"]


@dataclass(frozen=True, slots=True)
class Dispatch:
    """A variant, the host that it is offered to (ANY: whoever is free), and its present run. `attempt` counts the runs
    that were ever made of it, from 1; `tries` those of this invocation."""

    order: VariantOrder
    asked: str
    host: str = ANY
    attempt: int = 1
    tries: int = 1
    run_id: str = ""

    @property
    def key(self) -> str:
        """Prefect makes one run of a key: whoever asks again, after a crash of its own, gets the same."""
        return f"{self.asked}-{self.attempt}"

    def past(self) -> "Dispatch":
        """Behind a run that ended without a result before this invocation began."""
        return replace(self, attempt=self.attempt + 1)

    def offered(self) -> "Dispatch":
        """To whoever is free, for the host that it was for is busy; none of its tries is spent."""
        return replace(self, attempt=self.attempt + 1, host=ANY, run_id="")

    def again(self) -> "Dispatch":
        """Elsewhere: whoever is free."""
        return replace(self, attempt=self.attempt + 1, tries=self.tries + 1, host=ANY, run_id="")


def asked_id(run: ExperimentOrder, order: VariantOrder, before: Sequence[str]) -> str:
    """Identity of one measurement that is asked for. `before` are the ends of the results that it is to replace, ""
    where there is none: a retry of the same failure is the same, one of a later failure is not."""
    cells = [cell.cell_id for cell in order.cells]
    return f"{run.experiment}-{run.campaign}-{order.variant.id}-{content_id(cells, list(before))}"


def next_step(
    state: str, *, seconds_in_state: float, host_is_there: bool, tries_left: int, others_idle: bool = False
) -> Step:
    """What Prefect's type of a state asks for. A run that has crashed lost its worker or its process, and one that
    nobody is there to start waits in vain: both are run again elsewhere, as often as there are tries. One that a person
    cancelled is not, and one that failed has said why. `others_idle`: the run was offered to one host, and others of
    the pool have nothing to do."""
    if state in ("COMPLETED", "FAILED"):
        return "done"
    if state == "CANCELLED":
        return "lost"
    if state == "CRASHED":
        return "again" if tries_left else "lost"
    if state == "SCHEDULED" and host_is_there and others_idle and seconds_in_state > OFFER_LIMIT_S:
        return "offer"
    stuck = state == "PENDING" and seconds_in_state > PENDING_LIMIT_S
    abandoned = state == "SCHEDULED" and not host_is_there
    return "again" if (stuck or abandoned) and tries_left else "wait"
