"""Whole trials of a workload against the fake engine: what was sent, what was recorded, what the summary says."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine_adapters.base import RequestDialect
from experiments.schema.load import ClosedLoop, Load, LoadPoint, StopRule
from experiments.schema.result import TrialSummary
from experiments.schema.workload import Workload
from tasks.load_point import measure_point
from tasks.loadgen.plan import Endpoint, TrialPlan
from tasks.loadgen.pool import Pool
from tasks.loadgen.preflight import Preflight, run_preflight
from tasks.loadgen.record import read_records
from tests.fake_engine import FakeEngine, Seen

Row = dict[str, Any]
OF_TIMES = ("client ", "the busiest client", "receive times", "throughput drifted", "the window of", "the clock")


@dataclass(frozen=True)
class Done:
    """`sent` are the bodies of the trial's own requests, without pre-flight and what fills the cache."""

    summary: TrialSummary
    rows: list[Row]
    preflight: Preflight
    sent: list[Row]
    before: list[Seen]
    plan: TrialPlan

    @property
    def complaints(self) -> list[str]:
        """What is invalid of what was asked and answered; what a busy machine does to times is left out."""
        told = self.summary.invalid_reasons
        return [reason for reason in told if not reason.startswith(OF_TIMES) and "share a stamp" not in reason]


def workload(**fields: Any) -> Workload:
    return Workload.model_validate({"name": "w", "prompt_tokens": 40, "output_tokens": 4} | fields)


def carry_out(
    engine: FakeEngine,
    folder: Path,
    asked: Workload,
    *,
    script: str = "",
    requests: int = 12,
    load: Load | None = None,
    dialect: RequestDialect | None = None,
    pool: Pool | None = None,
    **plan: Any,
) -> Done:
    """Pre-flight, trial, statistics."""
    load = load or ClosedLoop(concurrency=2)
    stop = plan.pop("stop", StopRule(requests=requests))
    trial = TrialPlan(
        endpoint=Endpoint(engine.url, f"fake:{script}"),
        dialect=dialect or RequestDialect(),
        workload=asked,
        load=load,
        stop=stop,
        **{"seed": 5, "processes": 1, "timeout_s": 10.0} | plan,
    )
    preflight = run_preflight(trial)
    point = LoadPoint(step=0, role="saturation", load=load, stop=stop)
    summary = measure_point(point, trial, preflight, folder, (), pool).summary
    rows = read_records(folder / "requests.parquet").to_pylist()
    own, before = engine.generations[-len(rows) :], engine.generations[: -len(rows)]
    return Done(summary, rows, preflight, [seen.body for seen in own], before, trial)


def prompt_of(body: Row) -> list[Any]:
    """Ids, or words of all messages in their order."""
    if "messages" in body:
        return " ".join(message["content"] for message in body["messages"]).split()
    prompt = body["prompt"]
    return list(prompt) if isinstance(prompt, list) else str(prompt).split()


def common(one: list[Any], other: list[Any]) -> int:
    """How many tokens two prompts begin with alike."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
