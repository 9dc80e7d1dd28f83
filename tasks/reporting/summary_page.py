"""The executive summary, in Markdown and HTML: what to use, what changed, what failed, and what is not known.

Written from the data by rules: each claim has its numbers (n, interval, grade) and a link to its cell."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

from experiments.redaction import redacted
from experiments.schema.comparison import ChangeVerdict, ComparisonResult
from experiments.schema.result import Capacity, CellResult, CellState
from tasks.reporting.markup import Content, Markup, element
from tasks.reporting.standings import (
    Question,
    Standing,
    by_capacity,
    carries,
    interval,
    latest,
    launches_of,
    objectives,
    standings,
    witnesses,
)
from tasks.reporting.wording import (
    NONE,
    STAND_IN_NOTE,
    SYNTHETIC_NOTE,
    cell_label,
    is_stand_in,
    is_synthetic,
    number,
    slo_text,
)

PAGE = "almanac.html"
CSS = Path(__file__).parent / "report.css"
MOST_TOLD = 12
"""Of failures and open questions; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Link:
    """To a cell of the almanac."""

    text: str
    cell_id: str

    def href(self, page: str) -> str:
        """The almanac with the cell open."""
        return f"{quote(page)}#cell={quote(self.cell_id)}"


Text = tuple["str | Link", ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """A table; every cell of it is a text."""

    titles: tuple[str, ...]
    rows: tuple[tuple[Text, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, claims, and tables."""

    title: str
    claims: tuple[Text, ...]
    tables: tuple[Rows, ...] = ()


def summary(cells: Sequence[CellResult], comparisons: Sequence[ComparisonResult] = ()) -> list[Section]:
    """`cells` from old to new: of each the latest counts."""
    current = latest(cells)
    standing = standings(current)
    sections = [_what(current), *_what_to_use(standing), _objectives(standing), _releases(comparisons)]
    return [one for one in (*sections, _failures(current), _unknown(standing)) if one.claims or one.tables]


def write_summary(almanac: Path, cells: Sequence[CellResult], comparisons: Sequence[ComparisonResult]) -> None:
    """summary.md and summary.html beside the almanac, whose cells they link to; written aside and renamed."""
    sections = summary(cells, comparisons)
    texts = {
        "summary.md": summary_markdown(sections, almanac.name),
        "summary.html": summary_html(sections, almanac.name),
    }
    for name, body in texts.items():
        aside = almanac.with_name(f"{name}.partial")
        aside.write_text(body, encoding="utf-8")
        aside.rename(almanac.with_name(name))


def summary_markdown(sections: Sequence[Section], page: str = PAGE) -> str:
    """Whole in itself; links lead to the almanac beside it, whose file is `page`."""
    lines = ["# What to run, and how sure that is", ""]
    for section in sections:
        lines += [f"## {section.title}", "", *(f"- {_markdown(claim, page)}" for claim in section.claims), ""]
        for table in section.tables:
            lines += [_line([(title,) for title in table.titles], page), _line([("---",) for _ in table.titles], page)]
            lines += [*(_line(row, page) for row in table.rows), ""]
    return "\n".join(lines)


def summary_html(sections: Sequence[Section], page: str = PAGE) -> str:
    """One page that stands alone; links lead to the almanac beside it, whose file is `page`."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", "What to run, and how sure that is"),
        element("style", Markup(CSS.read_text(encoding="utf-8"))),
    )
    main = element(
        "main", element("h1", "What to run, and how sure that is"), [_section(one, page) for one in sections]
    )
    return f"<!doctype html>\n{element('html', head, element('body', main), lang='en')}\n"


def _cell(cell: CellResult) -> Link:
    return Link(f"cell {cell.cell_id[:8]}", cell.cell_id)


def _what(cells: Sequence[CellResult]) -> Section:
    states = Counter(cell.state.value for cell in cells)
    dates = sorted(cell.ended_at[:10] for cell in cells if cell.ended_at)
    when = f", {' to '.join(dict.fromkeys((dates[0], dates[-1])))}" if dates else ""
    told = ", ".join(f"{count} {state}" for state, count in states.items())
    claims: list[Text] = [(f"{len(cells)} cells: {told}{when}.",)]
    claims += [(f"{count} of them: {note}",) for count, note in _cautions(cells)]
    return Section("What was measured", tuple(claims))


def _cautions(cells: Sequence[CellResult]) -> Iterator[tuple[int, str]]:
    for holds, note in ((is_synthetic, SYNTHETIC_NOTE), (is_stand_in, STAND_IN_NOTE)):
        count = sum(map(holds, cells))
        if count:
            yield count, note


def _what_to_use(standing: Sequence[Standing]) -> Iterator[Section]:
    """A section for a model on a machine: who leads how often, and a row a workload."""
    for (model, hardware), inside in groupby(standing, key=lambda one: (one.question.model, one.question.hardware)):
        known = [one for one in inside if one.best is not None]
        if known:
            titles = (
                "workload",
                "best at saturation",
                "requests/s",
                "95 % between launches",
                "launches",
                "grade",
                "next",
                "cell",
            )
            table = Rows(titles, tuple(map(_lead_row, known)))
            yield Section(f"What to use: {model} on {hardware}", (_leader(known),), (table,))


def _leader(known: Sequence[Standing]) -> Text:
    led: dict[str, list[Standing]] = {}
    for one in known:
        assert one.best is not None
        led.setdefault(cell_label(one.best), []).append(one)
    label, wins = max(led.items(), key=lambda item: len(item[1]))
    weak = sum(not carries(one.best) for one in wins if one.best is not None)
    level = sum(bool(one.level) for one in wins)
    where = "the workload" if len(known) == 1 else f"{len(wins)} of {len(known)} workloads"
    doubts = [f"on {level} it cannot be told apart from another"] if level else []
    doubts += [f"on {weak} its grade is D or worse"] if weak else []
    return (f"{label} serves the most requests on {where}{' (' + '; '.join(doubts) + ')' if doubts else ''}.",)


def _lead_row(one: Standing) -> tuple[Text, ...]:
    best = one.best
    assert best is not None
    ends = interval(best, "saturation_rps")
    between = f"{number(ends[0])} to {number(ends[1])}" if ends else "unknown: one launch"
    words = (one.question.workload, one.name(best), number(best.headlines["saturation_rps"]), between)
    more = (str(launches_of(best)), best.grade or NONE, _next(one))
    return (*((word,) for word in (*words, *more)), (_cell(best),))


def _next(one: Standing) -> str:
    best, second = one.best, one.runner_up
    if one.level:
        return f"level with {', '.join(one.name(cell) for cell in one.level)}"
    if best is None or second is None:
        return "no other has a valid figure"
    return f"{best.headlines['saturation_rps'] / second.headlines['saturation_rps']:.2f} × {one.name(second)}"


def _objectives(standing: Sequence[Standing]) -> Section:
    titles = (
        "model, hardware",
        "workload",
        "objective",
        "highest certified rate",
        "refuted from",
        "n",
        "by",
        "grade",
        "cell",
    )
    rows = [row for one in standing for slo in objectives(one) if (row := _objective_row(one, slo))]
    claims: list[Text] = []
    if rows:
        claims.append(
            ("A certified rate is one at which the objective was shown to hold at 99 %; n counts its requests.",)
        )
    return Section("What holds under an objective", tuple(claims), (Rows(titles, tuple(rows)),) if rows else ())


def _objective_row(one: Standing, slo: str) -> tuple[Text, ...] | None:
    cell, told = by_capacity(one, slo)[0]
    if told.certified_rps is None:
        return None
    ends = interval(cell, f"capacity_rps/{told.name}")
    between = f" ({number(ends[0])} to {number(ends[1])} between launches)" if ends else ""
    seen = witnesses(cell, told)
    words = (
        f"{one.question.model}, {one.question.hardware}",
        one.question.workload,
        slo_text(slo),
        f"{number(told.certified_rps)} rps{between}",
        f"{number(told.refuted_rps)} rps" if told.refuted_rps is not None else "unknown",
        NONE if seen is None else f"{seen:,}",
        one.name(cell),
        cell.grade or NONE,
    )
    return (*((word,) for word in words), (_cell(cell),))


def _releases(comparisons: Sequence[ComparisonResult]) -> Section:
    return Section("What changed between releases", tuple(_release(one) for one in comparisons))


def _release(one: ComparisonResult) -> Text:
    counts = Counter(figure.verdict for figure in one.cells)
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in ChangeVerdict if counts[verdict])
    worst = [figure for figure in one.cells if figure.verdict is ChangeVerdict.REGRESSED and figure.change is not None]
    lines = [
        f"{one.engine} {one.from_version} → {one.to_version} on {one.experiment}: {one.verdict}. {one.reason}".rstrip(
            ". "
        )
    ]
    lines.append(f"{len(one.cells)} figures: {told}")
    if worst:
        figure = max(worst, key=lambda figure: abs(figure.change or 0.0))
        ends = f", {figure.interval[0]:+.1%} to {figure.interval[1]:+.1%}" if figure.interval else ""
        lines.append(
            f"worst: {figure.metric} on {figure.workload} {figure.change:+.1%}{ends}, {figure.launches} launches a side"
        )
    return (". ".join(lines) + ".",)


def _failures(cells: Sequence[CellResult]) -> Section:
    failed = [cell for cell in cells if cell.state in (CellState.FAILED, CellState.UNSUPPORTED)]
    classes = Counter((cell.failure_class.value if cell.failure_class else cell.state.value) for cell in failed)
    claims: list[Text] = []
    for kind, count in classes.most_common():
        like = [c for c in failed if (c.failure_class.value if c.failure_class else c.state.value) == kind]
        claims.append((f"{count} × {kind.replace('_', ' ')}: ", *_examples(like)))
    return Section("What failed", tuple(claims))


def _examples(cells: Sequence[CellResult]) -> Iterator[str | Link]:
    for place, cell in enumerate(cells[:3]):
        yield f"{'; ' if place else ''}{cell.variant.label} on {cell.workload.name} ("
        yield _cell(cell)
        yield f": {_first_line(cell.cause)})"
    yield f"; and {len(cells) - 3} more." if len(cells) > 3 else "."


def _first_line(said: str) -> str:
    return (said.strip().splitlines() or ["no cause is known"])[0]


def _unknown(standing: Sequence[Standing]) -> Section:
    claims = list(_open_questions(standing))
    more = len(claims) - MOST_TOLD
    told = claims[:MOST_TOLD] + ([(f"And {more} more such gaps.",)] if more > 0 else [])
    return Section("What is not known", tuple(told))


def _open_questions(standing: Sequence[Standing]) -> Iterator[Text]:
    once = [cell for one in standing for cell in one.ranked if launches_of(cell) == 1]
    if once:
        yield (
            f"How much {len(once)} cells vary from launch to launch: they had one. load_plan: launches: 3 would tell.",
        )
    weak = [one.best for one in standing if one.best is not None and not carries(one.best)]
    if weak:
        yield (
            f"Whether {len(weak)} of the best are best: their headlines rest on few valid points (first: ",
            _cell(weak[0]),
            ").",
        )
    for one in standing:
        if one.best is None:
            yield (f"{_where(one.question)}: nothing, none of {len(one.others)} cells came to a figure.",)
    for one in standing:
        for slo in objectives(one):
            yield from _unsettled(one, slo, by_capacity(one, slo))


def _unsettled(one: Standing, slo: str, found: Sequence[tuple[CellResult, Capacity]]) -> Iterator[Text]:
    cell, told = found[0]
    if told.certified_rps is None:
        yield (
            f"{_where(one.question)}, {slo_text(slo)}: no rate is certified; {told.verdict}: {told.reason} (",
            _cell(cell),
            ").",
        )
    elif told.refuted_rps is None:
        rate = f"{number(told.certified_rps)} rps"
        yield (
            f"{_where(one.question)}, {slo_text(slo)}: how far above {rate} it holds; no rate was refuted (",
            _cell(cell),
            ").",
        )


def _where(question: Question) -> str:
    return f"{question.model} on {question.hardware}, {question.workload}"


def _markdown(text: Text, page: str) -> str:
    return "".join(
        f"[{_escaped(part.text)}]({part.href(page)})" if isinstance(part, Link) else _escaped(part) for part in text
    )


def _escaped(said: str) -> str:
    """What Markdown, and the HTML within it, would read as its own. Underscores stand within words."""
    clean = escape(str(redacted(said)), quote=False)
    for sign in "\\*[]|":
        clean = clean.replace(sign, f"\\{sign}")
    return clean.replace("\n", " ")


def _line(cells: Sequence[Text], page: str) -> str:
    return f"| {' | '.join(_markdown(cell, page) for cell in cells)} |"


def _section(section: Section, page: str) -> Content:
    claims = element("ul", [element("li", _html(claim, page)) for claim in section.claims], class_="findings")
    tables = [
        element("div", _table(table, page), class_="scroll", tabindex="0", role="region", aria_label=section.title)
        for table in section.tables
    ]
    return [element("h2", section.title), claims if section.claims else None, tables]


def _table(table: Rows, page: str) -> Markup:
    head = element("tr", [element("th", title, scope="col") for title in table.titles])
    body = [element("tr", [element("td", _html(cell, page)) for cell in row]) for row in table.rows]
    return element("table", element("thead", head), element("tbody", body))


def _html(text: Text, page: str) -> Content:
    return [
        element("a", part.text, href=part.href(page)) if isinstance(part, Link) else str(redacted(part))
        for part in text
    ]
