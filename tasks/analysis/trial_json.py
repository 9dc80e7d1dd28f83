"""The document that `dyno load --json` prints of one trial. An absent figure is null beside its reason."""

from typing import Any

from experiments.schema.result import LATENCIES, RATES, TURN_FIGURES, Distribution, TrialSummary, TurnSummary

PERCENTILES = ("p50", "p90", "p95", "p99")
_SCALARS = (*RATES, "prompt_tokens", "output_tokens")
_WHY_NONE = {
    "per_user_tokens_per_s": "there is no TPOT",
    "goodput_rps": "no SLO was given, or one could not be held against what was measured",
    "attainment": "no SLO was given, or one could not be held against what was measured",
    "prompt_tokens": "the server does not count the prompt's tokens",
    "output_tokens": "the server does not count its tokens, and no tokenizer was given",
}


def trial_json(summary: TrialSummary) -> dict[str, Any]:
    """Plain JSON values only."""
    return {
        "requests": summary.requests,
        "outcomes": dict(summary.outcomes),
        "valid": summary.valid,
        "invalid_reasons": list(summary.invalid_reasons),
        "method_version": summary.method_version,
        "window_s": summary.window_s,
        **_scalars(summary),
        **{name: _distribution(summary.latencies.get(name, Distribution())) for name in LATENCIES},
        "gpu": dict(summary.gpu),
        "engine": dict(summary.engine),
        "turns": [_turn(turn) for turn in summary.turns],
        "slos": [slo.model_dump(mode="json") for slo in summary.slos],
        "client": {**summary.client, **_client(summary)},
        "reasons": dict(summary.reasons),
    }


def _turn(summary: TurnSummary) -> dict[str, Any]:
    """`cache_hit_ratio` is of all tokens of these prompts; `cache_hit_ratio_per_request` has the percentiles."""
    figures = {name: _distribution(summary.figures.get(name, Distribution())) for name in TURN_FIGURES}
    per_request = figures.pop("cache_hit_ratio")
    return {
        "turn": summary.turn,
        "requests": summary.requests,
        "outcomes": dict(summary.outcomes),
        **figures,
        "cache_hit_ratio": summary.cache_hit_ratio,
        "cache_hit_ratio_reason": summary.reasons.get("cache_hit_ratio"),
        "cache_hit_ratio_per_request": per_request,
    }


def _scalars(summary: TrialSummary) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name in _SCALARS:
        figures[name] = getattr(summary, name)
        if figures[name] is None:
            figures[f"{name}_reason"] = summary.reasons.get(name) or _WHY_NONE.get(name, "it was not measured")
    return figures


def _distribution(latency: Distribution) -> dict[str, Any]:
    """`p99_reason` is always there, null beside a p99; the other reasons stand where their figure does not."""
    figures: dict[str, Any] = {"n": latency.n, "n_is": latency.n_is, "effective_n": dict(latency.effective_n)}
    figures["p99_reason"] = None
    for name in ("mean", *PERCENTILES):
        figures[name] = getattr(latency, name)
        if figures[name] is None:
            figures[f"{name}_reason"] = latency.reasons.get(name, "it was not measured")
    return figures | {"intervals": {name: list(bounds) for name, bounds in latency.intervals.items()}}


def _client(summary: TrialSummary) -> dict[str, Any]:
    own = {name: summary.client.get(name) for name in ("cpu_us_per_event", "stamp", "events_sharing_a_stamp")}
    why = {"cpu_us_per_event": "no data event arrived"}
    reasons = {
        f"{name}_reason": why.get(name, "the client did not report it") for name, value in own.items() if value is None
    }
    return {"lateness_ms": _distribution(summary.lateness_ms), **own, **reasons}
