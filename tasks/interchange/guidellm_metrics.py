"""The `metrics` of a GuideLLM benchmark over the requests that touch its window, by GuideLLM 0.8's definitions.

A figure that a request does not have counts as 0 in most of them, as it does there.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from tasks.interchange.guidellm_statistics import concurrency_summary, rate_summary, summary

Request = dict[str, Any]
ByStatus = Mapping[str, Sequence[Request]]
Window = tuple[float, float]
STATUSES = ("successful", "incomplete", "errored")

OF_A_REQUEST = {
    "request_latency": "request_latency",
    "prompt_token_count": "prompt_tokens",
    "output_token_count": "output_tokens",
    "total_token_count": "total_tokens",
    "time_to_last_round_trip_ms": "time_to_last_round_trip_ms",
    "avg_round_trip_time_ms": "avg_round_trip_time_ms",
}
ON_SCHEDULE = (
    "request_dispatch_delay",
    "request_scheduled_latency",
    "turn_predecessor_delay",
    "turn_scheduling_delay",
)
_EMPTY = {
    "text": ("tokens", "words", "characters"),
    "image": ("tokens", "images", "pixels", "bytes"),
    "video": ("tokens", "frames", "seconds", "bytes"),
    "audio": ("tokens", "samples", "seconds", "bytes"),
    "tool_call": ("tokens", "mixed_tokens", "count"),
}


def metrics(requests: ByStatus, window: Window, *, has_schedule: bool) -> dict[str, Any]:
    """`has_schedule` is whether arrivals are independent of the answers."""
    within = _touching(requests, window, _start, _end)
    totals = {status: len(within[status]) for status in STATUSES}
    roots = [delay for each in within.values() for r in each if (delay := r["request_dispatch_delay"]) is not None]
    on_schedule = {name: _values(within, itemgetter(name), skip=True) for name in ON_SCHEDULE}
    return {
        "request_totals": totals | {"total": sum(totals.values())},
        **{name: _values(within, itemgetter(key)) for name, key in OF_A_REQUEST.items()},
        **(on_schedule if has_schedule else dict.fromkeys(ON_SCHEDULE)),
        "root_dispatch_delay": summary(np.asarray(roots)) if roots else None,
        "request_streaming_iterations_count": _values(within, lambda r: _timing(r, "request_iterations")),
        **_token_latencies(requests, within, window),
        **_rates(within, window),
        **_per_iteration(within),
        **{kind: dict.fromkeys(names) for kind, names in _EMPTY.items()},
        "turns": None,
        "slo_attainment": None,
        "slo_determined_requests": 0,
        "request_goodput": None,
    }


def _token_latencies(requests: ByStatus, within: ByStatus, window: Window) -> dict[str, Any]:
    """Those of the first token count where it came in the window, those after it where decoding went on in it."""
    by_first = _touching(requests, window, _start, lambda r: _timing(r, "first_token_iteration"))
    by_answer = _touching(requests, window, _start, lambda r: _timing(r, "first_output_token_iteration"))
    decoding = _touching(requests, window, lambda r: _timing(r, "first_token_iteration"), _end)
    return {
        "time_to_first_token_ms": _values(by_first, lambda r: r["time_to_first_token_ms"]),
        "time_to_first_output_token_ms": _values(by_answer, lambda r: r["time_to_first_output_token_ms"]),
        "time_per_output_token_ms": _values(
            within, lambda r: r["time_per_output_token_ms"], weight=lambda r: r["output_tokens"] or 0.0
        ),
        "inter_token_latency_ms": _values(
            decoding, lambda r: r["inter_token_latency_ms"], weight=lambda r: (r["output_tokens"] or 1.0) - 1.0
        ),
    }


def _rates(within: ByStatus, window: Window) -> dict[str, Any]:
    outputs = {status: [e for r in within[status] for e in output_events(r)] for status in STATUSES}
    prompts = {status: [_prompt_event(r) for r in within[status]] for status in STATUSES}
    ends = {status: [(_end(r) or 0.0, 1.0) for r in within[status]] for status in STATUSES}
    stays = {status: _stays(within[status]) for status in STATUSES}
    both = {status: prompts[status] + outputs[status] for status in STATUSES}
    return {
        "requests_per_second": _each(ends, lambda events: rate_summary(events, window)),
        "request_concurrency": _each(stays, lambda events: concurrency_summary(events, window)),
        "prompt_tokens_per_second": _each(prompts, lambda events: rate_summary(events, window)),
        "output_tokens_per_second": _each(outputs, lambda events: rate_summary(events, window)),
        "tokens_per_second": _each(both, lambda events: rate_summary(events, window)),
    }


def _per_iteration(within: ByStatus) -> dict[str, Any]:
    outputs = {status: [n for r in within[status] for _, n in output_events(r)] for status in STATUSES}
    later = {status: [n for r in within[status] for _, n in later_events(r)] for status in STATUSES}
    return {
        "output_tokens_per_iteration": _each(outputs, lambda values: summary(np.asarray(values))),
        "iter_tokens_per_iteration": _each(later, lambda values: summary(np.asarray(values))),
    }


def output_events(request: Request) -> list[tuple[float, float]]:
    """(time, tokens): one token first and the others spread evenly over the rest, as GuideLLM has it."""
    first, last = _timing(request, "first_token_iteration"), _timing(request, "last_token_iteration")
    output = request["output_tokens"]
    if first is None or last is None or _timing(request, "token_iterations") <= 1:
        return [(last if last is not None else _end(request), output or 0.0)]
    return [(first, 1.0 if output else 0.0), *later_events(request)]


def later_events(request: Request) -> list[tuple[float, float]]:
    """Those after the first."""
    share = request["iter_tokens_per_iteration"]
    if share is None:
        return []
    first, last = _timing(request, "first_token_iteration"), _timing(request, "last_token_iteration")
    return [(float(at), share) for at in np.linspace(first, last, num=_timing(request, "token_iterations"))[1:]]


def _prompt_event(request: Request) -> tuple[float, float]:
    first = _timing(request, "first_token_iteration")
    return (first if first is not None else _end(request) or 0.0, request["prompt_tokens"] or 0.0)


def _stays(requests: Iterable[Request]) -> list[tuple[float, float]]:
    pairs = [(_start(request), _end(request)) for request in requests]
    return [(start, end) for start, end in pairs if start is not None and end is not None]


def _start(request: Request) -> Any:
    return request["request_start_time"]


def _end(request: Request) -> Any:
    return request["request_end_time"]


def _timing(request: Request, name: str) -> Any:
    return request["info"]["timings"][name]


def _touching(
    requests: ByStatus, window: Window, start: Callable[[Request], Any], end: Callable[[Request], Any]
) -> dict[str, list[Request]]:
    """Whose time from start to end overlaps the window; without a start they are there at their end only."""

    def touches(request: Request) -> bool:
        last = end(request)
        first = start(request) if start(request) is not None else last
        return last is not None and last >= window[0] and first <= window[1]

    return {status: [request for request in requests[status] if touches(request)] for status in STATUSES}


def _values(
    requests: ByStatus,
    value: Callable[[Request], Any],
    *,
    weight: Callable[[Request], float] = lambda _: 1.0,
    skip: bool = False,
) -> dict[str, Any]:
    """`skip` leaves out the requests without the value, instead of taking 0."""
    pairs = {
        status: [(value(r) or 0.0, weight(r)) for r in requests[status] if not skip or value(r) is not None]
        for status in STATUSES
    }
    return _each(pairs, lambda some: summary(np.array([v for v, _ in some]), np.array([w for _, w in some])))


def _each(by_status: Mapping[str, list[Any]], summarize: Callable[[list[Any]], Any]) -> dict[str, Any]:
    """Each status, and all of them together."""
    total = [item for status in STATUSES for item in by_status[status]]
    return {**{status: summarize(by_status[status]) for status in STATUSES}, "total": summarize(total)}
