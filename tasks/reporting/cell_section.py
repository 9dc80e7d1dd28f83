"""One cell in full: its points with n, percentiles and intervals, a reason wherever a figure is absent, provenance."""

import shlex
from collections.abc import Iterable, Mapping, Sequence

from experiments.redaction import redacted
from experiments.schema.result import CellResult, Distribution, PointResult, SLOAttainment
from experiments.schema.timeline import Timeline
from tasks.reporting.bounds_section import bounds_section
from tasks.reporting.launches_section import launches_section
from tasks.reporting.markup import Content, Markup, element
from tasks.reporting.notes import Notes
from tasks.reporting.point_section import points_over_time
from tasks.reporting.wording import load_text, number, outcome_text, slo_text

RATES = (
    ("offered_rps", "Offered", "rps"),
    ("completed_rps", "Completed", "rps"),
    ("output_tokens_per_s", "Output", "tokens/s"),
)
LATENCIES = (
    ("ttft_ms", "TTFT", ("p50", "p95")),
    ("tpot_ms", "TPOT", ("p50",)),
    ("e2e_ms", "E2E", ("p50", "p95")),
)


def cell_section(cell: CellResult, name: str, timelines: Mapping[str, Timeline]) -> Markup:
    """Folded until asked for. `timelines` are by the point's directory."""
    outcome = f"grade {cell.grade}" if cell.grade else outcome_text(cell)
    summary = element(
        "summary",
        element("b", name),
        element("span", cell.workload.name),
        element("span", f"{outcome}, launch {cell.launch}, cell {cell.cell_id}", class_="quiet"),
    )
    inside = element(
        "div",
        _reasons(cell),
        _points(cell.points),
        points_over_time(cell, timelines),
        _slos(cell),
        launches_section(cell),
        bounds_section(cell),
        _provenance(cell),
        class_="inside",
    )
    return element("details", summary, inside)


def _reasons(cell: CellResult) -> Content:
    said = [*cell.reasons, *([f"{cell.stage}: {cell.cause}"] if cell.cause else [])]
    said += (
        ["trust_remote_code: the server ran code that comes with the model"] if cell.variant.trust_remote_code else []
    )
    said += [f"no {name}: {reason}" for name, reason in _absent_headlines(cell).items()]
    return element("ul", [element("li", str(redacted(text))) for text in said], class_="notes") if said else None


def _absent_headlines(cell: CellResult) -> dict[str, str]:
    """Capacities stand with their SLOs."""
    return {name: reason for name, reason in cell.headline_reasons.items() if not name.startswith("capacity_rps/")}


def _points(points: Sequence[PointResult]) -> Content:
    if not points:
        return element("p", "No load point was measured.", class_="quiet")
    notes = Notes()
    titles: list[tuple[str, str]] = [("n", "")]
    titles += [(title, unit) for _, title, unit in RATES]
    titles += [(f"{title} {figure}", "ms") for _, title, figures in LATENCIES for figure in figures]
    titles += [("Of bound", "")] if _has_bounds(points) else []
    titles += [("Errors", "")]
    head = [
        element("th", "Load", scope="col"),
        [element("th", title, element("br"), unit, scope="col", class_="number") for title, unit in titles],
        element("th", "Validity", scope="col"),
    ]
    rows = [_point(point, notes, with_bound=_has_bounds(points)) for point in points]
    table = element("table", element("thead", element("tr", head)), element("tbody", rows))
    return [
        element("h3", "Load points"),
        element("div", table, class_="scroll", tabindex="0", role="region", aria_label="Load points"),
        notes.listed(),
    ]


def _has_bounds(points: Sequence[PointResult]) -> bool:
    return any(point.bound is not None and point.bound.share is not None for point in points)


def _bound(point: PointResult, notes: Notes) -> Markup:
    """The share that was attained, and what binds."""
    bound = point.bound
    if bound is None or bound.share is None:
        return _absent(bound.reason if bound else "it was not computed", notes)
    binds = element("span", bound.binds or "", class_="bounds")
    return element("td", f"{number(100 * bound.share, 2)} %", binds, class_="number")


def _point(point: PointResult, notes: Notes, *, with_bound: bool) -> Markup:
    summary = point.summary
    role = point.point.role.replace("_", " ") + (f", launch {point.launch}" if point.launch else "")
    failed = summary.requests - summary.outcomes.get("completed", 0)
    valid = element("span", "valid", class_="good")
    invalid = [element("span", "invalid", class_="bad"), [notes.mark(reason) for reason in summary.invalid_reasons]]
    return element(
        "tr",
        element("th", load_text(point), element("span", role, class_="bounds"), scope="row"),
        element("td", f"{summary.requests:,}", class_="number"),
        [_rate(point, name, notes) for name, _, _ in RATES],
        [
            _percentile(summary.latencies.get(name, Distribution()), figure, notes)
            for name, _, figures in LATENCIES
            for figure in figures
        ],
        _bound(point, notes) if with_bound else None,
        element("td", f"{failed:,}", class_="number"),
        element("td", valid if summary.valid else invalid),
    )


def _rate(point: PointResult, name: str, notes: Notes) -> Markup:
    value = getattr(point.summary, name)
    if value is None:
        return _absent(point.summary.reasons.get(name, "it was not measured"), notes)
    return element("td", number(value), class_="number")


def _absent(reason: str, notes: Notes) -> Markup:
    return element("td", "–", notes.mark(reason), class_="number absent")


def _percentile(latency: Distribution, figure: str, notes: Notes) -> Markup:
    value = getattr(latency, figure)
    if value is None:
        return _absent(latency.reasons.get(figure, "it was not measured"), notes)
    bounds = element("span", interval_text(*latency.intervals.get(figure, (None, None))), class_="bounds")
    return element("td", number(value), bounds, class_="number")


def interval_text(low: float | None, high: float | None) -> str:
    """Two sides, one, or none; never a blank."""
    if low is not None and high is not None:
        return f"{number(low)}–{number(high)}"
    if low is not None:
        return f"≥ {number(low)}"
    return f"≤ {number(high)}" if high is not None else "no interval"


def _slos(cell: CellResult) -> Content:
    held = [(point, seen) for point in cell.points for seen in point.summary.slos]
    if not held:
        return None
    notes = Notes()
    titles = ("SLO", "Load", "Requests that met it", "Goodput, rps", "Percentile, ms", "At 99 %")
    head = [
        element("th", title, scope="col", class_="number" if i in (2, 3, 4) else None) for i, title in enumerate(titles)
    ]
    ordered = sorted(held, key=lambda item: item[1].slo)
    firsts = {id(next(seen for _, seen in ordered if seen.slo == slo)) for slo in {seen.slo for _, seen in ordered}}
    rows = [_slo(point, seen, notes, is_first=id(seen) in firsts) for point, seen in ordered]
    table = element("table", element("thead", element("tr", head)), element("tbody", rows))
    capacities = [element("li", f"{slo_text(c.slo)}: {c.verdict}: {c.reason}") for c in cell.capacities]
    return [
        element("h3", "Service-level objectives"),
        element("ul", capacities, class_="notes"),
        element("div", table, class_="scroll", tabindex="0", role="region", aria_label="Service-level objectives"),
        notes.listed(),
    ]


def _slo(point: PointResult, seen: SLOAttainment, notes: Notes, *, is_first: bool) -> Markup:
    tone = {"certified": "good", "refuted": "bad", "unknown": "absent"}[seen.verdict]
    return element(
        "tr",
        element("th", slo_text(seen.slo) if is_first else "", scope="row"),
        element("td", load_text(point)),
        _attainment(seen, notes),
        element("td", number(seen.goodput_rps) if seen.goodput_rps is not None else "–", class_="number"),
        _bounded(seen),
        element("td", element("span", seen.verdict, class_=tone), notes.mark(seen.reason) if seen.reason else None),
        class_="group" if is_first else None,
    )


def _attainment(seen: SLOAttainment, notes: Notes) -> Markup:
    if seen.attainment is None:
        return _absent(seen.reason or "it was not measured", notes)
    low, high = seen.attainment_interval or (0.0, 1.0)
    bounds = element("span", f"{low:.1%}–{high:.1%} of {seen.n:,}", class_="bounds")
    return element("td", f"{seen.attainment:.1%}", bounds, class_="number")


def _bounded(seen: SLOAttainment) -> Markup:
    """Where the percentile falls on a request that failed, it has no value; where n gives no bound, there is none."""
    if seen.attainment is None:
        return element("td", "–", class_="number absent")
    value = number(seen.percentile_ms) if seen.percentile_ms is not None else "a failed request"
    bounds = element("span", interval_text(seen.lower_ms, seen.upper_ms), class_="bounds")
    return element("td", value, bounds, class_="number")


def _provenance(cell: CellResult) -> Content:
    clean = redacted(cell.provenance)
    facts: dict[str, object] = dict(clean) if isinstance(clean, dict) else {}
    argv = facts.pop("argv", None)
    stages = " · ".join(f"{stage} {number(seconds)} s" for stage, seconds in cell.stages_s.items())
    said = {
        "Variant": f"{cell.variant.label}, id {cell.variant.id}",
        "Campaign": f"{cell.campaign}, {cell.started_at} to {cell.ended_at}" if cell.started_at else cell.campaign,
        "Stages": stages,
        "MLflow run": cell.mlflow_run_id,
        "Prefect flow run": cell.prefect_run_id,
        **{name.replace("_", " ").capitalize(): _flat(value) for name, value in facts.items()},
    }
    return [
        element("h3", "Provenance"),
        element("dl", [[element("dt", label), element("dd", text)] for label, text in said.items() if text]),
        [element("h3", "Launch command"), element("pre", _command(argv))] if argv else None,
    ]


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return " · ".join(f"{key} {_flat(item)}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _command(argv: object) -> str:
    return shlex.join(map(str, argv)) if isinstance(argv, Iterable) and not isinstance(argv, str) else str(argv)
