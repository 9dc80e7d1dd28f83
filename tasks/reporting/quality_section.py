"""Quality beside speed: a table of the variants that were scored, and what is past a limit."""

from collections.abc import Mapping, Sequence

from experiments.schema.quality import Interval, QualityComparison, QualityResult
from experiments.schema.result import CellResult
from tasks.reporting.markup import Content, Markup, element
from tasks.reporting.notes import Notes
from tasks.reporting.wording import number

HOW_TO_READ = """
Perplexity: of fixed reference texts, token by token, each after those before it. Held against the reference variant
position by position: the ratio of the perplexities, and the share of positions at which both hold the same token the
likeliest. Greedy answers: the mean share of each until it parts from the reference's. Small figures are 95 % intervals
by a bootstrap over whole texts or prompts, Wilson's for questions.
"""
TITLES = ("Perplexity", "Against the reference", "Likeliest token", "Greedy answers", "Task")


def quality_section(cells: Sequence[CellResult], names: Mapping[str, str]) -> Content:
    """Nothing where no quality was asked for."""
    scored = {cell.variant.id: cell.quality for cell in cells if cell.quality is not None}
    if not scored:
        return None
    notes = Notes()
    titles = [element("th", title, scope="col", class_="number") for title in TITLES]
    head = element("tr", element("th", "Variant", scope="col"), titles, element("th", "Reference", scope="col"))
    rows = [_row(names[id_], quality, notes) for id_, quality in scored.items()]
    flagged = [element("li", f"{names[id_]}: {flag}") for id_, found in scored.items() for flag in found.flags]
    return element(
        "section",
        element("h2", "Quality"),
        element("ul", flagged, class_="findings") if flagged else None,
        element(
            "div",
            element("table", element("thead", head), element("tbody", rows)),
            class_="scroll", tabindex="0", role="region", aria_label="Quality",
        ),
        notes.listed(),
        element("p", HOW_TO_READ, class_="quiet"),
    )  # fmt: skip


def _row(name: str, found: QualityResult, notes: Notes) -> Markup:
    against = found.comparison
    n = f"{found.tokens:,} tokens of {found.texts} texts"
    return element(
        "tr",
        element("th", name, scope="row"),
        _figure(found.perplexity, found.perplexity_interval, _why(found, "perplexity"), notes, beside=n),
        *_compared(found, against, notes),
        _task(found),
        element("td", _reference(against) if against else "none"),
    )


def _compared(found: QualityResult, against: QualityComparison | None, notes: Notes) -> list[Markup]:
    if against is None:
        why = _why(found, "comparison")
        return [_figure(None, None, why, notes) for _ in range(3)]
    reasons = against.reasons
    return [
        _figure(against.perplexity_ratio, against.perplexity_ratio_interval, reasons.get("perplexity_ratio", ""), notes,
                beside=f"{against.tokens:,} tokens", digits=4),
        _figure(against.agreement, against.agreement_interval, reasons.get("agreement", ""), notes, is_share=True),
        _figure(against.greedy_agreement, against.greedy_agreement_interval, reasons.get("greedy_agreement", ""), notes,
                is_share=True, beside=f"{against.identical_answers} of {against.answers} identical"),
    ]  # fmt: skip


def _figure(
    value: float | None,
    interval: Interval | None,
    why: str,
    notes: Notes,
    *,
    beside: str = "",
    is_share: bool = False,
    digits: int = 3,
) -> Markup:
    if value is None:
        return element("td", "absent", notes.mark(why or "it was not measured"), class_="number absent")

    def shown(one: float) -> str:
        return f"{one:.1%}" if is_share else number(one, digits)

    bounds = f"{shown(interval[0])}–{shown(interval[1])}" if interval else ""
    small = [element("span", text, class_="bounds") for text in (bounds, beside) if text]
    return element("td", shown(value), small, class_="number")


def _task(found: QualityResult) -> Markup:
    task = found.task
    if task is None:
        return element("td", "–", class_="number")
    told = (f"{task.interval[0]:.1%}–{task.interval[1]:.1%}", f"{task.correct} of {task.questions}")
    small = [element("span", text, class_="bounds") for text in told]
    return element("td", f"{task.accuracy:.1%}", small, class_="number")


def _why(found: QualityResult, name: str) -> str:
    return found.reasons.get(name, "")


def _reference(against: QualityComparison) -> str:
    return "it is the reference" if against.reference_is == "itself" else f"{against.reference}: {against.reference_is}"
