"""Trials of a few requests against the reference server, as the tests of the wire want them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine_adapters.base import RequestDialect
from experiments.schema.load import ClosedLoop, Constant, OpenLoop, StopRule
from experiments.schema.workload import Workload
from tasks.loadgen.plan import Endpoint, Progress, TrialPlan, TrialRecords
from tasks.loadgen.pool import Pool
from tasks.loadgen.preflight import Preflight
from tasks.loadgen.record import read_records
from tasks.loadgen.trial import run_trial

PREFLIGHT = Preflight(token_ids=True, needs_done=True)

Row = dict[str, Any]


@dataclass
class Trial:
    """What is asked, with ordinary values for all that a test does not care for."""

    url: str
    load: OpenLoop | ClosedLoop = field(default_factory=lambda: ClosedLoop(concurrency=2))
    stop: StopRule = field(default_factory=lambda: StopRule(requests=6))
    script: Row = field(default_factory=dict)
    prompt_tokens: int = 8
    output_tokens: int = 4
    timeout_s: float = 10.0
    seed: int = 0
    processes: int = 1
    fresh_connections: bool = False
    api_key_env: str = ""

    def plan(self) -> TrialPlan:
        return TrialPlan(
            endpoint=Endpoint(self.url, "m", self.api_key_env),
            dialect=RequestDialect(body={"script": self.script}),
            workload=Workload(name="w", prompt_tokens=self.prompt_tokens, output_tokens=self.output_tokens),
            load=self.load,
            stop=self.stop,
            seed=self.seed,
            timeout_s=self.timeout_s,
            processes=self.processes,
            fresh_connections=self.fresh_connections,
        )

    def run(
        self, out_dir: Path, pool: Pool | None = None, on_progress: Callable[[Progress], None] | None = None
    ) -> tuple[TrialRecords, list[Row]]:
        records = run_trial(self.plan(), PREFLIGHT, out_dir=out_dir, on_progress=on_progress, pool=pool)
        return records, rows(records.parquet)


def rows(parquet: Path) -> list[Row]:
    found: list[Row] = read_records(parquet).to_pylist()
    return found


def constant(rate_rps: float) -> OpenLoop:
    return OpenLoop(arrivals=Constant(), rate_rps=rate_rps)


def outcomes(rows: list[Row]) -> list[str]:
    return [row["outcome"] for row in rows]


def is_alive(pid: int) -> bool:
    """A process that has ended, and that nobody has asked after, is not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
