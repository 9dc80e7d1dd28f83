"""One load point beyond its row in the table: over time, what engine and GPU said, turn by turn."""

from collections.abc import Mapping, Sequence

from experiments.schema.result import CellResult, Distribution, PointResult, TrialSummary, TurnSummary
from experiments.schema.timeline import Timeline
from tasks.reporting.markup import Content, Markup, element
from tasks.reporting.timelines import timeline_figure
from tasks.reporting.wording import NONE, load_text, number

ENGINE = (
    ("mean_running_requests", "running", "requests in the mean"),
    ("max_waiting_requests", "waiting", "requests at most"),
    ("max_kv_cache_usage_ratio", "KV cache in use", "of it at most"),
    ("preemptions", "preemptions", ""),
)
GPU = (
    ("mean_power_w", "power", "W in the mean"),
    ("mean_utilisation_percent", "busy", "% in the mean"),
    ("mean_sm_clock_mhz", "SM clock", "MHz in the mean"),
    ("max_memory_used_gib", "memory", "GiB at most"),
    ("max_temperature_c", "temperature", "°C at most"),
    ("power_capped_share", "at its power limit", "of the time"),
)
SHARES = ("max_kv_cache_usage_ratio", "power_capped_share")
TURN_COLUMNS = (
    ("ttft_ms", "p50", "TTFT p50", "ms"),
    ("ttft_ms", "p95", "TTFT p95", "ms"),
    ("tpot_ms", "p50", "TPOT p50", "ms"),
    ("e2e_ms", "p50", "E2E p50", "ms"),
    ("prompt_tokens", "p50", "Prompt p50", "tokens"),
)


def points_over_time(cell: CellResult, timelines: Mapping[str, Timeline]) -> Content:
    """Folded, point by point; nothing where nothing is known beyond the table."""
    shown = [point for point in cell.points if point.directory in timelines or point.summary.turns]
    if not shown:
        return None
    return [
        element("h3", "Load points over time"),
        element("div", [_point(point, timelines.get(point.directory)) for point in shown], class_="points"),
    ]


def _point(point: PointResult, timeline: Timeline | None) -> Markup:
    tone, validity = ("good", "valid") if point.summary.valid else ("bad", "invalid")
    summary = element(
        "summary",
        element("b", load_text(point)),
        element("span", point.point.role.replace("_", " ")),
        element("span", element("span", validity, class_=tone), class_="quiet"),
    )
    inside = element(
        "div",
        timeline_figure(timeline, f"{load_text(point)}, {point.point.role}") if timeline else None,
        element("dl", _told(point.summary)),
        _turns(point.summary.turns),
        class_="inside",
    )
    return element("details", summary, inside, class_="point")


def _told(summary: TrialSummary) -> list[Content]:
    """What engine and GPU said in the window, or why they said nothing."""
    engine = _figures(summary.engine, ENGINE) or summary.reasons.get("engine", "it was not asked")
    gpu = [_energy(summary), *([told] if (told := _figures(summary.gpu, GPU)) else [])]
    return [
        [element("dt", "Engine, by its own metrics"), element("dd", engine)],
        [element("dt", "GPU"), element("dd", " · ".join(gpu))],
    ]


def _energy(summary: TrialSummary) -> str:
    if summary.energy_j is None:
        return summary.reasons.get("energy_j", "it was not looked at")
    per_token = summary.joules_per_output_token
    each = f" ({number(per_token)} J per output token)" if per_token is not None else ""
    return f"energy {number(summary.energy_j)} J{each}"


def _figures(told: Mapping[str, float], known: Sequence[tuple[str, str, str]]) -> str:
    def text(name: str, what: str, unit: str) -> str:
        value = told[name]
        plain = f"{value:,.0f}" if value.is_integer() else number(value)
        return f"{what} {f'{value:.0%}' if name in SHARES else plain} {unit}".strip()

    return " · ".join(text(*figure) for figure in known if figure[0] in told)


def _turns(turns: Sequence[TurnSummary]) -> Content:
    """One line for each turn of the conversations."""
    if not turns:
        return None
    titles = [("n", ""), *((title, unit) for _, _, title, unit in TURN_COLUMNS), ("From cache", "of the prompt")]
    head = [
        element("th", "Turn", scope="col"),
        [element("th", title, element("br"), unit, scope="col", class_="number") for title, unit in titles],
    ]
    table = element("table", element("thead", element("tr", head)), element("tbody", map(_turn, turns)))
    return element("div", table, class_="scroll", tabindex="0", role="region", aria_label="Turn by turn")


def _turn(turn: TurnSummary) -> Markup:
    figures = [turn.figures.get(name, Distribution()) for name, *_ in TURN_COLUMNS]
    values = [getattr(figure, key) for figure, (_, key, *_) in zip(figures, TURN_COLUMNS, strict=True)]
    hits = NONE if turn.cache_hit_ratio is None else f"{turn.cache_hit_ratio:.0%}"
    return element(
        "tr",
        element("th", f"{turn.turn + 1}", scope="row"),
        element("td", f"{turn.requests:,}", class_="number"),
        [element("td", NONE if value is None else number(value), class_="number") for value in values],
        element("td", hits, class_="number"),
    )
