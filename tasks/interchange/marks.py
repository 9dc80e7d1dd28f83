"""What our exports add, in places that the formats leave free: an export read again is the trial that it was."""

import json

from pydantic import TypeAdapter, ValidationError

from experiments.schema.load import Load
from tasks.loadgen.record import Outcome

LOAD = "dyno_load"
"""The load as JSON text: neither format can say gamma arrivals, a trace or a think time."""

DUE = "dyno_queue_times"
DUE_IS_TOLD = "start_times less queue_times are the due times"
"""vLLM's own queue_times start when its client got round to a request, not when the request was due."""

_LOAD: TypeAdapter[Load] = TypeAdapter(Load)


def load_mark(load: Load) -> str:
    """To stand under LOAD."""
    return json.dumps(load.model_dump(mode="json"))


def marked_load(text: str | None) -> Load | None:
    """None where the mark is absent, or is not ours."""
    try:
        return _LOAD.validate_json(text) if text else None
    except ValidationError:
        return None


def error_text(outcome: str, error: str | None) -> str:
    """How a request ended, for the one field that vLLM has for it; empty for a completed one."""
    return "" if outcome == Outcome.COMPLETED else f"{outcome}: {error or 'no reason told'}"


def outcome_of(text: str, *, is_ours: bool) -> tuple[Outcome, str]:
    """The outcome and the error again. In a file of vLLM's own every error is just a failure."""
    kind, _, error = text.partition(": ")
    if is_ours and kind in set(Outcome):
        return Outcome(kind), error
    return Outcome.FAILED, text
