"""A comparison for people: a table for the terminal, a report in Markdown; the verdicts first."""

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiments.schema.comparison import ChangeVerdict, ComparisonResult, FigureChange
from tasks.reporting.wording import NONE, number

STYLES = {
    ChangeVerdict.REGRESSED: "red",
    ChangeVerdict.IMPROVED: "green",
    ChangeVerdict.EQUIVALENT: "dim",
    ChangeVerdict.UNDECIDED: "yellow",
    ChangeVerdict.VOID: "red",
}
ORDER = tuple(ChangeVerdict)
COLUMNS = ("workload", "load", "figure", "change", "interval", "margin", "launches", "verdict")


def comparison_table(result: ComparisonResult) -> RenderableType:
    """A hundred columns wide at most; regressions on top."""
    heading = Text(f"{_title(result)}: ", style="bold")
    heading.append(result.verdict.value, style=STYLES[result.verdict])
    parts: list[RenderableType] = [heading, Text(result.reason), *map(Text, result.notes)]
    for system in dict.fromkeys(one.system for one in result.cells):
        table = Table(title=system, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for name in COLUMNS:
            table.add_column(name, justify="right" if name in ("change", "interval", "margin", "launches") else "left")
        for one in in_order(one for one in result.cells if one.system == system):
            table.add_row(*figure_row(one)[:-1], Text(one.verdict.value, style=STYLES[one.verdict]))
        parts.append(table)
    return Group(*parts)


def markdown_report(result: ComparisonResult) -> str:
    """Whole in itself: verdict, figures, canary, launches, method."""
    lines = [f"# {_title(result)}", "", f"**{result.verdict.value}**: {result.reason}", ""]
    lines += [line for text in result.notes for line in (f"Note: {text}.", "")]
    for system in dict.fromkeys(one.system for one in result.cells):
        lines += [f"## {system}", "", *_markdown(in_order(one for one in result.cells if one.system == system)), ""]
    lines += ["## Canary: the baseline against itself", "", *_canary(result), ""]
    lines += ["## Launches", "", *_launches(result), "", "## Method", "", *_method(result), ""]
    return "\n".join(lines)


def _title(result: ComparisonResult) -> str:
    return f"{result.engine} {result.from_version} → {result.to_version} on {result.experiment}"


def in_order(cells: Iterable[FigureChange]) -> list[FigureChange]:
    """Regressions on top."""
    return sorted(cells, key=lambda one: (ORDER.index(one.verdict), one.workload, one.at, one.metric))


def figure_row(one: FigureChange) -> tuple[str, ...]:
    """A word for each of COLUMNS."""
    change = f"{one.change:+.1%}" if one.change is not None else NONE
    interval = f"{one.interval[0]:+.1%} … {one.interval[1]:+.1%}" if one.interval is not None else NONE
    load = f"{float(one.at):.0%} load" if one.at.replace(".", "").isdigit() else one.at
    margin = f"±{one.margin:.1%}"
    return one.workload or NONE, load, one.metric, change, interval, margin, str(one.launches), one.verdict.value


def _markdown(cells: Sequence[FigureChange]) -> list[str]:
    head = [*COLUMNS, "q", "reason"]
    rows = [[*figure_row(one), f"{one.q:.2g}" if one.q is not None else NONE, one.reason] for one in cells]
    return [_line(head), _line("---" for _ in head), *(_line(row) for row in rows)]


def _line(values: Iterable[str]) -> str:
    return "| " + " | ".join(value.replace("|", "\\|").replace("\n", " ") for value in values) + " |"


def _canary(result: ComparisonResult) -> list[str]:
    if not result.canary.figures:
        return ["No canary was launched: how much this machine differs from itself is not known."]
    word = "It broke the margin: this comparison is void." if result.canary.broken else "It shows no change."
    return [word, "", *_markdown(in_order(result.canary.figures))]


def _launches(result: ComparisonResult) -> list[str]:
    head = ["launch", "round", "arm", "system", "version", "began", "became"]
    rows = [
        [
            str(one.number),
            str(one.round + 1) if one.round >= 0 else NONE,
            one.arm,
            one.system,
            one.variant.engine_version,
            one.started_at,
            f"failed: {one.stage}: {one.cause}" if one.cause else _told(sum(map(len, one.points.values()))),
        ]
        for one in result.launches
    ]
    return [_line(head), _line("---" for _ in head), *(_line(row) for row in rows)]


def _told(points: int) -> str:
    return f"{points} load points"


def _method(result: ComparisonResult) -> list[str]:
    looks = "; ".join(f"{look['launches']:g} launches a side at q = {look['q']:g}" for look in result.looks)
    smallest = number(100 * min((one.margin for one in result.cells), default=0.0))
    return METHOD.format(version=result.method_version, looks=looks, smallest=smallest).splitlines()


METHOD = """\
- Method version {version}. A replicate is a launch; both sides alternate, forth and back.
- The rates are fractions of the baseline's saturation rate, found once on a pilot launch; both sides get the same \
rates, and the same prompts in the same round. Figures of invalid trials do not count.
- Log ratios; t moderated by the variances of the same figure elsewhere (Smyth 2004); false discovery rate by \
Benjamini and Hochberg over all figures of a look. Looks: {looks}.
- regressed, improved: the change is real at that rate and at least the margin. equivalent: the whole interval lies \
within the margin.
- The margin is twice the spread of this machine's own canaries, at least 3 %, once eight comparisons were made here; \
before that the one that was asked for. Smallest here: {smallest} %."""
