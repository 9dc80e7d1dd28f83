"""Datasets: prompts, answers and lengths out of JSONL, JSON, CSV and Parquet, in the shapes that people publish.

Known without being told: dolly-15k (instruction, context, response, category), ShareGPT (conversations of {from,
value}; here the first human turn is the prompt and the answer to it the response), messages of {role, content}, and
columns with one of the usual names."""

import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

from experiments.errors import InputError
from experiments.schema.length import LONGEST_TOKENS
from experiments.schema.prompts import DATA_SUFFIXES, Dataset

USUAL = {
    "prompt": ("prompt", "question", "instruction", "query", "input", "text", "content"),
    "response": ("response", "answer", "output", "completion"),
    "prompt_tokens": ("prompt_tokens", "input_tokens", "prompt_len", "input_len", "input_length", "isl"),
    "output_tokens": ("output_tokens", "completion_tokens", "output_len", "output_length", "response_tokens", "osl"),
}
"""Where each thing is looked for, in this order."""

TURNS = ("conversations", "conversation", "messages")
ADDITIONS = {"instruction": ("context", "input")}
"""What a column is completed by: dolly's context, alpaca's input."""

HUMAN = frozenset({"human", "user"})
ASSISTANT = frozenset({"gpt", "assistant", "chatgpt", "bing", "bard", "model"})


@dataclass(frozen=True, slots=True)
class Row:
    """One request's worth; what the dataset does not tell is None. At least a prompt or its length is there. `turns`
    are all that the human says in a conversation, the prompt first."""

    prompt: str | None = None
    response: str | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    turns: tuple[str, ...] = ()


def read_dataset(path: Path, spec: Dataset) -> tuple[Row, ...]:
    """At most spec.limit usable rows: those without a prompt (an empty text, a conversation that no human begins) are
    passed over. A folder's files are read in the order of their names.

    Raises InputError with file, line (or row) and column."""
    rows = tuple(islice(_usable(path, spec), spec.limit))
    if not rows:
        raise InputError(f"{path}: no row of this dataset has a prompt")
    return rows


def data_files(path: Path) -> tuple[Path, ...]:
    """The file itself, or what a folder holds of files that can be read, below it too."""
    if not path.is_dir():
        return (path,)
    found = tuple(sorted(file for file in path.rglob("*") if file.suffix in DATA_SUFFIXES and file.is_file()))
    if not found:
        raise InputError(f"{path}: no data file in this folder ({', '.join(DATA_SUFFIXES)})")
    return found


def _usable(path: Path, spec: Dataset) -> Iterator[Row]:
    for file in data_files(path.expanduser()):
        read: Callable[[str, Mapping[str, Any]], Row | None] | None = None
        for place, raw in _raw_rows(file, spec.format):
            read = read or _reader(file, raw, spec)
            row = read(place, raw)
            if row is not None:
                yield row


def _raw_rows(file: Path, form: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place, row); the place is for error messages."""
    try:
        form = form if form != "auto" else _form(file)
        if form == "parquet":
            yield from _parquet_rows(file)
        elif form == "csv":
            yield from _csv_rows(file)
        elif form == "json":
            yield from _json_rows(file)
        else:
            yield from _jsonl_rows(file)
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 text: {error}") from error
    except OSError as error:
        raise InputError(f"{file}: cannot be read as a dataset: {error.strerror or error}") from error


def _form(file: Path) -> str:
    """By content, which a suffix may belie: many .json files hold a line for each row."""
    with file.open("rb") as opened:
        head = opened.readline(1_000_000).lstrip(b"\xef\xbb\xbf \t\r\n") or opened.readline(1_000_000).lstrip()
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"[") or head.strip() == b"{":
        return "json"
    return "jsonl" if head.startswith(b"{") else "csv"


def _jsonl_rows(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                place = f"{file}: line {number}"
                yield place, _object(place, _parsed(place, line))


def _json_rows(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    value = _parsed(str(file), file.read_text(encoding="utf-8-sig"))
    if isinstance(value, dict):
        value = next((inner for inner in value.values() if isinstance(inner, list)), [value])
    if not isinstance(value, list):
        raise InputError(f"{file}: a JSON array of objects is wanted, one a request")
    for number, row in enumerate(value, 1):
        place = f"{file}: entry {number}"
        yield place, _object(place, row)


def _parsed(place: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: not JSON: {error}") from error


def _object(place: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{place}: a JSON object is wanted, not {type(value).__name__}")
    return value


def _csv_rows(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    with file.open(encoding="utf-8-sig", newline="") as lines:
        delimiter = "\t" if file.suffix == ".tsv" else ","
        rows = csv.DictReader(lines, delimiter=delimiter)
        try:
            for row in rows:
                place = f"{file}: line {rows.line_num}"
                if None in row or None in row.values():
                    raise InputError(f"{place}: not as many values as the first line has columns")
                yield place, row
        except csv.Error as error:
            raise InputError(f"{file}: line {rows.line_num}: not CSV: {error}") from error


def _parquet_rows(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(file) as opened:
            for batch in opened.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{file}: row {number}", row
    except pa.ArrowException as error:
        raise InputError(f"{file}: not Parquet: {error}") from error


def _reader(file: Path, first: Mapping[str, Any], spec: Dataset) -> Callable[[str, Mapping[str, Any]], Row | None]:
    """How rows of this file are read, judged by its first one. Raises InputError where nothing in it is a prompt."""
    columns = {wanted: _column(file, first, wanted, getattr(spec, wanted)) for wanted in USUAL}
    turns = next((name for name in TURNS if isinstance(first.get(name), list)), None)
    if turns is not None and spec.prompt is None:
        return lambda place, raw: _conversation(place, turns, raw)
    if columns["prompt"] is None and columns["prompt_tokens"] is None:
        names = ", ".join(map(str, first)) or "none"
        raise InputError(
            f"{file}: no column of prompts or of their lengths; there are {names}. Name one with prompt: or "
            f"prompt_tokens: (known are {', '.join((*USUAL['prompt'], *TURNS, *USUAL['prompt_tokens']))})"
        )
    return lambda place, raw: _plain(place, columns, raw)


def _column(file: Path, first: Mapping[str, Any], wanted: str, named: str | None) -> str | None:
    if named is None:
        return next((name for name in USUAL[wanted] if name in first), None)
    if named not in first:
        close = get_close_matches(named, map(str, first), n=1)
        meant = f"Did you mean {close[0]}?" if close else f"There are {', '.join(map(str, first))}."
        raise InputError(f"{file}: {wanted}: no column {named!r}. {meant}")
    return named


def _conversation(place: str, column: str, raw: Mapping[str, Any]) -> Row | None:
    """All human turns, and the answer to the first; None where there is no such turn."""
    turns = raw.get(column)
    if not isinstance(turns, list):
        raise InputError(f"{place}: {column}: a list of turns is wanted, not {type(turns).__name__}")
    said = [_turn(f"{place}: {column}", turn) for turn in turns]
    first = next((at for at, (who, text) in enumerate(said) if who in HUMAN and text.strip()), None)
    if first is None:
        return None
    answered = first + 1 < len(said) and said[first + 1][0] in ASSISTANT
    human = tuple(text for who, text in said[first:] if who in HUMAN and text.strip())
    return Row(prompt=said[first][1], response=said[first + 1][1] if answered else None, turns=human)


def _turn(place: str, turn: Any) -> tuple[str, str]:
    """(who, what), in ShareGPT's words or in those of the chat API."""
    who = (turn.get("from") or turn.get("role")) if isinstance(turn, dict) else None
    text = turn.get("value", turn.get("content")) if isinstance(turn, dict) else None
    if not isinstance(who, str):
        raise InputError(f"{place}: a turn of {{from, value}} or {{role, content}} is wanted")
    return who.lower(), text if isinstance(text, str) else ""


def _plain(place: str, columns: Mapping[str, str | None], raw: Mapping[str, Any]) -> Row | None:
    prompt = _text(place, raw, columns["prompt"])
    if columns["prompt"] is not None and not (prompt or "").strip():
        return None
    for addition in ADDITIONS.get(columns["prompt"] or "", ()):
        more = _text(place, raw, addition) if addition in raw else None
        prompt = f"{prompt}\n\n{more}" if more else prompt
    return Row(
        prompt=prompt,
        response=_text(place, raw, columns["response"]) or None,
        prompt_tokens=_tokens(place, raw, columns["prompt_tokens"]),
        output_tokens=_tokens(place, raw, columns["output_tokens"]),
    )


def _text(place: str, raw: Mapping[str, Any], column: str | None) -> str | None:
    value = raw.get(column) if column is not None else None
    if value is not None and not isinstance(value, str):
        raise InputError(f"{place}: {column}: a text is wanted, not {type(value).__name__}")
    return value


def _tokens(place: str, raw: Mapping[str, Any], column: str | None) -> int | None:
    value = raw.get(column) if column is not None else None
    if value is None or value == "":
        return None
    try:
        number = float(value)
        if number != int(number) or not 1 <= number <= LONGEST_TOKENS:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{place}: {column}: {value!r} is no number of tokens (1 to {LONGEST_TOKENS:,})") from None
    return int(number)
