"""The raw facts of one request, and the Parquet file that keeps them. Facts, not statistics."""

from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


class Outcome(StrEnum):
    """How a request ended. A missing measurement is one of these with a reason, never 0 or NaN."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    NEVER_SENT = "never_sent"


class TokenSource(StrEnum):
    """Where a count of output tokens came from, best first."""

    USAGE = "usage"
    TOKEN_IDS = "token_ids"
    TOKENIZER = "tokenizer"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class RequestRecord:
    """One row of requests.parquet. Times are CLOCK_MONOTONIC in ns; None means that it did not happen.

    `chunk_at_ns[k]` is when the k-th token-bearing chunk arrived, `chunk_tokens[k]` how many tokens it bore (None: not
    known, see `chunk_tokens` of measurement.md), `chunk_is_answer[k]` whether it was answer rather than reasoning.
    `conversation` and `turn` count from 0; None outside conversations. A length asked is None where nobody can know it:
    in a later turn whose history is told as text, of a text whose tokens nobody counted, where the model was to end by
    itself.
    """

    index: int
    due_at_ns: int
    sent_at_ns: int | None
    first_byte_at_ns: int | None
    last_token_at_ns: int | None
    end_at_ns: int | None
    chunk_at_ns: list[int]
    chunk_tokens: list[int | None]
    chunk_is_answer: list[bool]
    prompt_tokens_asked: int | None
    prompt_tokens: int | None
    output_tokens_asked: int | None
    output_tokens: int | None
    output_tokens_source: TokenSource
    cached_tokens: int | None
    finish_reason: str | None
    status: int | None
    outcome: Outcome
    error: str | None
    in_window: bool
    process: int
    connection_reused: bool
    stamp: str  # "kernel" or "user"
    conversation: int | None = None
    turn: int | None = None


SCHEMA = pa.schema(
    [
        pa.field("index", pa.int64(), nullable=False),
        pa.field("due_at_ns", pa.int64()),  # null only in a trial that was imported from a file without due times
        pa.field("sent_at_ns", pa.int64()),
        pa.field("first_byte_at_ns", pa.int64()),
        pa.field("last_token_at_ns", pa.int64()),
        pa.field("end_at_ns", pa.int64()),
        pa.field("chunk_at_ns", pa.list_(pa.int64())),
        pa.field("chunk_tokens", pa.list_(pa.int32())),
        pa.field("chunk_is_answer", pa.list_(pa.bool_())),
        pa.field("prompt_tokens_asked", pa.int32()),
        pa.field("prompt_tokens", pa.int32()),
        pa.field("output_tokens_asked", pa.int32()),
        pa.field("output_tokens", pa.int32()),
        pa.field("output_tokens_source", pa.string()),
        pa.field("cached_tokens", pa.int32()),
        pa.field("finish_reason", pa.string()),
        pa.field("status", pa.int32()),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("in_window", pa.bool_(), nullable=False),
        pa.field("process", pa.int32()),
        pa.field("connection_reused", pa.bool_()),
        pa.field("stamp", pa.string()),
        pa.field("conversation", pa.int64()),
        pa.field("turn", pa.int32()),
    ]
)


def records_table(records: list[RequestRecord]) -> pa.Table:
    """One row a request, in the order of `index`."""
    ordered = sorted(records, key=lambda record: record.index)
    return pa.Table.from_pydict(
        {f.name: [getattr(record, f.name) for record in ordered] for f in fields(RequestRecord)}, schema=SCHEMA
    )


def write_records(path: Path, table: pa.Table) -> None:
    """Written aside and renamed: a reader never sees half a file."""
    aside = path.with_suffix(".partial")
    pq.write_table(table, aside, compression="zstd")
    aside.rename(path)


def read_records(path: Path) -> pa.Table:
    """The table as written, chunk columns included. Columns that an older file has not are null."""
    return pq.read_table(path, schema=SCHEMA)
