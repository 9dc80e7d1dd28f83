"""Tables of what was measured: each column with its unit and meaning, each absent figure with its reason beside it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "integer", "number", "flag"]
Value = str | int | float | bool | None
Row = dict[str, Value]

REASON = "_reason"


@dataclass(frozen=True, slots=True)
class Column:
    """`unit` is "" where there is none. A `figure` may be absent: then it is null, and the column of the same name with
    `_reason` at its end says why."""

    name: str
    kind: Kind
    meaning: str
    unit: str = ""
    figure: bool = False

    @property
    def described(self) -> str:
        """For people: the meaning and the unit."""
        return f"{self.meaning}; unit: {self.unit}" if self.unit else self.meaning


@dataclass(frozen=True, slots=True)
class Table:
    """`key` names the columns that tell rows apart, `parent` the column that points to a row of `cells`."""

    name: str
    meaning: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    key: str = ""
    parent: str = ""


def figure(name: str, meaning: str, unit: str = "", kind: Kind = "number") -> Column:
    """A column that may be absent with a reason."""
    return Column(name, kind, meaning, unit, figure=True)


def text(name: str, meaning: str) -> Column:
    """A column of words; "" and null are the same to it."""
    return Column(name, "text", meaning)


def with_reasons(columns: Iterable[Column]) -> tuple[Column, ...]:
    """Each figure followed by the column that explains its absence."""
    found: list[Column] = []
    for column in columns:
        found.append(column)
        if column.figure:
            found.append(text(column.name + REASON, f"why {column.name} is absent"))
    return tuple(found)


def explained(figures: Mapping[str, Value], why: Mapping[str, str], otherwise: str = "it was not measured") -> Row:
    """The figures, each with its reason column: null where the figure is there."""
    row: Row = {}
    for name, value in figures.items():
        row[name] = value
        row[name + REASON] = (why.get(name) or otherwise) if value is None else None
    return row


def make_table(
    name: str, meaning: str, columns: Iterable[Column], rows: Sequence[Row], *, key: str = "", parent: str = ""
) -> Table:
    """Every row has every column: what a row does not say is null, and what no column says is an error of ours."""
    known = with_reasons(columns)
    names = [column.name for column in known]
    unknown = {one for row in rows for one in row} - set(names)
    if unknown:
        raise ValueError(f"the table {name} has no column {', '.join(sorted(unknown))}")
    return Table(name, meaning, known, tuple({one: row.get(one) for one in names} for row in rows), key, parent)
