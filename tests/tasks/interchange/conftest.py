"""Trials built by hand with every outcome, files as GuideLLM and vLLM wrote or would write them."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.schema.base import METHOD_VERSION
from experiments.schema.load import ClosedLoop, Load, LoadPoint, StopRule
from experiments.schema.result import PointResult
from experiments.schema.workload import Workload
from tasks.analysis.trial import summarize_trial
from tasks.campaigns.campaign import write_json
from tasks.loadgen.record import Outcome, RequestRecord, TokenSource, records_table, write_records

ORIGIN_NS = 9_100_000_000_000_001
WINDOW = (ORIGIN_NS, ORIGIN_NS + 2_000_000_000)
CAPTURED = Path(__file__).parent / "captured"


def make_record(
    index: int,
    due_us: int,
    chunks_us: list[int],
    tokens: list[int | None],
    outcome: Outcome = Outcome.COMPLETED,
    **changes: Any,
) -> RequestRecord:
    """Sent 137 µs after it was due; ends 41 µs after its last chunk."""
    at = [ORIGIN_NS + 1000 * us for us in chunks_us]
    sent = ORIGIN_NS + 1000 * (due_us + 137)
    done = outcome is Outcome.COMPLETED
    fields: dict[str, Any] = {
        "index": index,
        "due_at_ns": ORIGIN_NS + 1000 * due_us,
        "sent_at_ns": sent,
        "first_byte_at_ns": at[0] if at else None,
        "last_token_at_ns": at[-1] if at else None,
        "end_at_ns": (at[-1] if at else sent) + 41_000,
        "chunk_at_ns": at,
        "chunk_tokens": tokens,
        "chunk_is_answer": [True] * len(at),
        "prompt_tokens_asked": 32,
        "prompt_tokens": 32,
        "output_tokens_asked": 8,
        "output_tokens": sum(n or 0 for n in tokens) if done else None,
        "output_tokens_source": TokenSource.USAGE,
        "cached_tokens": 0,
        "finish_reason": "length" if done else None,
        "status": 200,
        "outcome": outcome,
        "error": None if done else f"as scripted: {outcome}",
        "in_window": True,
        "process": 0,
        "connection_reused": True,
        "stamp": "kernel",
    }
    return RequestRecord(**(fields | changes))


def every_outcome() -> list[RequestRecord]:
    """Steady answers, merged chunks, reasoning first, one token, and each way to fail."""
    steady = [
        make_record(i, 90_000 * i, [90_000 * i + 50_321 + 5_003 * k for k in range(8)], [1] * 8) for i in range(12)
    ]
    merged = make_record(12, 1_100_000, [1_151_113, 1_163_719, 1_171_007], [3, 4, 1])
    thinking = make_record(
        13, 1_200_000, [1_240_000, 1_245_100, 1_255_900], [2, 5, 1], chunk_is_answer=[False, False, True]
    )
    single = make_record(14, 1_300_000, [1_333_333], [1])
    lost = [
        make_record(15, 1_400_000, [1_450_500, 1_455_500], [1, 1], Outcome.FAILED),
        make_record(16, 1_450_000, [], [], Outcome.TIMED_OUT),
        make_record(17, 1_500_000, [1_560_000], [1], Outcome.CANCELLED),
        make_record(18, 1_600_000, [], [], Outcome.NEVER_SENT, sent_at_ns=None, end_at_ns=None, status=None),
    ]
    return [*steady, merged, thinking, single, *lost]


def write_trial(folder: Path, load: Load, records: list[RequestRecord]) -> PointResult:
    """As `dyno load --out` leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    table = records_table(records)
    summary = summarize_trial(
        table,
        window=WINDOW,
        load=load,
        workload=Workload(name="w", prompt_tokens=32, output_tokens=8),
        slos=(),
        client={},
        method_version=METHOD_VERSION,
    )
    role: Any = "saturation" if isinstance(load, ClosedLoop) else "open_loop"
    result = PointResult(
        point=LoadPoint(step=0, role=role, load=load, stop=StopRule(requests=len(records))),
        summary=summary,
        directory=folder.name,
        started_at="2026-11-21T13:08:31+00:00",
        window_ns=WINDOW,
    )
    write_records(folder / "requests.parquet", table)
    write_json(folder / "trial.json", result)
    return result


@pytest.fixture
def record() -> Callable[..., RequestRecord]:
    return make_record


@pytest.fixture
def outcomes() -> list[RequestRecord]:
    return every_outcome()


@pytest.fixture
def trial(tmp_path: Path) -> Callable[..., Path]:
    """The folder of a trial under a load, with every outcome unless records are given."""

    def make(load: Load, records: list[RequestRecord] | None = None, name: str = "trial") -> Path:
        write_trial(tmp_path / name, load, every_outcome() if records is None else records)
        return tmp_path / name

    return make


@pytest.fixture
def captured(tmp_path: Path) -> Callable[[str], Path]:
    """A report that GuideLLM 0.8.1 wrote: concurrent, poisson or errored."""

    def unpack(name: str) -> Path:
        path = tmp_path / f"{name}.json"
        path.write_bytes(gzip.decompress((CAPTURED / f"guidellm-0.8.1-{name}.json.gz").read_bytes()))
        return path

    return unpack


@pytest.fixture
def vllm_file(tmp_path: Path) -> Callable[..., Path]:
    """The hand-made result in vLLM 0.32's schema, with some fields changed, or left out where they are ...."""

    def make(**changes: Any) -> Path:
        result = json.loads((CAPTURED / "vllm-0.32-schema-by-hand.json").read_text()) | changes
        path = tmp_path / "result.json"
        path.write_text(json.dumps({key: value for key, value in result.items() if value is not ...}))
        return path

    return make
