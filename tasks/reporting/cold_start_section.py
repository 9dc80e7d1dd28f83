"""The cold-start ledger in the report: each start of a server, phase by phase, as a table and as bars."""

from collections.abc import Mapping, Sequence

from experiments.schema.cold_start import PHASES, ColdStart
from experiments.schema.result import CellResult
from tasks.reporting.markup import Content, Markup, element
from tasks.reporting.notes import Notes
from tasks.reporting.wording import number

TITLES = {
    "environment_s": "Environment",
    "pull_s": "Image",
    "weights_s": "Weights",
    "compile_s": "Compile",
    "capture_s": "Capture",
    "healthy_s": "Healthy",
    "first_token_s": "First token",
}
SEGMENTS = ("environment", "image", "weights", "compile", "capture", "rest of the start", "first token")
HOW_TO_READ = """
Healthy and first token count from the start of the server's process; weights, compile and capture are within it, as its
log tells them; environment and image come before it, and are near 0 where they were there already. The bars add up what
comes one after the other: what the log does not tell is in the rest of the start.
"""

Start = tuple[str, ColdStart]


def cold_start_section(cells: Sequence[CellResult], names: Mapping[str, str]) -> Content:
    """Nothing where no server was started."""
    starts = _starts(cells, names)
    if not starts:
        return None
    notes = Notes()
    titles = [element("th", title, element("br"), "s", scope="col", class_="number") for title in TITLES.values()]
    head = element("tr", element("th", "Start", scope="col"), titles)
    table = element(
        "table", element("thead", head), element("tbody", [_row(name, start, notes) for name, start in starts])
    )
    return element(
        "section",
        element("h2", "Cold starts"),
        element("div", table, class_="scroll", tabindex="0", role="region", aria_label="Cold starts"),
        notes.listed(),
        _bars(starts),
        element("p", HOW_TO_READ, class_="quiet"),
    )


def _starts(cells: Sequence[CellResult], names: Mapping[str, str]) -> list[Start]:
    """Each once: the cells of a launch share its start."""
    found = {
        (cell.variant.id, start.launch, start.on_purpose): (names[cell.variant.id], start)
        for cell in cells
        for start in cell.cold_starts
    }
    return list(found.values())


def label(start: ColdStart) -> str:
    """`launch 2, cold on purpose`."""
    word = "cold" if start.cold else "warm"
    return f"launch {start.launch}, {word}{' (made cold before it)' if start.on_purpose else ''}"


def _row(name: str, start: ColdStart, notes: Notes) -> Markup:
    told = element("span", label(start), notes.mark(start.how_known), class_="bounds")
    return element("tr", element("th", name, told, scope="row"), [_phase(start, phase, notes) for phase in PHASES])


def _phase(start: ColdStart, phase: str, notes: Notes) -> Markup:
    value = start.phases()[phase]
    if value is None:
        return element("td", "–", notes.mark(start.reasons.get(phase, "it was not measured")), class_="number absent")
    return element("td", number(value), class_="number")


def segments(start: ColdStart) -> tuple[float, ...]:
    """Seconds one after the other, as SEGMENTS names them."""
    inside = [start.weights_s or 0.0, start.compile_s or 0.0, start.capture_s or 0.0]
    healthy = start.healthy_s or 0.0
    first_token = max(0.0, (start.first_token_s or 0.0) - healthy)
    return (
        start.environment_s or 0.0, start.pull_s or 0.0, *inside, max(0.0, healthy - sum(inside)), first_token,
    )  # fmt: skip


def _bars(starts: Sequence[Start]) -> list[Markup]:
    longest = max(sum(segments(start)) for _, start in starts) or 1.0
    shown = [index for index in range(len(SEGMENTS)) if any(segments(start)[index] for _, start in starts)]
    keys = [element("span", element("i", style=f"background: var(--series-{i})"), SEGMENTS[i]) for i in shown]
    rows = [_bar(f"{name}, {label(start)}", start, longest) for name, start in starts]
    return [element("p", keys, class_="keys quiet"), element("div", rows, class_="starts")]


def _bar(name: str, start: ColdStart, longest: float) -> Markup:
    parts = segments(start)
    pieces = [
        element("i", style=f"width: {100 * seconds / longest:.2f}%; background: var(--series-{index})",
                title=f"{SEGMENTS[index]}: {number(seconds)} s")
        for index, seconds in enumerate(parts)
        if seconds
    ]  # fmt: skip
    said = ", ".join(f"{SEGMENTS[i]} {number(seconds)} s" for i, seconds in enumerate(parts) if seconds)
    return element(
        "div",
        element("p", name, element("span", f"{number(sum(parts))} s", class_="bounds"), class_="track-label"),
        element("div", pieces, class_="bar", role="img", aria_label=f"{name}: {said}"),
        class_="start",
    )
