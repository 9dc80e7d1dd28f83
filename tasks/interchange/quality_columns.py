"""What a cell's table says of quality and of starts."""

from collections.abc import Iterator

from experiments.schema.cold_start import PHASES, ColdStart
from experiments.schema.quality import Interval, QualityComparison, QualityResult
from experiments.schema.result import CellResult
from tasks.interchange.table import Column, Row, Value, explained, figure, text

COMPARED = {
    "perplexity_ratio": "perplexity over that of the reference variant",
    "agreement": "share of positions whose likeliest token is the reference's",
    "greedy_agreement": "mean share of a greedy answer until it parts from the reference's",
}
STARTS = {"cold_start": "of the last cold start", "warm_start": "of the last start that was not cold"}
PHASE_MEANINGS = {
    "environment_s": "making the environment",
    "pull_s": "pulling the image",
    "weights_s": "loading the weights",
    "compile_s": "compiling",
    "capture_s": "capturing graphs",
    "healthy_s": "until it says that it is healthy",
    "first_token_s": "until its first token",
}


def quality_columns() -> Iterator[Column]:
    """In the order of the table."""
    yield figure("quality_perplexity", "perplexity of the reference texts", "1")
    yield from _ends("quality_perplexity", "1")
    for name, meaning in COMPARED.items():
        yield figure(f"quality_{name}", meaning, "share of 1" if "agreement" in name else "1")
        yield from _ends(f"quality_{name}", "share of 1" if "agreement" in name else "1")
    yield figure("quality_task_accuracy", "share of the task's questions answered exactly", "share of 1")
    yield from _ends("quality_task_accuracy", "share of 1")
    yield text("quality_flags", "limits of quality that it is past")
    for start, whose in STARTS.items():
        for phase in PHASES:
            yield figure(f"{start}_{phase}", f"{PHASE_MEANINGS[phase]}, {whose}", "s")


def _ends(name: str, unit: str) -> Iterator[Column]:
    for side in ("low", "high"):
        yield Column(f"{name}_{side}", "number", f"{side} end of the 95 % interval", unit)


def quality_row(cell: CellResult) -> Row:
    """Of the columns above."""
    starts = {name: [one for one in cell.cold_starts if one.cold is (name == "cold_start")] for name in STARTS}
    row: Row = {"quality_flags": "; ".join(cell.quality.flags) if cell.quality else None}
    for name, known in starts.items():
        row |= _start(name, known[-1] if known else None)
    return row | _quality(cell.quality)


def _quality(told: QualityResult | None) -> Row:
    against = told.comparison if told else None
    found: dict[str, tuple[Value, Interval | None]] = {
        "perplexity": (told.perplexity, told.perplexity_interval) if told else (None, None),
        "task_accuracy": (told.task.accuracy, told.task.interval) if told and told.task else (None, None),
        **{name: _compared(against, name) for name in COMPARED},
    }
    reasons = (told.reasons if told else {}) | (against.reasons if against else {})
    why = {f"quality_{name}": reason for name, reason in reasons.items()}
    row = explained({f"quality_{name}": value for name, (value, _) in found.items()}, why, "no quality was asked for")
    for name, (_, ends) in found.items():
        low, high = ends or (None, None)
        row |= {f"quality_{name}_low": low, f"quality_{name}_high": high}
    return row


def _compared(against: QualityComparison | None, name: str) -> tuple[Value, Interval | None]:
    return (getattr(against, name), getattr(against, f"{name}_interval")) if against else (None, None)


def _start(name: str, told: ColdStart | None) -> Row:
    figures: dict[str, Value] = {f"{name}_{phase}": value for phase, value in (told.phases() if told else {}).items()}
    missing: dict[str, Value] = {f"{name}_{phase}": None for phase in PHASES}
    why = {f"{name}_{phase}": reason for phase, reason in (told.reasons if told else {}).items()}
    none = "it was not told" if told else f"there was no {name.replace('_', ' ')}"
    return explained(missing | figures, why, none)
