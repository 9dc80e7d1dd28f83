"""`dyno report --text`: tables that fit 100 columns over everything that was measured."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tasks.reporting.tables import GRADE_STYLES
from tasks.reporting.wording import NONE, number, slo_text

MOST_RIVALS = 3
"""Variants told for each objective; --json has all."""

VERDICT_STYLES = {"regressed": "red", "void": "red", "improved": "green", "undecided": "yellow", "unknown": "yellow"}
Row = Mapping[str, Any]


def text_report(body: Row) -> RenderableType:
    """`body` is an overview."""
    states = ", ".join(f"{count} {state}" for state, count in body["states"].items())
    parts: list[RenderableType] = [Text(f"{body['cells']} cells: {states}", style="bold")]
    parts += _best(body["best"])
    parts += _capacities(body["capacities"])
    parts += _section("Grades", _table(("grade", "cells", "means"), map(_grade, body["grades"]), right=("cells",)))
    parts += _failures(body["failures"])
    parts += _comparisons(body["comparisons"])
    return Group(*parts)


def _section(title: str, *inside: RenderableType) -> list[RenderableType]:
    return [Text(), Text(title, style="bold underline"), *inside]


def _table(titles: Sequence[str], rows: Iterable[Sequence[str | Text]], right: Sequence[str] = ()) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in titles:
        table.add_column(title, justify="right" if title in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _by_place(rows: Sequence[Row]) -> Iterable[tuple[str, list[Row]]]:
    for (model, hardware), inside in groupby(rows, key=lambda row: (row["model"], row["hardware"])):
        yield f"{model} on {hardware}", list(inside)


def _best(rows: Sequence[Row]) -> list[RenderableType]:
    if not rows:
        return _section("Best per workload", Text("Nothing was measured to saturation."))
    titles = ("workload", "best", "requests/s", "tokens/s", "TTFT ms", "n", "grade", "against")
    parts: list[RenderableType] = []
    for place, inside in _by_place(rows):
        table = _table(titles, map(_best_row, inside), right=("requests/s", "tokens/s", "TTFT ms", "n"))
        parts += [Text(place, style="italic"), Padding(table, (0, 0, 1, 0))]
    note = "At saturation; TTFT is the median of one request at a time; n counts launches; within 3 % is level."
    return _section("Best per workload", Text(note, style="dim"), *parts)


def _best_row(row: Row) -> list[str | Text]:
    speed = _number(row["saturation_rps"]) + _interval(row["saturation_rps_interval"])
    others = (_number(row["saturation_output_tokens_per_s"]), _number(row["floor_ttft_p50_ms"]))
    return [row["workload"], row["variant"], speed, *others, str(row["launches"]), _graded(row["grade"]), _against(row)]


def _against(row: Row) -> str:
    """How sure it is that the best is the best."""
    if row["compared"] == 1:
        return "no other has a valid figure"
    level = f"level with {', '.join(row['level_with'])}" if row["level_with"] else ""
    ratio = f"{row['times_runner_up']:.2f} × {row['runner_up']}" if row["runner_up"] else ""
    return "; ".join(filter(None, (level, ratio)))


def _capacities(rows: Sequence[Row]) -> list[RenderableType]:
    if not rows:
        return []
    titles = ("workload", "objective", "variant", "rps", "verdict", "n", "grade")
    parts: list[RenderableType] = []
    for place, inside in _by_place(rows):
        told = [row for _, several in _by_objective(inside) for row in several[:MOST_RIVALS]]
        parts += [
            Text(place, style="italic"),
            Padding(_table(titles, map(_capacity_row, told), ("rps", "n")), (0, 0, 1, 0)),
        ]
    note = "[certified, refuted): it holds at the first rate and not at the second; n counts requests at the first."
    more = f" At most {MOST_RIVALS} variants an objective; --json has all."
    return _section("Capacities", Text(note + more, style="dim"), *parts)


def _by_objective(rows: Sequence[Row]) -> Iterable[tuple[Any, list[Row]]]:
    for key, inside in groupby(rows, key=lambda row: (row["workload"], row["slo"])):
        yield key, list(inside)


def _capacity_row(row: Row) -> list[str | Text]:
    certified, refuted = row["certified_rps"], row["refuted_rps"]
    if certified is not None:
        rate = f"[{number(certified)}, {number(refuted) if refuted is not None else '?'})"
    else:
        rate = f"< {number(refuted)}" if refuted is not None else NONE
    rate += _interval(row["interval_rps"])
    verdict = Text(row["verdict"], style=VERDICT_STYLES.get(row["verdict"], ""))
    seen = NONE if row["n"] is None else f"{row['n']:,}"
    return [row["workload"], slo_text(row["slo"]), row["variant"], rate, verdict, seen, _graded(row["grade"])]


def _grade(row: Row) -> list[str | Text]:
    return [_graded(row["grade"]), str(row["cells"]), row["means"]]


def _failures(rows: Sequence[Row]) -> list[RenderableType]:
    if not rows:
        return _section("Failures", Text("None."))
    ordered = sorted(rows, key=lambda row: (row["state"], row["failure_class"] or "", row["cell"]))
    titles = ("class", "stage", "cell", "cause")
    return _section("Failures", _table(titles, map(_failure_row, ordered)))


def _failure_row(row: Row) -> list[str | Text]:
    kind = (row["failure_class"] or row["state"]).replace("_", " ")
    first = row["cause"].strip().splitlines()[0] if row["cause"].strip() else NONE
    return [Text(kind, style="red" if row["failure_class"] else "yellow"), row["stage"], row["cell"], first]


def _comparisons(rows: Sequence[Row]) -> list[RenderableType]:
    if not rows:
        return []
    titles = ("comparison", "from", "to", "verdict", "why")
    told = [
        [
            row["id"],
            row["from"],
            row["to"],
            Text(row["verdict"], style=VERDICT_STYLES.get(row["verdict"], "")),
            row["reason"],
        ]
        for row in rows
    ]
    return _section("Releases compared", _table(titles, told))


def _graded(grade: str | None) -> Text:
    return Text(grade or NONE, style=GRADE_STYLES.get(grade, "") if grade else "dim")


def _number(value: float | None) -> str:
    return "absent" if value is None else number(value)


def _interval(ends: Sequence[float] | None) -> str:
    return "" if ends is None else f"\n{number(ends[0])}–{number(ends[1])}"
