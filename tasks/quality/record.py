"""What scoring a variant leaves on disk: quality.parquet, one row a position, and answers.json.

Every figure of a QualityResult can be computed again from them.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

POSITIONS, ANSWERS = "quality.parquet", "answers.json"

SCHEMA = pa.schema(
    [
        ("text", pa.int32()),
        ("position", pa.int32()),
        ("token", pa.int64()),
        ("logprob", pa.float64()),
        ("top1", pa.int64()),
        ("top1_logprob", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True)
class Position:
    """One token of a reference text after those before it: its natural log-probability, and the likeliest token.
    `text` and `position` count from 0; the first token of a text has nothing before it, and no position."""

    text: int
    position: int
    token: int
    logprob: float
    top1: int
    top1_logprob: float


@dataclass(frozen=True, slots=True)
class Answer:
    """A greedy answer; `expected` is None for a prompt that is no question of a task."""

    prompt: str
    answer: str
    expected: str | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """All that was had of one variant on one launch. `material` and `method` are as in QualityResult; `reasons` say why
    something is absent or cut short."""

    launch: int
    material: str
    method: str
    seconds: float
    positions: tuple[Position, ...]
    answers: tuple[Answer, ...]
    reasons: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Told:
    """answers.json."""

    launch: int
    material: str
    method: str
    seconds: float
    answers: tuple[Answer, ...]
    reasons: dict[str, str]


def write_scored(folder: Path, scored: Scored) -> None:
    """Written aside and renamed; answers.json last: without it the folder counts as empty."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = {name: [getattr(one, name) for one in scored.positions] for name in SCHEMA.names}
    aside = folder / f"{POSITIONS}.partial"
    pq.write_table(pa.table(columns, schema=SCHEMA), aside)
    os.replace(aside, folder / POSITIONS)
    told = _Told(scored.launch, scored.material, scored.method, scored.seconds, scored.answers, scored.reasons)
    aside = folder / f"{ANSWERS}.partial"
    aside.write_text(json.dumps(TypeAdapter(_Told).dump_python(told, mode="json"), indent=1), encoding="utf-8")
    os.replace(aside, folder / ANSWERS)


def read_scored(folder: Path) -> Scored | None:
    """None where nothing was scored, or what is there was not written by this version."""
    try:
        told = TypeAdapter(_Told).validate_json((folder / ANSWERS).read_bytes())
        rows = pq.read_table(folder / POSITIONS, schema=SCHEMA).to_pylist()
    except (OSError, ValidationError, pa.ArrowException):
        return None
    return Scored(
        told.launch, told.material, told.method, told.seconds, _positions(rows), told.answers, dict(told.reasons)
    )


def _positions(rows: Sequence[dict[str, float]]) -> tuple[Position, ...]:
    return tuple(
        Position(
            text=int(row["text"]),
            position=int(row["position"]),
            token=int(row["token"]),
            logprob=float(row["logprob"]),
            top1=int(row["top1"]),
            top1_logprob=float(row["top1_logprob"]),
        )
        for row in rows
    )
