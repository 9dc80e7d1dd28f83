"""Rates and amounts per second of the window W: what arrived in it, whoever asked for it and whenever that was."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tasks.analysis.columns import NS_PER_S, Columns, Flags, Floats

CLOSED_LOOP_OFFERS_NOTHING = "in closed loop the server's answers set the rate: nothing is offered"


@dataclass(frozen=True, slots=True)
class Throughput:
    """None with its reason under the same name where a figure cannot be told."""

    offered_rps: float | None
    achieved_rps: float | None
    completed_rps: float
    output_tokens_per_s: float | None
    input_tokens_per_s: float | None
    total_tokens_per_s: float | None
    mean_concurrency: float
    littles_law_concurrency: float | None
    cache_hit_ratio: float | None
    prompt_tokens: int | None
    output_tokens: int | None
    reasons: dict[str, str] = field(default_factory=dict)


def tokens_of_chunks(columns: Columns) -> Floats:
    """n_k where every n_k of the request is known, else N spread evenly over its chunks; NaN where N is unknown too."""
    unknown = np.bincount(columns.request, weights=np.isnan(columns.chunk_tokens), minlength=len(columns)) > 0
    even = columns.output / np.maximum(columns.chunks, 1)
    return np.where(unknown[columns.request], even[columns.request], columns.chunk_tokens)


def throughput(columns: Columns, *, open_loop: bool) -> Throughput:
    """Offered, achieved and completed are requests due, sent and completed in W over T_W. Where W ends with the last
    answer of an open loop, nothing is due in its drain, and the first two are rates of the schedule."""
    seconds = columns.window_s
    is_drained = open_loop and _ends_with_the_last_answer(columns)
    due, sent = columns.due[columns.in_window], columns.sent[columns.within(columns.sent)]
    offered, achieved = (_rate(times, None if is_drained else seconds) for times in (due, sent))
    output, why_output = _output_rate(columns)
    input_, why_input = _input_rate(columns)
    hit_ratio, why_hit = cache_hit_ratio(columns)
    reasons = {
        "offered_rps": _why_nothing_offered(offered) if open_loop else CLOSED_LOOP_OFFERS_NOTHING,
        "achieved_rps": _why_nothing_offered(achieved),
        "output_tokens_per_s": why_output,
        "input_tokens_per_s": why_input,
        "total_tokens_per_s": why_output or why_input,
        "cache_hit_ratio": why_hit,
    }
    return Throughput(
        offered_rps=offered if open_loop else None,
        achieved_rps=achieved,
        completed_rps=float((columns.completed & columns.within(columns.end)).sum() / seconds),
        output_tokens_per_s=output,
        input_tokens_per_s=input_,
        total_tokens_per_s=None if output is None or input_ is None else output + input_,
        mean_concurrency=_mean_concurrency(columns),
        littles_law_concurrency=_littles_law(columns, len(sent) / seconds),
        cache_hit_ratio=hit_ratio,
        prompt_tokens=_total(columns.prompt[columns.measured]),
        output_tokens=_total(columns.output[columns.measured]),
        reasons={name: reason for name, reason in reasons.items() if reason},
    )


def _why_nothing_offered(rate: float | None) -> str:
    return "requests at fewer than two times have no rate" if rate is None else ""


def _ends_with_the_last_answer(columns: Columns) -> bool:
    """So ends the window of a trial that is bounded by requests; one bounded by seconds ends when it was told to."""
    last = np.nanmax(np.concatenate((columns.due, columns.end)))
    return bool(abs(last - columns.window_ns) < NS_PER_S / 1e6)


def _rate(times: Floats, seconds: float | None) -> float | None:
    """n events in so many seconds; where these are not given, n − 1 gaps from the first to the last, if any."""
    if seconds is not None:
        return len(times) / seconds
    span_s = float(np.ptp(times)) / NS_PER_S if len(times) > 1 else 0.0
    return (len(times) - 1) / span_s if span_s > 0 else None


def _output_rate(columns: Columns) -> tuple[float | None, str]:
    tokens = tokens_of_chunks(columns)[columns.within(columns.chunk_at)]
    if not len(tokens):
        return None, "no token arrived in the window"
    if np.isnan(tokens).all():
        return None, "the server does not say how many tokens it sent; give --tokenizer to count them"
    return float(np.nansum(tokens) / columns.window_s), ""


def _input_rate(columns: Columns) -> tuple[float | None, str]:
    prompts = columns.prompt[columns.within(columns.first_chunk_at())]
    if not len(prompts):
        return None, "no first token arrived in the window"
    if np.isnan(prompts).any():
        return None, f"the prompt's tokens are unknown for {int(np.isnan(prompts).sum())} of {len(prompts)} requests"
    return float(prompts.sum() / columns.window_s), ""


def cache_hit_ratio(columns: Columns, of: Flags | None = None) -> tuple[float | None, str]:
    """Σ cached / Σ prompt tokens over the requests (of all, or `of` those) that came with both, and the reason where
    none did."""
    told = columns.measured & ~np.isnan(columns.cached) & (columns.prompt > 0)
    told &= True if of is None else of
    if not told.any():
        return None, "the server does not say how many prompt tokens came from its cache"
    return float(columns.cached[told].sum() / columns.prompt[told].sum()), ""


def engine_cache_hit_ratio(counters: Mapping[str, float], why_none: str) -> tuple[float | None, str]:
    """The growth of the engine's own counters: cached over all prompt tokens, where the engine counts all of them or
    the others; and the reason where it cannot be told."""
    cached = counters.get("cached_prompt_tokens")
    if cached is None:
        return None, why_none or "the engine has no counter of prompt tokens from its cache"
    others = counters.get("uncached_prompt_tokens")
    total = counters.get("prompt_tokens") if others is None else cached + others
    if not total:
        return None, "the engine's counters saw no prompt" if total == 0 else "the engine does not count its prompts"
    return cached / total, ""


def _mean_concurrency(columns: Columns) -> float:
    """A request is in flight from s until its end; one without an end is in flight to the end of W."""
    sent = ~np.isnan(columns.sent)
    start = np.clip(columns.sent[sent], 0, columns.window_ns)
    end = np.clip(np.where(np.isnan(columns.end), columns.window_ns, columns.end)[sent], 0, columns.window_ns)
    return float((end - start).sum() / columns.window_ns)


def _littles_law(columns: Columns, sent_rps: float) -> float | None:
    """λ × mean residence: far from the mean concurrency, the window is no steady state."""
    residence = (columns.end - columns.sent)[columns.within(columns.sent)]
    residence = residence[~np.isnan(residence)]
    return float(sent_rps * residence.mean() / NS_PER_S) if len(residence) else None


def _total(tokens: Floats) -> int | None:
    return int(tokens.sum()) if len(tokens) and not np.isnan(tokens).any() else None
