"""Trials as a report of GuideLLM, schema version 2 (GuideLLM 0.8.1): one report, one benchmark a trial.

Its times are Unix seconds and ours are monotonic: the window's start stands at trial.json's `started_at`, and the
report's labels say so. What we do not know is null, or -1 where GuideLLM itself writes -1 for it.
"""

import json
from collections.abc import Sequence
from typing import Any

from experiments.errors import InputError
from experiments.schema.load import ClosedLoop, Load
from tasks.interchange.guidellm_metrics import metrics
from tasks.interchange.guidellm_request import request_of
from tasks.interchange.imported import NS_PER_S
from tasks.interchange.marks import LOAD, load_mark
from tasks.interchange.measured import Measured

STATUSES = ("successful", "incomplete", "errored")
WRITTEN_FOR = "0.8.1"
_AVERAGES = (
    "queued_time_avg",
    "resolve_start_delay_avg",
    "resolve_targeted_start_delay_avg",
    "request_start_delay_avg",
    "request_targeted_start_delay_avg",
    "request_time_avg",
    "resolve_end_delay_avg",
    "resolve_time_avg",
    "finalized_delay_avg",
    "processed_delay_avg",
)
_LABELS = {
    "exported_by": "llm-dyno",
    "clock": "monotonic times, moved so that the measured window starts at trial.json's started_at (to the second)",
    "not_filled": "texts, tool calls, images, and the inner times of GuideLLM's scheduler",
}


def guidellm_text(trials: Sequence[Measured]) -> str:
    """The report as JSON."""
    return json.dumps(guidellm_report(trials)) + "\n"


def guidellm_report(trials: Sequence[Measured]) -> dict[str, Any]:
    """At least one trial. Raises InputError for one without requests."""
    return {
        "metadata": {
            "version": 2,
            "guidellm_version": WRITTEN_FOR,
            "python_version": "",
            "platform": "",
        },
        "config": {"metadata": {"labels": _LABELS | _shared(trials)}, "spec": _spec(trials), "benchmarks": [None]},
        "benchmarks": [_benchmark(trial, index) for index, trial in enumerate(trials)],
        "conclusions": [],
    }


def _shared(trials: Sequence[Measured]) -> dict[str, str]:
    """What is true of all trials."""
    first = trials[0].about
    return {name: text for name, text in first.items() if all(trial.about.get(name) == text for trial in trials)}


def _spec(trials: Sequence[Measured]) -> dict[str, Any]:
    """The run as GuideLLM's arguments would have it; it wants a profile and data, so that the first trial's stand."""
    rows = trials[0].rows()
    lengths = [(row["prompt_tokens_asked"] or row["prompt_tokens"], row["output_tokens"]) for row in rows]
    prompt, output = max(lengths, default=(None, None), key=lambda pair: pair[0] or 0)
    return {
        "backend": {
            "kind": "openai_http",
            "target": "http://unknown",
            "model": trials[0].model,
            "request_format": _request_format(trials[0]),
        },
        "profile": _profile(trials[0].point.point.load),
        "data": [{"kind": "synthetic_text", "prompt_tokens": prompt or 1, "output_tokens": output or 1}],
        "outputs": [],
    }


def _request_format(trial: Measured) -> str:
    return "/v1/completions" if trial.endpoint == "completions" else "/v1/chat/completions"


def _profile(load: Load) -> dict[str, Any]:
    if isinstance(load, ClosedLoop):
        is_one = load.concurrency == 1
        return {"kind": "synchronous"} if is_one else {"kind": "concurrent", "streams": [load.concurrency]}
    if load.arrivals.kind in ("constant", "poisson"):
        return {"kind": load.arrivals.kind, "rate": [load.rate_rps]}
    return {"kind": "replay"}


def _strategy(load: Load) -> dict[str, Any]:
    """Gamma gaps have no strategy of their own: they are times that are replayed, like a trace."""
    if isinstance(load, ClosedLoop):
        if load.concurrency == 1:
            return {"type_": "synchronous", "max_concurrency": 1}
        return {"type_": "concurrent", "streams": load.concurrency, "max_concurrency": load.concurrency}
    if load.arrivals.kind in ("constant", "poisson"):
        return {"type_": load.arrivals.kind, "rate": load.rate_rps}
    return {"type_": "trace", "time_scale": 1.0}


def _benchmark(trial: Measured, index: int) -> dict[str, Any]:
    rows = trial.rows()
    if not rows:
        raise InputError("a trial without a request cannot be written for GuideLLM")
    start_s = trial.started_at().timestamp()
    window = (start_s, start_s + (trial.point.window_ns[1] - trial.point.window_ns[0]) / NS_PER_S)
    by_status: dict[str, list[dict[str, Any]]] = {status: [] for status in STATUSES}
    for row in rows:
        status, request = request_of(row, origin_ns=trial.point.window_ns[0], start_s=start_s)
        by_status[status].append(request)
    load = trial.point.point.load
    scheduler = _scheduler(by_status, window, _strategy(load)["type_"])
    return {
        "type_": "generative_benchmark",
        "config": _config(trial, index),
        "scheduler_state": _state(scheduler),
        "scheduler_metrics": scheduler,
        "metrics": metrics(by_status, window, has_schedule=not isinstance(load, ClosedLoop)),
        "requests": {**by_status, "total": None},
        "warnings": [],
        "start_time": window[0],
        "end_time": window[1],
        "duration": window[1] - window[0],
        "warmup_duration": window[0] - scheduler["request_start_time"],
        "cooldown_duration": scheduler["request_end_time"] - window[1],
    }


def _config(trial: Measured, index: int) -> dict[str, Any]:
    load = trial.point.point.load
    return {
        "id_": "-".join([trial.about.get("cell", "trial"), str(trial.point.point.step), str(index)]),
        "run_id": trial.about.get("campaign", "llm-dyno"),
        "run_index": index,
        "strategy": _strategy(load),
        "constraints": {},
        "sample_size": None,
        "warmup": {"percent": None, "value": None, "mode": "prefer_duration"},
        "cooldown": {"percent": None, "value": None, "mode": "prefer_duration"},
        "prefer_response_metrics": True,
        "slo": None,
        "confidence": None,
        "warnings": [],
        "profile": _profile(load),
        "requests": {LOAD: load_mark(load), **trial.about},
        "backend": {"kind": "openai_http", "model": trial.model or None, "request_format": _request_format(trial)},
        "environment": {},
    }


def _scheduler(
    by_status: dict[str, list[dict[str, Any]]], window: tuple[float, float], strategy: str
) -> dict[str, Any]:
    every = [request for requests in by_status.values() for request in requests]
    starts = [request["request_start_time"] for request in every if request["request_start_time"] is not None]
    ends = [request["request_end_time"] for request in every if request["request_end_time"] is not None]
    first, last = min([*starts, window[0]]), max([*ends, window[1]])
    return {
        "start_time": first,
        "request_start_time": first,
        "measure_start_time": window[0],
        "measure_end_time": window[1],
        "request_end_time": last,
        "end_time": last,
        "requests_made": {**{status: len(by_status[status]) for status in STATUSES}, "total": len(every)},
        **dict.fromkeys(_AVERAGES, -1.0),
        "dataset_incomplete": False,
        "strategy_type": strategy,
    }


def _state(scheduler: dict[str, Any]) -> dict[str, Any]:
    made = scheduler["requests_made"]
    return {
        "start_time": scheduler["start_time"],
        "end_time": scheduler["end_time"],
        "start_requests_time": scheduler["request_start_time"],
        "end_requests_time": scheduler["request_end_time"],
        "created_requests": made["total"],
        "processed_requests": made["total"],
        "successful_requests": made["successful"],
        "errored_requests": made["errored"],
        "cancelled_requests": made["incomplete"],
    }
