"""One record as a request of a GuideLLM report, with the figures that GuideLLM computes of it."""

from typing import Any

from tasks.interchange.imported import NS_PER_S
from tasks.loadgen.record import Outcome

Row = dict[str, Any]
STATUS = {Outcome.COMPLETED: "successful", Outcome.CANCELLED: "incomplete"}
_INFO_STATUS = {"successful": "completed", "incomplete": "cancelled", "errored": "errored"}


def request_of(row: Row, *, origin_ns: int, start_s: float) -> tuple[str, Row]:
    """The status under which it stands, and the request. `start_s` is the Unix time of `origin_ns`."""
    status = STATUS.get(Outcome(row["outcome"]), "errored")
    timings = _timings(row, origin_ns, start_s)
    name = f"request-{row['index']}"
    return status, {
        "type_": "generative_request_stats",
        "request_id": name,
        "response_id": None,
        "request_args": None,
        "output": None,
        "reasoning_output": None,
        "tool_calls": None,
        "info": _info(row, name, status, timings),
        "input_metrics": _usage(row["prompt_tokens"], row["cached_tokens"]),
        "output_metrics": _usage(row["output_tokens"], None),
        "response_metrics": None,
        "dyno": _marks(row),
        **_figures(row, timings),
    }


def _marks(row: Row) -> Row:
    """What GuideLLM has no field for: its requests keep fields that it does not know."""
    kept = ("index", "outcome", "finish_reason", "in_window", "prompt_tokens_asked", "output_tokens_asked")
    return {name: row[name] for name in kept} | {"has_end": row["end_at_ns"] is not None}


def _info(row: Row, name: str, status: str, timings: Row) -> Row:
    return {
        "request_id": name,
        "status": _INFO_STATUS[status],
        "scheduler_node_id": 0,
        "scheduler_process_id": -1 if row["process"] is None else row["process"],
        "scheduler_start_time": -1.0,
        "timings": timings,
        "error": row["error"],
        "traceback": None,
    }


def _timings(row: Row, origin_ns: int, start_s: float) -> Row:
    """`token_iterations` is our number of token-bearing chunks. GuideLLM cannot read a request without a resolve_end:
    where we know of no end, it is the last that we do know of, and the mark `has_end` is false."""

    def wall(at_ns: int | None) -> float | None:
        return None if at_ns is None else start_s + (at_ns - origin_ns) / NS_PER_S

    chunks = row["chunk_at_ns"]
    answers = [at for at, is_answer in zip(chunks, row["chunk_is_answer"], strict=True) if is_answer]
    first, last = (chunks[0], chunks[-1]) if chunks else (None, None)
    return {
        "targeted_start": wall(row["due_at_ns"]),
        "resolve_start": wall(row["sent_at_ns"]),
        "request_start": wall(row["sent_at_ns"]),
        "first_request_iteration": wall(first),
        "first_token_iteration": wall(first),
        "first_output_token_iteration": wall(answers[0] if answers else None),
        "last_token_iteration": wall(last),
        "last_request_iteration": wall(last),
        "request_iterations": len(chunks),
        "token_iterations": len(chunks),
        "request_end": wall(row["end_at_ns"]),
        "resolve_end": wall(_last_known(row)),
    }


def _last_known(row: Row) -> int | None:
    times = (row["end_at_ns"], row["last_token_at_ns"], row["sent_at_ns"], row["due_at_ns"])
    return next((at for at in times if at is not None), None)


def _usage(tokens: int | None, cached: int | None) -> Row:
    return {"text_tokens": tokens, "cached_tokens": cached, "total_tokens": tokens}


def _figures(row: Row, timings: Row) -> Row:
    """GuideLLM's own: time_per_output_token counts the first token in, inter_token_latency is what we call TPOT."""
    due, start, end = timings["targeted_start"], timings["request_start"], timings["request_end"]
    first, last = timings["first_token_iteration"], timings["last_token_iteration"]
    prompt, chunks = row["prompt_tokens"], timings["token_iterations"]
    output = row["output_tokens"] if row["output_tokens"] is not None else chunks or None
    latency = _minus(end, start)
    total = None if prompt is None and output is None else (prompt or 0) + (output or 0)
    is_long = output is not None and output > 1
    return {
        "request_start_time": start,
        "request_end_time": end if end is not None else timings["resolve_end"],
        "request_latency": latency,
        "request_dispatch_delay": _minus(start, due),
        "turn_predecessor_delay": None if due is None or start is None else 0.0,
        "turn_scheduling_delay": _minus(start, due),
        "request_scheduled_latency": _minus(end, due),
        "prompt_tokens": prompt,
        "cached_tokens": row["cached_tokens"],
        "output_tokens": output,
        "total_tokens": total,
        "time_to_first_token_ms": _ms(first, start),
        "time_to_first_output_token_ms": _ms(timings["first_output_token_iteration"], start),
        "time_to_last_round_trip_ms": None,
        "avg_round_trip_time_ms": None,
        "time_per_output_token_ms": _per(_ms(last if last is not None else timings["resolve_end"], start), output),
        "inter_token_latency_ms": _per(_ms(last, first), output - 1 if is_long and output else None),
        "tokens_per_second": _per(total, latency),
        "output_tokens_per_second": _per(output, latency),
        "iter_tokens_per_iteration": (output - 1) / (chunks - 1) if is_long and output and chunks > 1 else None,
        "output_tokens_per_iteration": _per(output, chunks),
    }


def _minus(later: float | None, earlier: float | None) -> float | None:
    return None if later is None or earlier is None else later - earlier


def _ms(later: float | None, earlier: float | None) -> float | None:
    return None if later is None or earlier is None else 1000 * (later - earlier)


def _per(amount: float | None, of: float | None) -> float | None:
    return amount / of if amount is not None and of else None
