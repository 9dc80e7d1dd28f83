"""What the instrument can offer on this machine: driven against a server that does nothing but answer on time."""

import contextlib
import os
import subprocess
import sys
import tempfile
import urllib.request
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from engine_adapters.base import RequestDialect
from experiments.errors import SetupError
from experiments.schema.load import ClosedLoop, Constant, OpenLoop, StopRule
from experiments.schema.workload import Workload
from tasks.loadgen.connection import KERNEL_STAMPS
from tasks.loadgen.payload import body_source
from tasks.loadgen.plan import Endpoint, TrialPlan, TrialRecords
from tasks.loadgen.pool import Pool, python_path
from tasks.loadgen.preflight import Preflight
from tasks.loadgen.record import read_records
from tasks.loadgen.trial import run_trial

STREAMS = (1, 64, 256, 512)
RATES_RPS = (100.0, 1000.0)
MAX_LATENESS_MS = 2.0
"""The floor of what makes a trial invalid; see measurement.md."""

_TTFT_MS = 20.0
_ITL_MS = 20.0
_TOKENS_A_STREAM = 50
_PROMPT_TOKENS = 100
_PREFLIGHT = Preflight(token_ids=True, needs_done=True)


@dataclass(frozen=True, slots=True)
class Stage:
    """One load on the null server. `streams` were kept open at 50 events/s each (closed loop), or `rate_rps` requests
    of one token sent (open loop). `delivered` is the share of that load that came about. Stamp errors are against the
    time of the null server's write. `holds`: a trial of this load would be valid."""

    streams: int | None
    rate_rps: float | None
    events_per_s: float
    delivered: float
    lateness_p50_ms: float
    lateness_p99_ms: float
    stamp_error_p50_us: float
    stamp_error_p99_us: float
    cpu_us_per_event: float | None
    cpu_share: float
    loop_delay_p99_ms: float | None
    holds: bool


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What this machine offers: the largest of what held, with the null server beside it on the same cores."""

    cores: int
    kernel_stamps: bool
    scheduling: str
    streams: int
    events_per_s: float
    rate_rps: float
    lateness_p99_ms: float | None
    stamp_error_p99_us: float | None
    stages: tuple[Stage, ...]


def run_doctor(
    *,
    streams: Sequence[int] = STREAMS,
    rates_rps: Sequence[float] = RATES_RPS,
    seconds: float = 2.0,
    processes: int | None = None,
) -> Diagnosis:
    """Takes `seconds` and a little for each stage. Raises SetupError where the null server does not start."""
    stop = StopRule(seconds=seconds)
    with Pool() as pool, tempfile.TemporaryDirectory() as folder, null_server(_TTFT_MS, _ITL_MS) as url:
        plans = [_plan(url, ClosedLoop(concurrency=n), _TOKENS_A_STREAM, stop, processes) for n in streams]
        plans += [_plan(url, OpenLoop(arrivals=Constant(), rate_rps=r), 1, stop, processes) for r in rates_rps]
        done = [_stage(plan, Path(folder), pool) for plan in plans]
    return _diagnosis([stage for stage, _ in done], done[-1][1] if done else "normal")


def rows(diagnosis: Diagnosis) -> list[dict[str, object]]:
    """The stages as plain rows, for a table or JSON."""
    return [asdict(stage) for stage in diagnosis.stages]


def _plan(
    url: str, load: ClosedLoop | OpenLoop, output_tokens: int, stop: StopRule, processes: int | None
) -> TrialPlan:
    workload = Workload(name="null", prompt_tokens=_PROMPT_TOKENS, output_tokens=output_tokens)
    return TrialPlan(Endpoint(url, "null"), RequestDialect(), workload, load, stop, timeout_s=10.0, processes=processes)


def _stage(plan: TrialPlan, folder: Path, pool: Pool) -> tuple[Stage, str]:
    records = run_trial(plan, _PREFLIGHT, out_dir=folder, pool=pool)
    table = read_records(records.parquet)
    late = (_column(table, "sent_at_ns") - _column(table, "due_at_ns")) / 1e6
    errors = stamp_errors_us(plan, table, _log(plan.endpoint.url))
    delivered, events_per_s = _delivered(plan, records, table)
    lateness_p50, lateness_p99 = _percentiles(late, 50, 99)
    error_p50, error_p99 = _percentiles(errors, 50, 99)
    client, load = records.client, plan.load
    stage = Stage(
        streams=load.concurrency if isinstance(load, ClosedLoop) else None,
        rate_rps=load.rate_rps if isinstance(load, OpenLoop) else None,
        events_per_s=events_per_s,
        delivered=delivered,
        lateness_p50_ms=lateness_p50,
        lateness_p99_ms=lateness_p99,
        stamp_error_p50_us=error_p50,
        stamp_error_p99_us=error_p99,
        cpu_us_per_event=client.cpu_us_per_event,
        cpu_share=client.cpu_share,
        loop_delay_p99_ms=client.loop_delay_p99_ms,
        holds=lateness_p99 <= MAX_LATENESS_MS and delivered >= 0.98 and not records.findings,
    )
    return stage, client.scheduling


def _delivered(plan: TrialPlan, records: TrialRecords, table: pa.Table) -> tuple[float, float]:
    """Token events of W over those that the null server's cadence makes possible; and per second."""
    at = np.asarray(pa.compute.list_flatten(table["chunk_at_ns"]).combine_chunks())
    start, end = records.window_start_ns, records.window_end_ns
    if isinstance(plan.load, OpenLoop):
        completed = sum(outcome == "completed" for outcome in table["outcome"].to_pylist())
        return completed / max(1, len(table)), len(at) / ((end - start) / 1e9)
    start += round(_TTFT_MS * 1e6) + round(plan.load.concurrency * 1e5)
    seconds = (end - start) / 1e9
    answer_s = (_TTFT_MS + _ITL_MS * (_TOKENS_A_STREAM - 1)) / 1e3
    possible_rps = plan.load.concurrency * _TOKENS_A_STREAM / answer_s
    events_per_s = float(((at >= start) & (at < end)).sum()) / seconds
    return min(1.0, events_per_s / possible_rps), events_per_s


def stamp_errors_us(plan: TrialPlan, table: pa.Table, log: dict[str, list[int]]) -> NDArray[np.float64]:
    """Recorded time less true time of each token event, in µs; requests are told by the CRC of their body."""
    source = body_source(plan, _PREFLIGHT)
    workload = plan.workload
    errors = [
        np.subtract(came, log[crc][: len(came)]) / 1e3
        for index, came in zip(table["index"].to_pylist(), table["chunk_at_ns"].to_pylist(), strict=True)
        if (crc := str(zlib.crc32(source.body(index, workload.longest_prompt_tokens, workload.longest_output_tokens))))
        in log
    ]
    return np.concatenate(errors) if errors else np.empty(0)


def _column(table: pa.Table, name: str) -> NDArray[np.float64]:
    values: NDArray[np.float64] = table[name].drop_null().to_numpy().astype(np.float64)
    return values


def _percentiles(samples: NDArray[np.float64], *percentiles: float) -> tuple[float, ...]:
    """Infinite where there is no sample: nothing was measured, and nothing holds."""
    if not len(samples):
        return tuple(float("inf") for _ in percentiles)
    return tuple(float(value) for value in np.percentile(samples, percentiles))


def _diagnosis(stages: Sequence[Stage], scheduling: str) -> Diagnosis:
    held = [stage for stage in stages if stage.holds]
    return Diagnosis(
        cores=os.cpu_count() or 1,
        kernel_stamps=KERNEL_STAMPS,
        scheduling=scheduling,
        streams=max((stage.streams or 0 for stage in held), default=0),
        events_per_s=max((stage.events_per_s for stage in held), default=0.0),
        rate_rps=max((stage.rate_rps or 0.0 for stage in held), default=0.0),
        lateness_p99_ms=max((stage.lateness_p99_ms for stage in held), default=None),
        stamp_error_p99_us=max((stage.stamp_error_p99_us for stage in held), default=None),
        stages=tuple(stages),
    )


@contextlib.contextmanager
def null_server(ttft_ms: float, itl_ms: float) -> Iterator[str]:
    """Gives its address. In a process of its own, which ends with us."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "tasks.loadgen.null_server", str(ttft_ms), str(itl_ms)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": python_path()},
        process_group=0,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise SetupError(f"the null server did not start; it ended with {process.wait()}")
        yield url
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def _log(url: str) -> dict[str, list[int]]:
    with urllib.request.urlopen(f"{url}/log", timeout=30) as answer:
        log: dict[str, list[int]] = orjson.loads(answer.read())
    return log
