"""Cells as the pipeline makes them: a simulated server, its records, the summaries and the judgement of them."""

import heapq
import random
from collections.abc import Callable
from typing import Any

import pytest

from experiments.schema.base import content_id
from experiments.schema.load import ClosedLoop, LoadPlan, LoadPoint, OpenLoop, Saturation
from experiments.schema.model import Model, SyntheticSource
from experiments.schema.result import BetweenLaunches, CellResult, CellState, LaunchSummary, PointResult
from experiments.schema.slo import SLO, parse_slo
from experiments.schema.variant import Quantization, Variant
from experiments.schema.workload import Workload
from tasks.analysis.cell import judge_cell
from tasks.analysis.sweep import next_point
from tasks.analysis.trial import summarize_trial
from tasks.loadgen.record import Outcome, RequestRecord, TokenSource, records_table

MODEL = Model(name="tiny-llama", source=SyntheticSource(kind="synthetic"))
WORKLOADS = {
    "long-in": Workload(name="long-in", prompt_tokens=128, output_tokens=16),
    "long-out": Workload(name="long-out", prompt_tokens=16, output_tokens=64),
}
PLAN = LoadPlan(requests_per_point=120, saturation=Saturation(max_concurrency=32))
SLOS = (parse_slo("ttft:p95<60ms"), parse_slo("e2e:p90<400ms"))
CLIENT = {
    "processes": 1, "stamp": "kernel", "events": 4000, "events_sharing_a_stamp": 0.01, "cpu_us_per_event": 9.4,
    "cpu_share": 0.12, "loop_delay_p99_ms": 0.2,
}  # fmt: skip


def serve(point: LoadPoint, workload: Workload, speed: float, rng: random.Random) -> list[RequestRecord]:
    """A server of eight slots, first come first served; a busier server is slower for each."""
    free = [0.0] * 8
    count, load, records = point.stop.requests or 100, point.load, []
    users = [0.0] * load.concurrency if isinstance(load, ClosedLoop) else []
    due = 0.0
    for index in range(count):
        if isinstance(load, OpenLoop):
            due += rng.expovariate(load.rate_rps or 1.0)
        else:
            due = heapq.heappop(users)
        start = max(due + 0.0002, heapq.heappop(free))
        busy = sum(at > start for at in free)
        prefill = (
            0.00008 * workload.longest_prompt_tokens / speed * (1 + 0.45 * busy) * rng.lognormvariate(0, 0.1) + 0.002
        )
        step = 0.0022 / speed * (1 + 0.32 * busy)
        chunks = [start + prefill]
        for _ in range(workload.longest_output_tokens - 1):
            chunks.append(chunks[-1] + step * rng.lognormvariate(0, 0.08))
        heapq.heappush(free, chunks[-1])
        heapq.heappush(users, chunks[-1])
        records.append(_record(index, due, chunks, workload))
    return records


def _record(index: int, due: float, chunks: list[float], workload: Workload) -> RequestRecord:
    at = [round(seconds * 1e9) for seconds in chunks]
    return RequestRecord(
        index=index, due_at_ns=round(due * 1e9), sent_at_ns=round(due * 1e9) + 150_000, first_byte_at_ns=at[0],
        last_token_at_ns=at[-1], end_at_ns=at[-1] + 50_000, chunk_at_ns=at, chunk_tokens=[None] * len(at),
        chunk_is_answer=[True] * len(at), prompt_tokens_asked=workload.longest_prompt_tokens,
        prompt_tokens=workload.longest_prompt_tokens, output_tokens_asked=workload.longest_output_tokens,
        output_tokens=workload.longest_output_tokens, output_tokens_source=TokenSource.USAGE, cached_tokens=0,
        finish_reason="length", status=200, outcome=Outcome.COMPLETED, error=None, in_window=True, process=0,
        connection_reused=True, stamp="kernel",
    )  # fmt: skip


def measure_point(point: LoadPoint, workload: Workload, speed: float, rng: random.Random, late: bool) -> PointResult:
    records = serve(point, workload, speed, rng)
    last = (
        max(r.due_at_ns for r in records)
        if isinstance(point.load, OpenLoop)
        else max(r.end_at_ns or 0 for r in records)
    )
    summary = summarize_trial(
        records_table(records), window=(0, last), load=point.load, workload=workload, slos=SLOS, method_version="1",
        client=CLIENT | ({"cpu_share": 0.93} if late else {}), overloaded=point.role == "overloaded",
    )  # fmt: skip
    started = f"2026-11-21T10:{point.step:02}:00+00:00"
    return PointResult(point=point, summary=summary, directory=f"{point.step:02}-{point.role}", started_at=started)


def variant_of(quantization: str) -> Variant:
    return Variant(engine="llama_cpp", engine_version="0.3.1", model=MODEL, quantization=Quantization(quantization))


def measure_cell(quantization: str, workload: str, speed: float, *, late_step: int = -1, **changes: Any) -> CellResult:
    rng = random.Random(f"{quantization} {workload}")
    points: list[PointResult] = []
    while (point := next_point(PLAN, points, slos=SLOS)) is not None:
        points.append(measure_point(point, WORKLOADS[workload], speed, rng, point.step == late_step))
    fields: dict[str, Any] = {
        "cell_id": content_id(quantization, workload), "experiment": "quickstart", "launch": 1,
        "campaign": "quickstart-1", "variant": variant_of(quantization), "workload": WORKLOADS[workload],
        "state": CellState.MEASURED, "points": tuple(points), "started_at": "2026-11-21T10:00:00+00:00",
        "ended_at": "2026-11-21T10:04:12+00:00", "mlflow_run_id": "0f" * 16,
        "stages_s": {"download": 0.8, "quantize": 1.2, "launch": 0.41, "warm up": 4.0, "load sweep": 31.0},
        "provenance": {
            "machine": {"cpu": "Example CPU @ 2.0 GHz", "cpu_cores": 2, "memory_gib": 23.4},
            "software": {"llm-dyno": "0.1.0", "python": "3.11.2", "git_revision": "fdd9066"},
            "argv": ["python", "llama_cpp.py", "--model", "model.gguf", "--slots", "8", "--api-key", "not-to-be-seen"],
        },
    }  # fmt: skip
    return judge_cell(CellResult(**(fields | changes)), SLOS, PLAN)


def failed_cell(quantization: str = "q4_0", workload: str = "long-out", **changes: Any) -> CellResult:
    fields: dict[str, Any] = {
        "cell_id": "fa11ed000000", "experiment": "quickstart", "campaign": "quickstart-1", "launch": 1,
        "variant": variant_of(quantization), "workload": WORKLOADS[workload], "state": CellState.FAILED,
        "stage": "launch", "cause": "the server ended with status 1 before it was ready",
        "log_excerpt": "loading model <model.gguf>\nerror: out of memory & no swap",
    }  # fmt: skip
    return CellResult(**(fields | changes))


@pytest.fixture(scope="session")
def cells() -> list[CellResult]:
    """Three variants on two workloads: measured, one with an invalid point, and one failed."""
    speeds = {"f16": 1.0, "q8_0": 1.55, "q4_k_m": 1.9}
    made = [
        measure_cell(name, workload, speed, late_step=6 if (name, workload) == ("q8_0", "long-in") else -1)
        for name, speed in speeds.items()
        for workload in WORKLOADS
    ]
    return [*made, failed_cell()]


@pytest.fixture
def failed() -> Callable[..., CellResult]:
    return failed_cell


@pytest.fixture
def slos() -> tuple[SLO, ...]:
    return SLOS


@pytest.fixture
def ranked() -> Callable[..., CellResult]:
    """A cell that is only its ceiling: requests/s, between launches where `ends` are given."""

    def make(
        name: str, rps: float, ends: tuple[float, float] | None = None, *, version: str = "", **changes: Any
    ) -> CellResult:
        mean = BetweenLaunches(launches=3, mean=rps, low=ends[0], high=ends[1]) if ends else None
        variant = Variant(engine=name, engine_version=version or "1.0", model=MODEL, quantization=Quantization.F16)
        fields: dict[str, Any] = {
            "cell_id": content_id(name, version), "experiment": "e", "campaign": "e-1", "launch": 1, "variant": variant,
            "workload": WORKLOADS["long-in"], "state": CellState.MEASURED, "grade": "B",
            "headlines": {"saturation_rps": rps}, "between_launches": {"saturation_rps": mean} if mean else {},
            "launches": tuple(LaunchSummary(launches=(n,)) for n in range(3 if ends else 1)),
        }  # fmt: skip
        return CellResult(**(fields | changes))

    return make
