"""What a run's page says of a cell, in Markdown: what it is, what it showed, why something is absent, what to type."""

from collections.abc import Iterator

from experiments.redaction import redacted
from experiments.schema.facets import arrivals_of
from experiments.schema.load import ClosedLoop
from experiments.schema.result import CellResult, Distribution, PointResult
from tasks.tracking.figures import facets

LIMIT = 7500
"""Of a tag, which is what MLflow keeps a description in."""

LATENCIES = ("ttft_ms", "tpot_ms", "e2e_ms")
POINTS_TOLD = 24


def cell_description(cell: CellResult) -> str:
    """Markdown for the run's page."""
    told = facets(cell)
    asked = f"{told.pop('input_tokens')} tokens in, {told.pop('output_tokens')} out"
    lines = [f"**{cell.variant.label}** on **{cell.workload.name}** ({asked}; {cell.variant.hardware})", ""]
    lines += [" · ".join(f"{name.replace('_', ' ')} {value}" for name, value in told.items()), ""]
    lines += [*_outcome(cell), *_headlines(cell), *_capacities(cell), *_points(cell), *_commands(cell)]
    text = str(redacted("\n".join(lines)))
    return text if len(text) <= LIMIT else f"{text[:LIMIT]}…\n\nThe rest is in cell.json."


def _outcome(cell: CellResult) -> Iterator[str]:
    grade = f", grade {cell.grade}" if cell.grade else ""
    yield f"{cell.state.value.capitalize()}{grade}, launch {cell.launch} of campaign `{cell.campaign}`."
    yield ""
    if cell.cause:
        named = f"**{cell.failure_class}** at stage" if cell.failure_class else "Stage"
        yield from (f"{named} **{cell.stage}**: {cell.cause}", "")
    if cell.log_excerpt:
        yield from ("```", cell.log_excerpt, "```", "")
    for reason in cell.reasons:
        yield f"- {reason}"
    yield ""


def _headlines(cell: CellResult) -> Iterator[str]:
    for name, value in cell.headlines.items():
        between = cell.between_launches.get(name)
        low, high = (between.low, between.high) if between else (None, None)
        interval = f" (95 % between launches: {low:.4g} to {high:.4g})" if low is not None and high is not None else ""
        yield f"- `{name}`: {value:.4g}{interval}"
    for name, reason in cell.headline_reasons.items():
        yield f"- `{name}`: none: {reason}"
    for flag in cell.quality.flags if cell.quality else ():
        yield f"- quality: **{flag}**"


def _capacities(cell: CellResult) -> Iterator[str]:
    for told in cell.capacities:
        yield f"- {told.slo}: {told.verdict}: {told.reason}"


def _points(cell: CellResult) -> Iterator[str]:
    """The steps of the charts, and what each was."""
    if not cell.points:
        return
    yield from ("", "| step | load | completed rps | output tokens/s | TTFT p50 ms | TPOT p50 ms | E2E p50 ms | n | |")
    yield "|---|---|---|---|---|---|---|---|---|"
    for point in cell.points[:POINTS_TOLD]:
        yield _point(point)


def _point(point: PointResult) -> str:
    load, summary = point.point.load, point.summary
    if isinstance(load, ClosedLoop):
        asked = f"{load.concurrency} at a time"
    else:
        asked = f"{_figure(load.rate_rps)} rps {arrivals_of(load)}"
    medians = [summary.latencies.get(name, Distribution()).p50 for name in LATENCIES]
    figures = [_figure(value) for value in (summary.completed_rps, summary.output_tokens_per_s, *medians)]
    valid = "valid" if summary.valid else "**invalid**"
    return f"| {point.point.step} | {asked} | {' | '.join(figures)} | {summary.requests} | {valid} |"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _commands(cell: CellResult) -> Iterator[str]:
    yield from ("", f"The launch command: `dyno command {cell.cell_id}`. Its records: `points/` of this run.")
    if cell.prefect_run_id:
        yield f"Prefect flow run `{cell.prefect_run_id}`."
