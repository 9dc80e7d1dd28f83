"""A trial: one load point on one running server, from the schedule to the records on disk."""

import contextlib
import math
import os
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from experiments.errors import DynoError, InputError, MeasurementError
from experiments.schema.load import ClosedLoop, OpenLoop
from experiments.schema.prompts import Dataset
from tasks.loadgen.assignment import Assignment, Beat, Cancel, Measured, Parse, Ready, Share, Start, Target
from tasks.loadgen.body import BodySource
from tasks.loadgen.cache import prepare_cache
from tasks.loadgen.counters import CounterReading
from tasks.loadgen.history import turn_bodies
from tasks.loadgen.material import ends_by_itself
from tasks.loadgen.payload import body_source
from tasks.loadgen.plan import Endpoint, Progress, TrialPlan, TrialRecords
from tasks.loadgen.pool import Pool, Worker, ready_workers
from tasks.loadgen.preflight import Preflight
from tasks.loadgen.progress import ProgressMeter
from tasks.loadgen.record import write_records
from tasks.loadgen.schedule import NS, Schedule, make_schedule
from tasks.loadgen.self_check import client_findings, client_report
from tasks.loadgen.spill import BUDGET_BYTES

_LEAD_NS = 20_000_000
_BEAT_S = 0.5
_EVENTS_A_PROCESS_RPS = 30_000.0
_TOKENS_A_STREAM_RPS = 50.0
_MOST_PROCESSES = 256
_EVENTS_A_REQUEST = 4  # headers, role, finish, [DONE]

M = TypeVar("M")
OnProgress = Callable[[Progress], None]


def run_trial(
    plan: TrialPlan,
    preflight: Preflight,
    *,
    out_dir: Path,
    on_progress: OnProgress | None = None,
    pool: Pool | None = None,
) -> TrialRecords:
    """Carries out the plan and writes `out_dir/requests.parquet`.

    Without a pool, processes are started for this trial alone (0.5 s). Before the clock starts the cache is brought to
    the state that the workload asks for. An exception that comes in from outside, such as KeyboardInterrupt, ends the
    trial at once, keeps what was received as cancelled and never-sent records, and goes on its way. Raises InputError
    for a plan that cannot be, MeasurementError where a process of ours broke, SetupError where the machine had no room
    for it.

    W: with seconds, from the ramp's end to S; with requests, from the first due time to the last end.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        pool = pool or stack.enter_context(Pool())
        preflight = replace(preflight, findings=preflight.findings + prepare_cache(plan, preflight))
        try:
            return _Trial(plan, preflight, out_dir, on_progress).run(pool)
        except BaseException:
            pool.discard()
            raise


class _Trial:
    def __init__(self, plan: TrialPlan, preflight: Preflight, out_dir: Path, on_progress: OnProgress | None) -> None:
        self._plan = plan
        self._preflight = preflight
        self._out_dir = out_dir
        self._on_progress = on_progress
        self._processes = min(plan.processes or processes_for(plan), _most_processes(plan))

    def run(self, pool: Pool) -> TrialRecords:
        workers = pool.workers(self._processes)
        schedule = make_schedule(self._plan, text_overhead=self._preflight.text_overhead)
        for worker, assignment in zip(workers, self._assignments(schedule), strict=True):
            worker.send(assignment)
        _each(workers, Ready)
        meter = CounterReading(self._plan)
        start_ns = time.monotonic_ns() + _LEAD_NS
        for worker in workers:
            worker.send(Start(start_ns))
        parent_cpu_ns = time.thread_time_ns()
        self._measure(workers, start_ns, schedule.count)
        counters, why_none = meter.growth()
        shares = _parsed(workers)
        records = self._records(schedule, start_ns, shares, time.thread_time_ns() - parent_cpu_ns)
        return replace(records, counters=counters, counters_reason=why_none)

    def _assignments(self, schedule: Schedule) -> list[Assignment]:
        source = body_source(self._plan, self._preflight)
        target = target_of(self._plan.endpoint)
        return [self._assignment(process, schedule, source, target) for process in range(self._processes)]

    def _assignment(self, process: int, schedule: Schedule, source: BodySource, target: Target) -> Assignment:
        plan, mine = self._plan, slice(process, None, self._processes)
        talks, count = schedule.dialogue is not None, schedule.count
        own_lengths = count is not None and not talks
        if schedule.dialogue is not None:
            count = schedule.dialogue.count
        return Assignment(
            process=process,
            processes=self._processes,
            target=target,
            source=source,
            count=None if count is None else len(range(count)[mine]),
            due_ns=None if schedule.due_ns is None else array("q", schedule.due_ns[mine].tolist()),
            user_due_ns=array("q", schedule.user_due_ns[mine].tolist()),
            think_ns=round(plan.load.think_time_s * NS) if isinstance(plan.load, ClosedLoop) else 0,
            window_from_ns=schedule.window_from_ns,
            until_ns=schedule.until_ns,
            prompt_tokens=_share_of(schedule.prompt_tokens, mine if own_lengths else slice(None)),
            output_tokens=_share_of(schedule.output_tokens, mine if own_lengths else slice(None)),
            rate_rps=_rate_rps(plan, schedule) / self._processes,
            timeout_ns=round(plan.timeout_s * NS),
            # A server that closes after each answer would break every request on a connection that is reused.
            fresh_connections=plan.fresh_connections or self._preflight.honoured.get("keep_alive") is False,
            exact=not ends_by_itself(plan),
            knows_prompts=isinstance(plan.workload.prompts, Dataset) or prompts_exact(self._preflight),
            needs_done=self._preflight.needs_done,
            folder=self._out_dir,
            spill_bytes=BUDGET_BYTES // self._processes,
            dialogue=schedule.dialogue,
            turn_bodies=turn_bodies(source, chat=plan.workload.endpoint == "chat") if talks else None,
        )

    def _measure(self, workers: list[Worker], start_ns: int, scheduled: int | None) -> None:
        """Returns when every request is over, and tells of progress meanwhile."""
        measuring = list(workers)
        try:
            self._follow(measuring, ProgressMeter(start_ns, scheduled))
        except DynoError:
            raise  # a process of ours is gone, or has said that it cannot go on
        except BaseException as interruption:
            try:
                self._cut_short(workers, measuring)
            except DynoError as error:
                interruption.add_note(f"and the records of the trial are lost: {error}")
            raise

    def _follow(self, measuring: list[Worker], meter: ProgressMeter) -> None:
        """Takes out of `measuring` who has come to the end."""
        next_told_s = time.monotonic() + _BEAT_S
        while measuring:
            for worker in ready_workers(measuring, max(0.0, next_told_s - time.monotonic())):
                message = worker.receive()
                if isinstance(message, Beat):
                    meter.add(worker.pid, message)
                elif isinstance(message, Measured):
                    measuring.remove(worker)
            if time.monotonic() >= next_told_s:
                next_told_s += _BEAT_S
                self._tell(meter)

    def _tell(self, meter: ProgressMeter) -> None:
        if self._on_progress is not None:
            self._on_progress(meter.progress(time.monotonic_ns()))

    def _cut_short(self, workers: list[Worker], measuring: list[Worker]) -> None:
        """What was received is kept; nobody is told of progress any more."""
        for worker in measuring:
            worker.send(Cancel())
        for worker in measuring:
            while not isinstance(worker.receive(), Measured):
                pass
        self._write(_parsed(workers))

    def _records(self, schedule: Schedule, start_ns: int, shares: list[Share], parent_cpu_ns: int) -> TrialRecords:
        window_start_ns, window_end_ns = _window(schedule, start_ns, shares)
        report = client_report(shares, parent_cpu_ns=parent_cpu_ns)
        return TrialRecords(
            parquet=self._write(shares),
            window_start_ns=window_start_ns,
            window_end_ns=window_end_ns,
            client=report,
            findings=self._preflight.findings + client_findings(shares, report),
            honoured=self._preflight.honoured,
        )

    def _write(self, shares: list[Share]) -> Path:
        """One file of the processes' parts, in the order of the schedule."""
        parts = [pa.ipc.open_file(pa.memory_map(str(share.part))).read_all() for share in shares]
        table = pa.concat_tables(parts)
        path = self._out_dir / "requests.parquet"
        write_records(path, table.sort_by("index").combine_chunks())
        for share in shares:
            share.part.unlink()
        return path


def _window(schedule: Schedule, start_ns: int, shares: Sequence[Share]) -> tuple[int, int]:
    """T_W of measurement.md. With requests the last end closes it, or the last due time where nothing was sent."""
    if schedule.until_ns is not None:
        return start_ns + schedule.window_from_ns, start_ns + schedule.until_ns
    dues = schedule.user_due_ns if schedule.due_ns is None else schedule.due_ns
    ends = [share.last_end_ns for share in shares if share.last_end_ns is not None]
    return start_ns + int(dues[0]), max([start_ns + int(dues[-1]), *ends])


def _parsed(workers: list[Worker]) -> list[Share]:
    """Only now that nobody measures any more is CPU spent on parsing."""
    for worker in workers:
        worker.send(Parse())
    return _each(workers, Share)


def _each(workers: list[Worker], kind: type[M]) -> list[M]:
    """The next message of each worker, which is of this kind."""
    messages = [worker.receive() for worker in workers]
    wrong = next((message for message in messages if not isinstance(message, kind)), None)
    if wrong is not None:
        raise MeasurementError(f"the load generator is out of step: {wrong!r} where {kind.__name__} was due")
    return [message for message in messages if isinstance(message, kind)]


def processes_for(plan: TrialPlan) -> int:
    """As few as can carry the load at half of what one offers: where client and server share a machine, each costs."""
    workload, load = plan.workload, plan.load
    if isinstance(load, ClosedLoop):
        events_rps = load.concurrency * _TOKENS_A_STREAM_RPS
    else:
        events_rps = (load.rate_rps or 0.0) * (workload.longest_output_tokens + _EVENTS_A_REQUEST)
    cores = max(1, (os.cpu_count() or 1) // 2)
    return max(1, min(math.ceil(events_rps / _EVENTS_A_PROCESS_RPS), cores))


def _most_processes(plan: TrialPlan) -> int:
    """In closed loop one for each user: the share of a process without users would never be due."""
    return plan.load.concurrency if isinstance(plan.load, ClosedLoop) else _MOST_PROCESSES


def prompts_exact(preflight: Preflight) -> bool:
    """Whether prompts have the lengths that they are asked for, not only in the mean."""
    return preflight.prompts is None or preflight.prompts.exact


def _rate_rps(plan: TrialPlan, schedule: Schedule) -> float:
    """Mean rate of an open loop; 0 in closed loop, whose connections are its users'."""
    if schedule.due_ns is None:
        return 0.0
    if isinstance(plan.load, OpenLoop) and plan.load.rate_rps is not None:
        return plan.load.rate_rps
    span_s = float(schedule.due_ns[-1]) / NS if len(schedule.due_ns) else 0.0
    return len(schedule.due_ns) / span_s if span_s else 0.0


def _share_of(lengths: NDArray[np.int32], mine: slice) -> "array[int]":
    """One length stands for all of them where they are equal."""
    same = bool((lengths == lengths[0]).all()) if len(lengths) else True
    return array("i", lengths[:1].tolist() if same else lengths[mine].tolist())


def target_of(endpoint: Endpoint) -> Target:
    """Raises InputError where the URL is not one of http or https."""
    parts = urlsplit(endpoint.url)
    try:
        port = parts.port
    except ValueError as error:
        raise InputError(f"{endpoint.url}: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"{endpoint.url}: a URL such as http://127.0.0.1:8000 is wanted")
    host = parts.netloc.rpartition("@")[2]
    tls = parts.scheme == "https"
    return Target(parts.hostname, port or (443 if tls else 80), tls, host, endpoint.api_key_env)
