"""The records of a trial as numpy columns: times in ns from the window's start, NaN where a thing did not happen."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.loadgen.record import Outcome

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

NS_PER_MS = 1e6
NS_PER_S = 1e9


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """One entry a request; `conversation` and `turn` are NaN outside conversations. The `chunk_` columns have one entry
    a token-bearing chunk, and `request` says whose it is.

    `first` and `last` are the chunk's index of c_1 and c_K, and mean something only where `chunks` is above 0.
    """

    window_ns: float
    due: Floats
    sent: Floats
    end: Floats
    prompt_asked: Floats
    prompt: Floats
    output_asked: Floats
    output: Floats
    cached: Floats
    completed: Flags
    finished: Flags
    in_window: Flags
    conversation: Floats
    turn: Floats
    outcome: NDArray[np.str_]
    chunks: Integers
    first: Integers
    last: Integers
    chunk_at: Floats
    chunk_tokens: Floats
    chunk_is_answer: Flags
    request: Integers

    def __len__(self) -> int:
        return len(self.due)

    @property
    def window_s(self) -> float:
        return self.window_ns / NS_PER_S

    @property
    def opens(self) -> Flags:
        """The requests with no history: first turns, and those outside conversations."""
        return ~(self.turn > 0)

    @property
    def measured(self) -> Flags:
        """The requests whose latencies count: due in W and completed."""
        return self.completed & self.in_window

    def first_chunk_at(self) -> Floats:
        return self._chunk_at(self.first)

    def last_chunk_at(self) -> Floats:
        return self._chunk_at(self.last)

    def _chunk_at(self, index: Integers) -> Floats:
        at = np.full(len(self), np.nan)
        some = self.chunks > 0
        at[some] = self.chunk_at[index[some]]
        return at

    def within(self, times: Floats) -> Flags:
        """Which times lie in W, its two ends included."""
        return (times >= 0) & (times <= self.window_ns)


def read_columns(table: pa.Table, window: tuple[int, int]) -> Columns:
    """`window` is W in CLOCK_MONOTONIC ns. Raises ValueError where it is empty."""
    start, stop = window
    if stop <= start:
        raise ValueError(f"the window ends ({stop} ns) before it starts ({start} ns)")
    chunks = _lengths(table["chunk_at_ns"])
    outcome = np.asarray(table["outcome"].to_pylist(), dtype=np.str_)
    ends = np.cumsum(chunks)
    return Columns(
        window_ns=float(stop - start),
        **{name: _times(table[f"{name}_at_ns"], start) for name in ("due", "sent", "end")},
        prompt_asked=_numbers(table["prompt_tokens_asked"]),
        prompt=_numbers(table["prompt_tokens"]),
        output_asked=_numbers(table["output_tokens_asked"]),
        output=_numbers(table["output_tokens"]),
        cached=_numbers(table["cached_tokens"]),
        completed=outcome == Outcome.COMPLETED.value,
        finished=_flags(pc.is_valid(table["finish_reason"])),
        in_window=_flags(table["in_window"]),
        conversation=_numbers(table["conversation"]),
        turn=_numbers(table["turn"]),
        outcome=outcome,
        chunks=chunks,
        first=ends - chunks,
        last=ends - 1,
        chunk_at=_times(_flat(table["chunk_at_ns"]), start),
        chunk_tokens=_numbers(_flat(table["chunk_tokens"])),
        chunk_is_answer=_flags(_flat(table["chunk_is_answer"])),
        request=np.repeat(np.arange(len(chunks)), chunks),
    )


def _lengths(column: Any) -> Integers:
    return np.asarray(pc.fill_null(pc.list_value_length(column), 0).to_numpy(), dtype=np.int64)


def _flat(column: Any) -> Any:
    return pc.list_flatten(column)


def _times(column: Any, start: int) -> Floats:
    """The origin is subtracted as integers: a float cannot hold the nanoseconds of a long uptime."""
    missing = _flags(pc.is_null(column))
    times = np.asarray(pc.fill_null(column, start).to_numpy(), dtype=np.int64) - start
    return np.where(missing, np.nan, times.astype(np.float64))


def _numbers(column: Any) -> Floats:
    missing = _flags(pc.is_null(column))
    return np.where(missing, np.nan, np.asarray(pc.fill_null(column, 0).to_numpy(), dtype=np.float64))


def _flags(column: Any) -> Flags:
    return np.asarray(
        column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy(), dtype=np.bool_
    )
