"""A replay for people: the verdict, each figure against its interval, and what is not as it was."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiments.schema.replay import ReplayFigure, ReplayResult
from tasks.reporting.wording import NONE

STYLES = {"reproduced": "green", "not reproduced": "red", "undecided": "yellow"}
WORDS = {True: "reproduced", False: "not reproduced", None: "undecided"}
COLUMNS = ("load", "figure", "stored", "interval", "replayed", "reproduced")


def replay_table(result: ReplayResult) -> RenderableType:
    """What was not reproduced on top."""
    heading = Text(f"cell {result.cell_id} of {result.experiment}: ", style="bold")
    heading.append(result.verdict, style=STYLES[result.verdict])
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("load", "figure", "reproduced") else "right")
    for one in sorted(result.figures, key=lambda figure: figure.reproduced is not False):
        table.add_row(*_row(one), Text(WORDS[one.reproduced], style=STYLES[WORDS[one.reproduced]]))
    told = [f"{one.what}: {one.stored} then, {one.now} now" for one in result.differences]
    rests = [f"intervals rest on {result.basis}"] if result.figures else []
    return Group(heading, Text(result.reason), *([table] if result.figures else []), *map(Text, [*rests, *told]))


def _row(one: ReplayFigure) -> tuple[str, ...]:
    interval = f"{one.interval[0]:.4g} … {one.interval[1]:.4g}" if one.interval is not None else NONE
    replayed = f"{one.replayed:.4g}" if one.replayed is not None else NONE
    return one.at, one.metric, f"{one.stored:.4g}", interval, replayed
