"""Prefect automations of a fleet: runs whose worker died, comparisons that go on after it, and news of a regression."""

from datetime import timedelta
from typing import Literal
from uuid import UUID

from prefect.automations import (
    AutomationCore,
    ChangeFlowRunState,
    EventTrigger,
    Posture,
    ResourceSpecification,
    SendNotification,
)
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType

from experiments.schema.requests import CONTROL_POOL, MEASURING_POOL
from flows.announcing import JUDGED
from flows.fleet import TAG
from tasks.campaigns.dispatch import PROCESS_LIMIT_S

ZOMBIES = "dyno: a run whose worker died has crashed"
GO_ON = "dyno: a comparison or matrix whose worker died goes on"
NEVER_BEGUN = "dyno: a run that its worker never began is scheduled again"
IN_VAIN = "dyno: a comparison or matrix that crashed before it ran is scheduled again"
THOSE_THAT_GO_ON = ["engine-release", "full-matrix"]
"""Flows that, run again, find what they launched or sent."""

REGRESSIONS = "dyno: tell of a regression"
SILENT = timedelta(seconds=120)
"""Four of the heartbeats that prefect.yaml asks for."""

NOT_BEGUN = timedelta(seconds=PROCESS_LIMIT_S)

Change = Literal["made", "changed", "unchanged"]


def automations(notification_block: UUID | None) -> list[AutomationCore]:
    """Those of a fleet; that of a regression where there is a block to send it by."""
    found = [zombies(), goes_on(), never_begun(), begun_in_vain()]
    return found + ([regression(notification_block)] if notification_block is not None else [])


def zombies() -> AutomationCore:
    """Of a worker that was killed nobody says that its run has ended; only heartbeats that no longer come tell. Runs
    that are not of our deployments are left alone: they may send theirs more rarely."""
    return AutomationCore(
        name=ZOMBIES,
        description="A run that has sent heartbeats and is silent for two minutes is marked as crashed.",
        trigger=_silence({"heartbeat"}, {"role": "tag", "id": f"prefect.tag.{TAG}"}, SILENT),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message="its heartbeats have stopped: its worker died")],
    )


def _silence(after: set[str], related: dict[str, str | list[str]], within: timedelta, **labels: str) -> EventTrigger:
    """Of a run with these labels, and something related to it: nothing is heard any more after one of these events."""
    return EventTrigger(
        after={f"prefect.flow-run.{name}" for name in after},
        expect={"prefect.flow-run.*"},
        match=ResourceSpecification(
            {"prefect.resource.id": ["prefect.flow-run.*"]}
            | {f"prefect.{name.replace('_', '-')}": value for name, value in labels.items()}
        ),
        match_related=ResourceSpecification({f"prefect.resource.{name}": value for name, value in related.items()}),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=within,
    )


def goes_on() -> AutomationCore:
    """Once: what was launched or sent is kept, and where its own launches kill the worker a second time would too."""
    return AutomationCore(
        name=GO_ON,
        description="A comparison or a matrix that crashed is scheduled again, once; it goes on where it was.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Crashed"},
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*", "prefect.run-count": "1"}),
            match_related=ResourceSpecification(
                {"prefect.resource.role": "flow", "prefect.resource.name": THOSE_THAT_GO_ON}
            ),
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[_scheduled_again()],
    )


def never_begun() -> AutomationCore:
    """A worker that dies between taking a run and starting it tells nobody, and no heartbeat was ever sent. In other
    pools than our two a start may take long: of a container its image is fetched."""
    pools = [MEASURING_POOL, CONTROL_POOL]
    taken = {"Pending", "Submitting", "InfrastructurePending"}
    return AutomationCore(
        name=NEVER_BEGUN,
        description="A run that a worker took, and that does not begin within minutes, is scheduled again.",
        trigger=_silence(taken, {"role": "work-pool", "name": pools}, NOT_BEGUN),
        actions=[_scheduled_again()],
    )


def begun_in_vain() -> AutomationCore:
    """The process of a run ends at once where Prefect's server is away as it starts: Prefect counts no run then."""
    return AutomationCore(
        name=IN_VAIN,
        description="A comparison or a matrix that crashed before it ran is scheduled again after two minutes.",
        trigger=_silence({"Crashed"}, {"role": "flow", "name": THOSE_THAT_GO_ON}, SILENT, run_count="0"),
        actions=[_scheduled_again()],
    )


def _scheduled_again() -> ChangeFlowRunState:
    return ChangeFlowRunState(state=StateType.SCHEDULED, name="AwaitingRetry", force=True)


def regression(block: UUID) -> AutomationCore:
    """The template: the words of the message are rendered from the event of the verdict."""
    return AutomationCore(
        name=REGRESSIONS,
        description="Sends a notification when a comparison finds that a release has regressed.",
        trigger=EventTrigger(
            expect={f"{JUDGED}.regressed"},
            match=ResourceSpecification({"prefect.resource.id": "dyno.engine.*"}),
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            SendNotification(
                block_document_id=block,
                subject="{{ event.payload.engine }} {{ event.payload.to }} regressed",
                body="{{ event.payload.engine }} {{ event.payload.from }} to {{ event.payload.to }} on "
                "{{ event.payload.experiment }}: {{ event.payload.reason }}. "
                "Comparison {{ event.payload.comparison }}, MLflow run {{ event.payload.mlflow_run_id }}.",
            )
        ],
    )


def registered(client: SyncPrefectClient, wanted: AutomationCore) -> Change:
    """By name; what is there and the same is not touched, for a trigger that is written anew forgets what it saw."""
    there = client.read_automations_by_name(wanted.name)
    if not there:
        client.create_automation(wanted)
        return "made"
    if _same(there[0], wanted):
        return "unchanged"
    client.update_automation(there[0].id, wanted.model_copy(update={"enabled": there[0].enabled}))
    return "changed"


def _same(there: AutomationCore, wanted: AutomationCore) -> bool:
    """Whether it is enabled is a person's choice. As JSON, the sets of a trigger would come in any order."""
    ours = {"name", "description", "trigger", "actions"}
    return there.model_dump(include=ours) == wanted.model_dump(include=ours)
