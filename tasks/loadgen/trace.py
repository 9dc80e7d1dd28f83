"""Traces: files of timestamps and lengths, in the column names of Mooncake, Azure and our own."""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.errors import InputError
from experiments.schema.load import StopRule

NS = 1_000_000_000

_SECONDS = ("timestamp_s", "time_s", "seconds", "arrived_at", "arrival_time", "time")
_MILLISECONDS = ("timestamp", "timestamp_ms", "time_ms", "arrival_ms")  # Mooncake's `timestamp` is in ms
_DATES = ("TIMESTAMP", "Timestamp")  # Azure's LLM inference traces
_PROMPT = ("prompt_tokens", "input_length", "ContextTokens", "input_tokens", "num_prefill_tokens", "isl")
_OUTPUT = ("output_tokens", "output_length", "GeneratedTokens", "num_decode_tokens", "osl")

Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class Trace:
    """`due_ns` from the file's first timestamp, rising; lengths are None where the file has none."""

    due_ns: NDArray[np.int64]
    prompt_tokens: NDArray[np.int32] | None
    output_tokens: NDArray[np.int32] | None


def read_trace(path: str) -> Trace:
    """Reads JSONL or CSV (by content). Raises InputError with the file, the line and the column that is wrong.

    The first timestamp is the start; rows out of order are sorted by time, nothing else is changed."""
    file = Path(path).expanduser()
    rows = _rows(file)
    if not rows:
        raise InputError(f"{path}: no requests in this trace")
    at_ns, prompt, output = _columns(path, rows)
    order = np.argsort(at_ns, kind="stable")
    due = at_ns[order] - at_ns[order[0]]
    return Trace(due, None if prompt is None else prompt[order], None if output is None else output[order])


def first_rows(trace: Trace, stop: StopRule) -> Trace:
    """What the stop rule takes of it. Raises InputError where the trace is shorter than the requests asked for."""
    count = len(trace.due_ns)
    if stop.seconds is not None:
        count = int(np.searchsorted(trace.due_ns, round(stop.seconds * NS)))
    elif stop.requests is not None and stop.requests > count:
        raise InputError(f"the trace has {count} requests, {stop.requests} were asked for: give --requests {count}")
    elif stop.requests is not None:
        count = stop.requests
    prompt, output = trace.prompt_tokens, trace.output_tokens
    return Trace(
        trace.due_ns[:count],
        None if prompt is None else prompt[:count],
        None if output is None else output[:count],
    )


def _rows(file: Path) -> list[Row]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            first = next(islice(lines, 1), "")
            lines.seek(0)
            if first.lstrip().startswith("["):
                raise InputError(f"{file}: is one JSON array; a trace has one object a line (JSONL), or is CSV")
            return list(_json_rows(file, lines) if first.lstrip().startswith("{") else csv.DictReader(lines))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read as a trace: {error}") from error


def _json_rows(file: Path, lines: Iterator[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{file}: line {number}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise InputError(f"{file}: line {number}: a JSON object is wanted")
        yield row


def _columns(
    path: str, rows: list[Row]
) -> tuple[NDArray[np.int64], NDArray[np.int32] | None, NDArray[np.int32] | None]:
    names = rows[0].keys()
    name, read = _time_column(path, rows[0])
    at_ns = np.array([_value(path, number, row, name, read) for number, row in enumerate(rows, 1)], np.int64)
    lengths: list[NDArray[np.int32] | None] = []
    for known in (_PROMPT, _OUTPUT):
        column = next((name for name in known if name in names), None)
        lengths.append(None if column is None else _lengths(path, rows, column))
    return at_ns, lengths[0], lengths[1]


def _lengths(path: str, rows: list[Row], column: str) -> NDArray[np.int32]:
    return np.array([_value(path, number, row, column, _tokens) for number, row in enumerate(rows, 1)], np.int32)


def _time_column(path: str, row: Row) -> tuple[str, Callable[[object], int]]:
    for name in _DATES:
        if name in row:
            return name, _date_ns
    for names, unit_ns in ((_SECONDS, NS), (_MILLISECONDS, NS // 1000)):
        for name in names:
            if name in row:
                return name, lambda value, unit_ns=unit_ns: _number_ns(value, unit_ns)
    known = ", ".join((*_MILLISECONDS, *_SECONDS, *_DATES))
    raise InputError(f"{path}: no column of timestamps; there are {', '.join(row)}; known are {known}")


def _value(path: str, number: int, row: Row, column: str, read: Callable[[object], int]) -> int:
    try:
        return read(row[column])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: request {number}: {column}: {row.get(column)!r} cannot be read: {error}") from error


def _number_ns(value: object, unit_ns: int) -> int:
    at_ns = round(float(str(value)) * unit_ns)
    if abs(at_ns) >= 2**62:
        raise ValueError("a timestamp lies within a century of its zero")
    return at_ns


def _tokens(value: object) -> int:
    tokens = int(float(str(value)))
    if not 1 <= tokens <= 1_000_000:
        raise ValueError("a length lies between 1 and 1,000,000 tokens")
    return tokens


def _date_ns(value: object) -> int:
    """Azure writes 2023-11-16 18:17:03.9799600: seven decimals, one more than datetime reads."""
    whole, _, fraction = str(value).strip().removesuffix("Z").partition(".")
    fraction = fraction.split("+")[0]
    date = datetime.fromisoformat(whole).replace(tzinfo=None)
    seconds = (date - datetime(1970, 1, 1)).total_seconds()
    return round(seconds) * NS + round(float(f"0.{fraction or 0}") * NS)
