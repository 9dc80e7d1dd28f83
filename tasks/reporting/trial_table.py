"""The end of `dyno load` for a terminal: what was asked, what came, and why a figure is absent."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiments.schema.result import LATENCIES, TURN_FIGURES, Distribution, TrialSummary

PERCENTILES = ("mean", "p50", "p90", "p95", "p99")


def trial_table(summary: TrialSummary) -> RenderableType:
    """Latencies in ms with n, the rates, the outcomes, the SLOs, and the validity with its reasons."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("latency, ms")
    for name in ("n", *PERCENTILES):
        table.add_column(name, justify="right")
    absent: dict[str, None] = {}
    for name in LATENCIES:
        latency = summary.latencies.get(name, Distribution())
        table.add_row(name.removesuffix("_ms"), str(latency.n), *(_figure(latency, key) for key in PERCENTILES))
        absent |= dict.fromkeys(
            reason if reason.startswith(key) else f"{key} {reason}"
            for key, reason in latency.reasons.items()
            if key in PERCENTILES
        )
    notes = [Text(f"  – : {reason}", style="dim") for reason in list(absent)[:4]]
    turns: list[RenderableType] = [_turns(summary), Text()] if summary.turns else []
    return Group(table, *notes, Text(), *turns, *_rates(summary), *_slos(summary), *_validity(summary))


def _turns(summary: TrialSummary) -> Table:
    """One line for each turn of the conversations."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    shown = [(name, key) for name in TURN_FIGURES[:3] for key in ("p50", "p95")]
    headers = [f"{name.removesuffix('_ms')} {key}" for name, key in shown]
    for name in ("turn", "n", *headers, "prompt tokens p50", "cache hits"):
        table.add_column(name, justify="right")
    for turn in summary.turns:
        figures = {name: turn.figures.get(name, Distribution()) for name in TURN_FIGURES}
        hits = "–" if turn.cache_hit_ratio is None else f"{100 * turn.cache_hit_ratio:.0f} %"
        prompt = figures["prompt_tokens"].p50
        table.add_row(
            str(turn.turn),
            str(figures["e2e_ms"].n),
            *(_figure(figures[name], key) for name, key in shown),
            "–" if prompt is None else f"{prompt:.0f}",
            hits,
        )
    return table


def _figure(latency: Distribution, name: str) -> str:
    value = getattr(latency, name)
    return "–" if value is None else f"{value:.2f}"


def _rates(summary: TrialSummary) -> list[Text]:
    def line(label: str, value: float | None, unit: str) -> Text:
        return Text(f"{label:<20}{'–' if value is None else f'{value:,.1f}':>12} {unit}")

    outcomes = ", ".join(f"{n} {outcome}" for outcome, n in summary.outcomes.items() if n)
    return [
        line("offered", summary.offered_rps, "rps"),
        line("achieved", summary.achieved_rps, "rps"),
        line("output", summary.output_tokens_per_s, "tokens/s"),
        Text(f"{'requests':<20}{summary.requests:>12} {outcomes}"),
        *([Text(f"{'engine':<20} {_engine(summary)}")] if summary.engine else []),
    ]


def _engine(summary: TrialSummary) -> str:
    """What it told of itself in the window."""
    return ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in summary.engine.items())


def _slos(summary: TrialSummary) -> list[Text]:
    lines = []
    for slo in summary.slos:
        met = "–" if slo.attainment is None else f"{100 * slo.attainment:.1f} % met it"
        lines.append(Text(f"{slo.slo:<20}{slo.verdict:>12} {met}{f' ({slo.reason})' if slo.reason else ''}"))
    return lines


def _validity(summary: TrialSummary) -> list[Text]:
    if summary.valid:
        return [Text("valid", style="green")]
    return [Text("invalid:", style="yellow"), *(Text(f"  {reason}") for reason in summary.invalid_reasons)]
