"""Events that others act on: a release is there; a comparison has a verdict. Known to be with the server on return."""

from uuid import NAMESPACE_URL, UUID, uuid5

from prefect.client.orchestration import get_client
from prefect.events.filters import EventFilter, EventIDFilter
from prefect.events.schemas.events import Event, Resource

from experiments.schema.comparison import ComparisonResult

RELEASED = "dyno.engine.released"
JUDGED = "dyno.comparison"
"""Followed by the verdict: dyno.comparison.regressed, ….improved, ….equivalent, ….undecided, ….void."""


def announce_release(event_id: UUID, engine: str, version: str, previous: str) -> bool:
    """Triggers engine-release once; False where it was announced before."""
    payload = {"engine": engine, "version": version, "previous": previous}
    return _emit(event_id, RELEASED, {"prefect.resource.name": f"{engine} {version}"}, engine, payload)


def announce_verdict(result: ComparisonResult) -> bool:
    """For notifications; the payload says what a person asks first."""
    payload = {
        "engine": result.engine,
        "from": result.from_version,
        "to": result.to_version,
        "experiment": result.experiment,
        "verdict": result.verdict.value,
        "reason": result.reason,
        "comparison": result.id,
        "mlflow_run_id": result.mlflow_run_id,
    }
    event_id = uuid5(NAMESPACE_URL, f"llm-dyno:comparison:{result.id}:{result.ended_at}")
    return _emit(event_id, f"{JUDGED}.{result.verdict.value}", {}, result.engine, payload)


def _emit(event_id: UUID, name: str, labels: dict[str, str], engine: str, payload: dict[str, str]) -> bool:
    """Posted, not queued: what a queue holds dies with its process. The server drops an id that it has just had, and is
    asked for one that it had longer ago."""
    with get_client(sync_client=True) as client:
        if client.read_events(EventFilter(id=EventIDFilter(id=[event_id])), limit=1).events:
            return False
        resource = Resource({"prefect.resource.id": f"dyno.engine.{engine}", **labels})
        event = Event(id=event_id, event=name, resource=resource, payload=payload)
        client.request("POST", "/events", json=[event.model_dump(mode="json")]).raise_for_status()
    return True
