"""A row a load point: what was asked of the server, and every figure of the trial with its interval."""

import functools
from collections.abc import Iterator, Sequence

from experiments.redaction import redacted
from experiments.schema.facets import arrivals_of
from experiments.schema.load import ClosedLoop
from experiments.schema.result import LATENCIES, RATES, CellResult, Distribution, PointResult, TrialSummary
from tasks.interchange.table import Column, Row, Table, Value, explained, figure, make_table, text

PERCENTILES = ("p50", "p90", "p95", "p99")

RATE_MEANINGS = {
    "offered_rps": ("requests that were due in the window a second; open loop only", "requests/s"),
    "achieved_rps": ("requests sent in the window a second", "requests/s"),
    "completed_rps": ("requests completed in the window a second", "requests/s"),
    "output_tokens_per_s": ("output tokens that arrived in the window a second", "tokens/s"),
    "input_tokens_per_s": ("prompt tokens of the requests whose first token came in the window a second", "tokens/s"),
    "total_tokens_per_s": ("input and output tokens a second", "tokens/s"),
    "per_user_tokens_per_s": ("speed of the median request: 1000 / TPOT", "tokens/s"),
    "mean_concurrency": ("requests in flight, mean over the window", "requests"),
    "littles_law_concurrency": ("rate times residence: what mean_concurrency should be", "requests"),
    "goodput_rps": ("requests that met every SLO a second", "requests/s"),
    "attainment": ("share of the requests due in the window that met every SLO", "share of 1"),
    "error_share": ("share of the requests due in the window that did not complete", "share of 1"),
    "cache_hit_ratio": ("cached prompt tokens over all, by the usage of the requests", "share of 1"),
    "engine_cache_hit_ratio": ("cached prompt tokens over all, by the engine's counters", "share of 1"),
    "energy_j": ("what the launch's GPUs took in the window", "J"),
    "joules_per_output_token": ("energy_j over the output tokens of the window", "J/token"),
}
LATENCY_MEANINGS = {
    "ttft_ms": ("time to first token, from sending", "ms"),
    "ttft_response_ms": ("time to first token, from when the request was due", "ms"),
    "ttft_answer_ms": ("time to the first token that is no reasoning, from sending", "ms"),
    "tpot_ms": ("time per output token after the first", "ms/token"),
    "tpot_compat_ms": ("time per output token, first chunk counted as one token", "ms/token"),
    "itl_ms": ("gap between tokens", "ms"),
    "icl_ms": ("gap between chunks", "ms"),
    "e2e_ms": ("time to the last token, from sending", "ms"),
    "e2e_response_ms": ("time to the last token, from when the request was due", "ms"),
    "longest_stall_ms": ("longest gap of a request", "ms"),
    "lateness_ms": ("how late the client sent", "ms"),
}
GPU_MEANINGS = {
    "mean_power_w": ("power of the launch's GPUs, mean", "W"),
    "mean_utilisation_percent": ("utilisation of the GPUs, mean", "%"),
    "mean_sm_clock_mhz": ("SM clock, mean", "MHz"),
    "max_memory_used_gib": ("GPU memory in use, at most", "GiB"),
    "max_temperature_c": ("GPU temperature, at most", "°C"),
    "power_capped_share": ("share of the samples at the power limit", "share of 1"),
}
ENGINE_MEANINGS = {
    "mean_running_requests": ("requests running, by the engine, mean", "requests"),
    "max_waiting_requests": ("requests waiting, by the engine, at most", "requests"),
    "max_kv_cache_usage_ratio": ("KV cache in use, by the engine, at most", "share of 1"),
    "preemptions": ("preemptions in the window, by the engine", "preemptions"),
}
OUTCOMES = ("completed", "failed", "timed_out", "cancelled", "never_sent")


@functools.cache
def latency_name(latency: str, what: str) -> str:
    """ttft_ms and p95 are ttft_p95_ms, as everywhere."""
    return f"{latency.removesuffix('_ms')}_{what}_ms"


def _asked() -> Iterator[Column]:
    yield text("cell", "the row of the table cells")
    yield text("cell_id", "the cell's id")
    yield text("directory", "the folder of its records in the launch's")
    yield Column("launch", "integer", "number of the launch")
    yield Column("round", "integer", "way through the load plan, from 1")
    yield Column("step", "integer", "place in the load plan, from 0: the step of MLflow's metrics")
    yield text("role", "synchronous, saturation, open_loop, overloaded, …")
    yield text("arrivals", "closed_loop, or the arrival process")
    yield Column("users", "integer", "requests that a closed loop keeps in flight", "users")
    yield Column("rate_rps", "number", "rate that an open loop asked for", "requests/s")
    yield text("started_at", "when the trial began, ISO 8601")
    yield text("model", "name that was asked of the server")
    yield text("endpoint", "completions or chat")
    yield Column("text_overhead_tokens", "integer", "what template and system prompt add to a text", "tokens")
    yield Column("window_s", "number", "length of the measured window W", "s")
    yield Column("window_start_ns", "integer", "start of W on the clock of requests.parquet", "ns")
    yield Column("window_end_ns", "integer", "end of W on the clock of requests.parquet", "ns")
    yield text("method_version", "version of the definitions")
    yield Column("valid", "flag", "whether the trial counts")
    yield text("invalid_reasons", "why it does not")
    yield Column("requests", "integer", "requests of the trial", "requests")
    for outcome in OUTCOMES:
        yield Column(f"requests_{outcome}", "integer", f"requests with the outcome {outcome}", "requests")


def _figures() -> Iterator[Column]:
    for name in RATES:
        yield figure(name, *RATE_MEANINGS[name])
    for latency in (*LATENCIES, "lateness_ms"):
        meaning, unit = LATENCY_MEANINGS[latency]
        yield Column(latency_name(latency, "n").removesuffix("_ms"), "integer", f"samples of: {meaning}", "samples")
        for what in ("mean", *PERCENTILES):
            yield figure(latency_name(latency, what), f"{meaning}: {what}", unit)
        for what in PERCENTILES:
            for side in ("low", "high"):
                name = latency_name(latency, f"{what}_{side}")
                yield Column(name, "number", f"{meaning}: {side} end of the 95 % interval of {what}", unit)
    yield figure("bound_output_tokens_per_s", "the most that so many requests in flight allow", "tokens/s")
    yield figure("share_of_bound", "output_tokens_per_s over bound_output_tokens_per_s", "share of 1")
    for name, told in GPU_MEANINGS.items():
        yield figure(f"gpu_{name}", *told)
    for name, told in ENGINE_MEANINGS.items():
        yield figure(f"engine_{name}", *told)


def point_table(cells: Sequence[tuple[str, CellResult]]) -> Table:
    """Of cells with their keys, in their order."""
    rows = [_row(key, cell, point) for key, cell in cells for point in cell.points]
    return make_table("points", "a row a load point of a launch", (*_asked(), *_figures()), rows, parent="cell")


def _row(key: str, cell: CellResult, point: PointResult) -> Row:
    summary = point.summary
    figures = {name: getattr(summary, name) for name in RATES}
    row = {"cell": key, "cell_id": cell.cell_id, **_load(point), **_trial(summary)}
    row |= explained(figures, summary.reasons)
    for latency in LATENCIES:
        row |= _latency(latency, summary.latencies.get(latency, Distribution()))
    return row | _latency("lateness_ms", summary.lateness_ms) | _bound(point) | _beside(summary)


def _load(point: PointResult) -> Row:
    load = point.point.load
    return {
        "directory": point.directory,
        "launch": point.launch,
        "round": point.round,
        "step": point.point.step,
        "role": point.point.role,
        "arrivals": arrivals_of(load),
        "users": load.concurrency if isinstance(load, ClosedLoop) else None,
        "rate_rps": None if isinstance(load, ClosedLoop) else load.rate_rps,
        "started_at": point.started_at,
        "model": point.model,
        "endpoint": point.endpoint,
        "text_overhead_tokens": point.text_overhead_tokens,
        "window_start_ns": point.window_ns[0],
        "window_end_ns": point.window_ns[1],
    }


def _trial(summary: TrialSummary) -> Row:
    return {
        "window_s": summary.window_s,
        "method_version": summary.method_version,
        "valid": summary.valid,
        "invalid_reasons": str(redacted("; ".join(summary.invalid_reasons))),
        "requests": summary.requests,
        **{f"requests_{outcome}": summary.outcomes.get(outcome, 0) for outcome in OUTCOMES},
    }


def _latency(name: str, told: Distribution) -> Row:
    row: Row = {latency_name(name, "n").removesuffix("_ms"): told.n}
    figures = {latency_name(name, what): getattr(told, what) for what in ("mean", *PERCENTILES)}
    why = {latency_name(name, what): reason for what, reason in told.reasons.items()}
    row |= explained(figures, why)
    for what, (low, high) in told.intervals.items():
        if what in PERCENTILES:
            row |= {latency_name(name, f"{what}_low"): low, latency_name(name, f"{what}_high"): high}
    return row


def _bound(point: PointResult) -> Row:
    told = point.bound
    figures: dict[str, Value] = {
        "bound_output_tokens_per_s": told.bound_tokens_per_s if told else None,
        "share_of_bound": told.share if told else None,
    }
    why = (told.reason if told else "") or "no bound is known"
    return explained(figures, {}, why)


def _beside(summary: TrialSummary) -> Row:
    """What GPUs and the engine told of themselves."""
    gpu: dict[str, Value] = {f"gpu_{name}": summary.gpu.get(name) for name in GPU_MEANINGS}
    engine: dict[str, Value] = {f"engine_{name}": summary.engine.get(name) for name in ENGINE_MEANINGS}
    why_no_gpu = summary.reasons.get("energy_j") or "no GPU was looked at, or it does not tell"
    why_no_engine = summary.reasons.get("engine") or "the engine does not tell it"
    return explained(gpu, {}, why_no_gpu) | explained(engine, {}, why_no_engine)
