"""Conversations turn by turn: what a growing history costs, and what the server's prefix cache gives back."""

from collections.abc import Callable, Mapping

import numpy as np

from experiments.schema.result import Distribution, TurnSummary
from tasks.analysis.columns import Columns, Flags, Floats
from tasks.analysis.distributions import absent, distribution, independent_at
from tasks.analysis.latency import e2e_ms, tpot_ms, ttft_ms
from tasks.analysis.throughput import cache_hit_ratio
from tasks.loadgen.record import Outcome


def hit_ratio(columns: Columns) -> Floats:
    """Cached over prompt tokens, of each request."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(columns.prompt > 0, columns.cached / columns.prompt, np.nan)


FIGURES: Mapping[str, tuple[Callable[[Columns], Floats], str]] = {
    "ttft_ms": (ttft_ms, "no completed request has it"),
    "tpot_ms": (tpot_ms, "no completed request has two chunks and a known count of output tokens"),
    "e2e_ms": (e2e_ms, "no completed request has it"),
    "prompt_tokens": (lambda columns: columns.prompt, "the server does not count the prompt's tokens"),
    "cache_hit_ratio": (hit_ratio, "the server does not say how many prompt tokens came from its cache"),
}


def turn_summaries(columns: Columns) -> tuple[TurnSummary, ...]:
    """In the order of turns; empty without conversations."""
    due = columns.in_window & ~np.isnan(columns.turn)
    values = {name: define(columns) for name, (define, _) in FIGURES.items()} if due.any() else {}
    return tuple(
        _summary(columns, int(turn), due & (columns.turn == turn), values) for turn in np.unique(columns.turn[due])
    )


def _summary(columns: Columns, turn: int, these: Flags, values: Mapping[str, Floats]) -> TurnSummary:
    ratio, why_not = cache_hit_ratio(columns, these)
    completed = these & columns.completed
    by_due = np.argsort(columns.due, kind="stable")
    by_due = by_due[completed[by_due]]
    return TurnSummary(
        turn=turn,
        requests=int(these.sum()),
        outcomes={outcome.value: int((columns.outcome[these] == outcome.value).sum()) for outcome in Outcome},
        cache_hit_ratio=ratio,
        figures={name: _figure(name, value[by_due]) for name, value in values.items()},
        reasons={"cache_hit_ratio": why_not} if why_not else {},
    )


def _figure(name: str, in_due_order: Floats) -> Distribution:
    if not len(in_due_order):
        return absent("no request of this turn that was due in the window completed")
    present = in_due_order[~np.isnan(in_due_order)]
    if not len(present):
        return absent(FIGURES[name][1])
    return distribution(present, independent=independent_at(present))
