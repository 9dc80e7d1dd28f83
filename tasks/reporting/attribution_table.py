"""An attribution for people: each flag, what it does, and every figure's change without it."""

import shlex
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiments.schema.comparison import ComparisonResult, FlagEffect
from tasks.reporting.comparison_report import COLUMNS, STYLES, figure_row, in_order

EFFECTS = {
    "helps": "it helps: without it",
    "hurts": "it hurts: without it",
    "mixed": "it helps here and hurts there: without it",
    "none": "it changes nothing that matters: without it",
    "undecided": "undecided: without it",
    "void": "void, since the machine differed from itself: without it",
}


def attribution_table(result: ComparisonResult, effects: Sequence[FlagEffect]) -> RenderableType:
    """Flag by flag; what changed on top."""
    parts: list[RenderableType] = [
        Text(
            f"{result.engine} {result.from_version} on {result.experiment}: flags left out one at a time", style="bold"
        ),
        Text(result.reason),
    ]
    for one in effects:
        parts.append(Text(f"\n{shlex.join(one.flags)}: {EFFECTS[one.effect]}", style="bold"))
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for name in COLUMNS:
            table.add_column(name, justify="right" if name in ("change", "interval", "margin", "launches") else "left")
        for figure in in_order(one.figures):
            table.add_row(*figure_row(figure)[:-1], Text(figure.verdict.value, style=STYLES[figure.verdict]))
        parts.append(table)
    return Group(*parts)
