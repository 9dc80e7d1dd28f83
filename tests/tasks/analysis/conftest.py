"""Records built by hand: times in ms from an origin that a float could not hold to the nanosecond."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from experiments.schema.load import ClosedLoop, LoadPoint, OpenLoop, Poisson, StopRule
from experiments.schema.result import Distribution, PointResult, SLOAttainment, TrialSummary
from tasks.loadgen.record import Outcome, RequestRecord, TokenSource

ORIGIN_NS = 9_100_000_000_000_001
MakeRecord = Callable[..., RequestRecord]


def at(ms: float) -> int:
    return ORIGIN_NS + round(ms * 1e6)


def make_record(
    index: int,
    due_ms: float,
    chunks_ms: Sequence[float] = (),
    *,
    late_ms: float = 0.0,
    tokens: Sequence[int | None] | None = None,
    output_tokens: int | None = -1,
    outcome: Outcome = Outcome.COMPLETED,
    end_ms: float | None = None,
    **changes: Any,
) -> RequestRecord:
    """One token a chunk and the output length asked, unless told otherwise; it ends with its last chunk."""
    stop = end_ms if end_ms is not None else (chunks_ms[-1] if chunks_ms else due_ms)
    known = len(chunks_ms) if output_tokens == -1 else output_tokens
    fields: dict[str, Any] = {
        "index": index,
        "due_at_ns": at(due_ms),
        "sent_at_ns": at(due_ms + late_ms),
        "first_byte_at_ns": at(chunks_ms[0]) if chunks_ms else None,
        "last_token_at_ns": at(chunks_ms[-1]) if chunks_ms else None,
        "end_at_ns": at(stop),
        "chunk_at_ns": [at(ms) for ms in chunks_ms],
        "chunk_tokens": list(tokens) if tokens is not None else [1] * len(chunks_ms),
        "chunk_is_answer": [True] * len(chunks_ms),
        "prompt_tokens_asked": 100,
        "prompt_tokens": 100,
        "output_tokens_asked": known if known is not None else len(chunks_ms),
        "output_tokens": known,
        "output_tokens_source": TokenSource.USAGE,
        "cached_tokens": 0,
        "finish_reason": "length" if outcome is Outcome.COMPLETED else None,
        "status": 200,
        "outcome": outcome,
        "error": None if outcome is Outcome.COMPLETED else "as scripted",
        "in_window": True,
        "process": 0,
        "connection_reused": True,
        "stamp": "kernel",
    }
    return RequestRecord(**(fields | changes))


def steady(count: int = 100, *, gap_ms: float = 100.0, ttft_ms: float = 50.0, tokens: int = 8) -> list[RequestRecord]:
    """An open-loop trial at 1000/gap_ms rps, each request streaming a token each 5 ms after its first."""
    return [make_record(i, i * gap_ms, [i * gap_ms + ttft_ms + 5.0 * k for k in range(tokens)]) for i in range(count)]


@pytest.fixture
def record() -> MakeRecord:
    return make_record


@pytest.fixture
def steady_records() -> Callable[..., list[RequestRecord]]:
    return steady


@pytest.fixture
def origin_ns() -> int:
    return ORIGIN_NS


def make_point(
    step: int,
    role: Any,
    level: float,
    *,
    completed_rps: float | None = None,
    valid: bool = True,
    over: int = 0,
    n: int = 200,
    slo: str = "ttft:p95<300ms",
    ttft_p50_ms: float = 50.0,
    window_s: float = 10_000.0,
) -> PointResult:
    """A point of concurrency or rate `level`; 8 tokens an answer; `over` of `n` requests broke the SLO, in a window
    that is long beside what a queue remembers."""
    closed = role in ("synchronous", "saturation")
    load: Any = ClosedLoop(concurrency=int(level)) if closed else OpenLoop(arrivals=Poisson(), rate_rps=level)
    rate = completed_rps if completed_rps is not None else level
    seen = SLOAttainment(
        slo=slo, attainment=1 - over / n, goodput_rps=rate, verdict="unknown", n=n, effective_n=n, share_over=over / n,
        percentile_ms=310.0,
    )  # fmt: skip
    summary = TrialSummary(
        method_version="1", requests=n, outcomes={"completed": n}, valid=valid, window_s=window_s, achieved_rps=rate,
        invalid_reasons=() if valid else ("client late",), completed_rps=rate, output_tokens_per_s=8 * rate,
        latencies={"ttft_ms": Distribution(n=n, p50=ttft_p50_ms)}, slos=(seen,),
    )  # fmt: skip
    point = LoadPoint(step=step, role=role, load=load, stop=StopRule(requests=n))
    return PointResult(point=point, summary=summary, directory=f"{step}", started_at="2026-01-01T00:00:00Z")


@pytest.fixture
def point() -> Callable[..., PointResult]:
    return make_point
