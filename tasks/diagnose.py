"""A failure of a launch or of a cell gets its name: what dyno saw, beside what the engine's log says."""

from pathlib import Path
from typing import TypedDict

from engine_adapters import ADAPTERS
from experiments.errors import DynoError
from experiments.schema.failure import FailureClass
from experiments.schema.variant import Variant
from tasks.serve import is_there_already
from tasks.serving.failure import classify, excerpt
from tasks.serving.guarded import read_log


class Diagnosis(TypedDict):
    """As Ledger.failure takes it. `log_excerpt` is empty where there is no log to read."""

    failure_class: FailureClass
    log_excerpt: str


def diagnose(error: Exception, variant: Variant, log_file: Path) -> Diagnosis:
    """`log_file` is the log of the launch's server, where one was started; else what the error brought is read."""
    brought = error.log_excerpt if isinstance(error, DynoError) else ""
    log = brought if is_there_already(variant) else read_log(log_file) or brought
    status = error.exit_status if isinstance(error, DynoError) else None
    oom_killed = isinstance(error, DynoError) and error.oom_killed
    failure = classify(error, log, status, oom_killed, ADAPTERS[variant.engine].failure_patterns)
    return Diagnosis(failure_class=failure.failure_class, log_excerpt=excerpt(log, failure.line))
