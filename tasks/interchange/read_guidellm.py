"""GuideLLM's reports of schema version 2 (GuideLLM 0.8). Unix seconds become Unix ns."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from experiments.errors import InputError
from experiments.schema.load import ClosedLoop, Constant, Load, OpenLoop, Poisson, Trace
from experiments.schema.result import ImportedFrom
from tasks.interchange.document import Node, read_documents
from tasks.interchange.imported import (
    CHUNK_FIGURES,
    DUE_FIGURES,
    NO_GUIDELLM_CHUNKS,
    Imported,
    file_name,
    nanoseconds,
    table_of,
    workload_of,
)
from tasks.interchange.marks import LOAD, marked_load
from tasks.loadgen.record import Outcome

VERSION = 2
OUTCOMES = {"successful": Outcome.COMPLETED, "incomplete": Outcome.CANCELLED, "errored": Outcome.FAILED}

_UNKNOWN = (
    "chunk times: of each request only the first and the last are in the file, and their number",
    "times: of the wall clock, read in user space; a step of that clock shows as latency",
    "request_start: taken before the request is written",
    "token counts: the server's usage, or what the client counted; the lengths asked are not in the file",
    "failures: a timeout is an error like any other",
    "finish reasons, HTTP statuses, connections and how times were stamped are not in the file",
    "the client's CPU and the delay of its event loop are not in the file",
)
_NO_DUE = "the file has no targeted_start for some requests"
_UNKNOWN_OF_OURS = (
    "an export of dyno: what GuideLLM's format has no field for is gone",
    "chunk times between the first and the last, tokens of a chunk, HTTP statuses, connections, stamps",
    "times: moved to the wall clock, to a fraction of a microsecond",
    "the client's CPU, its delays and the shared stamps",
)
RATES = (
    "offered_rps",
    "achieved_rps",
    "completed_rps",
    "output_tokens_per_s",
    "input_tokens_per_s",
    "total_tokens_per_s",
    "mean_concurrency",
    "littles_law_concurrency",
)


def read_guidellm(path: Path) -> list[Imported]:
    """The benchmarks of a report, in order. Raises InputError for what is not one of schema version 2."""
    documents = read_documents(path)
    if len(documents) > 1:
        raise InputError(f"{path}: {len(documents)} JSON objects in a row: a GuideLLM report is one")
    report = documents[0]
    version = _checked_version(report)
    benchmarks = report.children("benchmarks")
    if not benchmarks:
        raise report.wrong("benchmarks", "the report has none")
    return [_trial(benchmark, version) for benchmark in benchmarks]


def _checked_version(report: Node) -> str:
    metadata = report.child("metadata")
    told = metadata.fields.get("version")
    if told != VERSION or isinstance(told, bool):
        what = "no schema version" if told is None else f"schema version {told}"
        raise InputError(
            f"{report.file}: metadata.version: a GuideLLM report with {what}; only version {VERSION} is read, "
            "which GuideLLM 0.8 writes"
        )
    return metadata.text("guidellm_version") or ""


def _trial(benchmark: Node, version: str) -> Imported:
    rows = sorted(_rows(benchmark), key=_order)
    if not any(row["sent_at_ns"] is not None for row in rows):
        raise benchmark.wrong("requests", "no request that was sent: save the report with its requests")
    window = _window(benchmark, rows)
    backend = benchmark.child("config").child("backend")
    endpoint = "completions" if (backend.text("request_format") or "").endswith("/v1/completions") else "chat"
    load, about_load = _load(benchmark)
    missing = _left_out(benchmark, len(rows))
    rows = [row if row["in_window"] is not None else row | {"in_window": _within(row, window)} for row in rows]
    return Imported(
        source=ImportedFrom(
            tool="guidellm",
            version=version,
            file=file_name(benchmark.file),
            model=backend.text("model") or "",
        ),
        table=table_of(rows, benchmark.file),
        window=window,
        load=load,
        workload=workload_of(endpoint, [r["prompt_tokens"] for r in rows], [r["output_tokens"] for r in rows]),
        started_at=_date(benchmark),
        unknown=(
            *(_UNKNOWN_OF_OURS if _is_ours(benchmark) else _UNKNOWN),
            *about_load,
            *([missing] if missing else []),
        ),
        absent=dict(_absent_figures(rows, benchmark, window, missing)),
    )


def _rows(benchmark: Node) -> Iterator[dict[str, Any]]:
    for status, outcome in OUTCOMES.items():
        for request in benchmark.child("requests").children(status):
            yield _request(request, outcome)


def _order(row: Mapping[str, Any]) -> tuple[float, float]:
    """By due time, then by when it was sent."""
    last = float("inf")
    due, sent = row["due_at_ns"], row["sent_at_ns"]
    return (due if due is not None else sent if sent is not None else last, sent if sent is not None else last)


def _request(request: Node, outcome: Outcome) -> dict[str, Any]:
    info = request.child("info")
    timings, ours = info.child("timings"), request.child("dyno")
    sent = timings.number("request_start")
    ended = timings.number("request_end")
    if ended is None and ours.flag("has_end") is not False:
        ended = _gave_up(timings, outcome)
    chunks, is_answer = _chunks(timings)
    asked = {name: ours.count(name) for name in ("prompt_tokens_asked", "output_tokens_asked")}
    return asked | {
        "due_at_ns": nanoseconds(timings.number("targeted_start")),
        "sent_at_ns": nanoseconds(sent),
        "last_token_at_ns": chunks[-1] if chunks else None,
        "end_at_ns": None if sent is None else nanoseconds(ended),
        "chunk_at_ns": chunks,
        "chunk_tokens": [None] * len(chunks),
        "chunk_is_answer": is_answer,
        "prompt_tokens": _tokens(request.child("input_metrics")),
        "output_tokens": _tokens(request.child("output_metrics")),
        "cached_tokens": request.child("input_metrics").count("cached_tokens"),
        "finish_reason": ours.text("finish_reason"),
        "outcome": _marked_outcome(ours, outcome),
        "error": info.text("error"),
        "in_window": ours.flag("in_window"),
        "process": None if info.fields.get("scheduler_process_id") == -1 else info.count("scheduler_process_id"),
    }


def _marked_outcome(ours: Node, outcome: Outcome) -> str:
    told = ours.text("outcome")
    return told if told in set(Outcome) else outcome.value


def _gave_up(timings: Node, outcome: Outcome) -> float | None:
    """A request that failed may have no end of its own, but the time at which its worker let go of it."""
    return timings.number("resolve_end") if outcome is not Outcome.COMPLETED else None


def _tokens(usage: Node) -> int | None:
    told = usage.count("total_tokens")
    return told if told is not None else usage.count("text_tokens")


def _chunks(timings: Node) -> tuple[list[int], list[bool]]:
    """The first chunk, the first that was no reasoning, and the last: all that the file tells of them."""
    first, last = timings.number("first_token_iteration"), timings.number("last_token_iteration")
    if first is None or last is None:
        return [], []
    if last < first:
        raise timings.wrong("last_token_iteration", "before first_token_iteration")
    answer = timings.number("first_output_token_iteration")
    if (timings.count("token_iterations") or 0) < 2 and last <= first:
        return [round(first * 1e9)], [answer is not None]
    between = [answer] if answer is not None and first < answer < last else []
    times = [first, *between, last]
    return [round(at * 1e9) for at in times], [answer is not None and at >= answer for at in times]


def _window(benchmark: Node, rows: list[dict[str, Any]]) -> tuple[int, int]:
    """The measuring period; all that happened where the file has none."""
    metrics = benchmark.child("scheduler_metrics")
    start, stop = (nanoseconds(metrics.number(f"measure_{edge}_time")) for edge in ("start", "end"))
    if start is not None and stop is not None and 0 < start < stop:
        return start, stop
    begun = [row["sent_at_ns"] for row in rows if row["sent_at_ns"] is not None]
    ended = [row["end_at_ns"] for row in rows if row["end_at_ns"] is not None]
    return min(begun), max([min(begun) + 1, *ended])


def _within(row: Mapping[str, Any], window: tuple[int, int]) -> bool:
    """GuideLLM measures from the first request's start, which is later than that request was due."""
    at = row["sent_at_ns"] if row["sent_at_ns"] is not None else row["due_at_ns"]
    return at is not None and window[0] <= at <= window[1]


def _load(benchmark: Node) -> tuple[Load, list[str]]:
    """What was asked for, and what of it our words cannot say."""
    strategy = benchmark.child("config").child("strategy")
    ours = marked_load(benchmark.child("config").child("requests").text(LOAD))
    if ours is not None:
        return ours, []
    kind = strategy.text("type_")
    ramp = strategy.number("rampup_duration") or 0.0
    about = [f"load: a ramp of {ramp:g} s, of which nothing is left out but what warm-up leaves out"] if ramp else []
    if kind == "synchronous":
        return ClosedLoop(concurrency=1), about
    if kind == "concurrent":
        return ClosedLoop(concurrency=_users(strategy, "streams")), about
    if kind == "throughput":
        return ClosedLoop(concurrency=_users(strategy, "max_concurrency")), about
    if kind in ("constant", "poisson"):
        return OpenLoop(arrivals=Constant() if kind == "constant" else Poisson(), rate_rps=_rate(strategy)), about
    if kind == "trace":
        return OpenLoop(arrivals=Trace(path=file_name(strategy.file)), rate_rps=None), about
    raise strategy.wrong("type_", f"{kind!r} is no strategy that GuideLLM 0.8 has")


def _users(strategy: Node, key: str) -> int:
    users = strategy.count(key)
    if users is None or users < 1:
        raise strategy.wrong(key, "how many requests there were at once is missing")
    return min(users, 100_000)


def _rate(strategy: Node) -> float:
    rate = strategy.number("rate")
    if rate is None or rate <= 0:
        raise strategy.wrong("rate", "a rate above 0 is wanted")
    return rate


def _is_ours(benchmark: Node) -> bool:
    return LOAD in benchmark.child("config").child("requests").fields


def _left_out(benchmark: Node, kept: int) -> str:
    """Why rates cannot be told, where the file has not all requests; empty where it has."""
    made = benchmark.child("scheduler_metrics").child("requests_made").count("total")
    if made is None or made <= kept:
        return ""
    return f"the file has {kept} of {made} requests"


def _absent_figures(
    rows: list[dict[str, Any]], benchmark: Node, window: tuple[int, int], missing: str
) -> Iterator[tuple[str, str]]:
    yield from dict.fromkeys(CHUNK_FIGURES, NO_GUIDELLM_CHUNKS).items()
    if any(row["due_at_ns"] is None for row in rows):
        yield from dict.fromkeys(DUE_FIGURES, _NO_DUE).items()
    if missing:
        yield from dict.fromkeys(RATES, missing).items()
    if any(_straddles(row, window) for row in rows):
        why = "requests reach over the window's edges, and the file does not tell which of their tokens came in it"
        yield from dict.fromkeys(("output_tokens_per_s", "total_tokens_per_s"), why).items()
    timings = [request.child("info").child("timings") for request in benchmark.child("requests").children("successful")]
    if any("first_output_token_iteration" not in each.fields for each in timings):
        yield "ttft_answer_ms", "the file does not tell reasoning from answer"


def _straddles(row: Mapping[str, Any], window: tuple[int, int]) -> bool:
    chunks = row["chunk_at_ns"]
    return bool(chunks) and any(chunks[0] < edge < chunks[-1] for edge in window)


def _date(benchmark: Node) -> str:
    start = benchmark.child("scheduler_metrics").number("start_time") or benchmark.number("start_time")
    return "" if start is None or start <= 0 else datetime.fromtimestamp(start, UTC).isoformat(timespec="microseconds")
