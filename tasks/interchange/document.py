"""JSON files that other tools wrote: one object or several in a row, with their own NaN and Infinity; errors name the
file and the key."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import InputError

LARGEST = 4e9
"""Seconds: as a Unix time the end of the century, and in ns still an integer of 64 bits."""

LARGEST_COUNT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Node:
    """One object of a document. `where` is its key path, empty at the top; keys that nobody asks for are let be."""

    file: str
    where: str
    fields: dict[str, Any]

    def path(self, key: str) -> str:
        """The key path of a field, for messages."""
        return f"{self.where}.{key}" if self.where else key

    def wrong(self, key: str, what: str) -> InputError:
        """The error to raise about a field."""
        return InputError(f"{self.file}: {self.path(key)}: {what}")

    def number(self, key: str) -> float | None:
        """None where the field is absent, null, NaN or infinite."""
        value = self.fields.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(key, f"a number is wanted, not {value!r}")
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if abs(value) > LARGEST:
            raise self.wrong(key, "no time and no count is so large")
        return float(value)

    def count(self, key: str) -> int | None:
        """A number that is whole, and not below 0."""
        value = self.number(key)
        if value is not None and not 0 <= value <= LARGEST_COUNT:
            raise self.wrong(key, f"{value:g} is no count")
        return None if value is None else round(value)

    def flag(self, key: str) -> bool | None:
        """None where the field is absent or null."""
        value = self.fields.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(key, f"true or false is wanted, not {value!r}")
        return value

    def text(self, key: str) -> str | None:
        """None where the field is absent or null."""
        value = self.fields.get(key)
        if value is not None and not isinstance(value, str):
            raise self.wrong(key, f"a text is wanted, not {value!r}")
        return value

    def child(self, key: str) -> "Node":
        """An object; an empty one where the field is absent or null."""
        value = self.fields.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.wrong(key, "an object is wanted")
        return Node(self.file, self.path(key), value or {})

    def children(self, key: str) -> list["Node"]:
        """A list of objects; empty where the field is absent or null."""
        values = self.array(key)
        for index, value in enumerate(values):
            if not isinstance(value, dict):
                raise self.wrong(f"{key}[{index}]", "an object is wanted")
        return [Node(self.file, self.path(f"{key}[{i}]"), value) for i, value in enumerate(values)]

    def array(self, key: str) -> list[Any]:
        """Empty where the field is absent or null."""
        value = self.fields.get(key)
        if value is not None and not isinstance(value, list):
            raise self.wrong(key, "a list is wanted")
        return value or []

    def numbers(self, key: str) -> list[float | None]:
        """A list of numbers, None for what is null, NaN or infinite."""
        return [node.number(name) for name, node in self._entries(key)]

    def counts(self, key: str) -> list[int | None]:
        """A list of whole numbers, not below 0."""
        return [node.count(name) for name, node in self._entries(key)]

    def spans(self, key: str) -> list[float | None]:
        """A list of durations, not below 0."""
        spans = self.numbers(key)
        for index, span in enumerate(spans):
            if span is not None and span < 0:
                raise self.wrong(f"{key}[{index}]", f"{span:g} s is no duration")
        return spans

    def _entries(self, key: str) -> list[tuple[str, "Node"]]:
        names = [(f"{key}[{index}]", value) for index, value in enumerate(self.array(key))]
        return [(name, Node(self.file, self.where, {name: value})) for name, value in names]


def read_documents(path: Path) -> list[Node]:
    """Every object of the file, in order: `--append-result` writes several. Raises InputError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    decoder, at, found = json.JSONDecoder(), 0, []
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        found.append(_object(path, text, at, decoder))
        at = found[-1][1]
    if not found:
        raise InputError(f"{path}: the file is empty")
    return [Node(str(path), "", fields) for fields, _ in found]


def _object(path: Path, text: str, at: int, decoder: json.JSONDecoder) -> tuple[dict[str, Any], int]:
    try:
        value, end = decoder.raw_decode(text, at)
    except (json.JSONDecodeError, RecursionError) as error:
        where = f"line {error.lineno} column {error.colno}" if isinstance(error, json.JSONDecodeError) else "somewhere"
        why = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deep"
        raise InputError(f"{path}: {where}: not JSON: {why}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: a JSON object is wanted, not a {type(value).__name__}")
    return value, end
