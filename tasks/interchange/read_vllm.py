"""Results of `vllm bench serve`, as --save-result or --append-result with --save-detailed write them (vLLM 0.32).

Seconds become ns; start_times are perf_counter's, whose origin is arbitrary.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

from experiments.errors import InputError
from experiments.schema.load import ArrivalProcess, ClosedLoop, Constant, Gamma, Load, OpenLoop, Poisson, Trace
from experiments.schema.result import ImportedFrom
from tasks.interchange.document import Node, read_documents
from tasks.interchange.imported import (
    CHUNK_FIGURES,
    DUE_FIGURES,
    NO_VLLM_CHUNKS,
    NS_PER_S,
    Imported,
    file_name,
    nanoseconds,
    table_of,
    workload_of,
)
from tasks.interchange.marks import DUE, LOAD, marked_load, outcome_of
from tasks.loadgen.record import Outcome

ARRAYS = ("input_lens", "output_lens", "start_times", "ttfts", "errors")
"""One entry a request; all of them go where --save-detailed is not given. itls or latencies must stand beside them."""

MOST_USERS = 100_000

_UNKNOWN = (
    "ttft: vLLM's client takes the first `choices` chunk for the first token, which for chat may be the role alone",
    "chunks: those without text count too",
    "itls: the gaps are between chunks, and the file does not tell how many tokens each bears",
    "output_lens: the server's usage, or the text counted by a tokenizer where the server told none",
    "input_lens: the server's usage, or what the client meant to ask; the lengths asked are not in the file",
    "start_times: taken before the connection is made and the request written, on a clock of arbitrary origin",
    "end of the body: a request ends here with its last chunk",
    "finish reasons, cached tokens, HTTP statuses, connections and how times were stamped are not in the file",
    "failures: a timeout is a failure like any other",
    "date: local time of the client at the end of the run",
)
_NO_END = "the file does not tell when a request was over, only when its last chunk came"
_NO_DUE = "the file has no due times: vLLM saves when a request was sent, not when it should have been"


_UNKNOWN_OF_OURS = (
    "an export of dyno: what vLLM's format has no field for is gone",
    "tokens of a chunk, reasoning, cached tokens, lengths asked, finish reasons, HTTP statuses, ends of bodies, stamps",
    "the client's CPU, its delays and the shared stamps",
)


def read_vllm(path: Path) -> list[Imported]:
    """The trials of a file, in order. Raises InputError for what is not such a file, or lacks the requests."""
    return [_trial(result) for result in read_documents(path)]


@dataclass(frozen=True, slots=True)
class _Arrays:
    """The per-request arrays of one result, all of one length."""

    prompts: list[int | None]
    outputs: list[int | None]
    starts: list[float | None]
    ttfts: list[float | None]
    errors: list[Any]
    itls: list[list[float]] | None
    latencies: list[float | None]
    queues: list[float | None]

    def __len__(self) -> int:
        return len(self.starts)


def _trial(result: Node) -> Imported:
    arrays = _arrays(result)
    is_ours, tells_due = LOAD in result.fields, DUE in result.fields
    endpoint = "chat" if "chat" in (result.text("backend") or result.text("endpoint_type") or "") else "completions"
    rows = [_request(arrays, i, endpoint, is_ours, tells_due) for i in range(len(arrays))]
    if not any(row["sent_at_ns"] is not None for row in rows):
        raise InputError(f"{result.file}: no request was sent: there is nothing to read")
    load, about_load = _load(result, len(rows))
    unknown = list(_UNKNOWN_OF_OURS if is_ours else _UNKNOWN) + about_load
    unknown += [] if tells_due else [f"due times: {_NO_DUE}"]
    unknown += [] if arrays.itls is not None else [f"chunk times: {NO_VLLM_CHUNKS}"]
    return Imported(
        source=ImportedFrom(tool="vllm", file=file_name(result.file), model=result.text("model_id") or ""),
        table=table_of(rows, result.file),
        window=_window(result, rows),
        load=load,
        workload=workload_of(endpoint, [r["prompt_tokens"] for r in rows], [r["output_tokens"] for r in rows]),
        started_at=_date(result),
        unknown=tuple(unknown),
        absent=_absent(arrays, tells_due, load),
    )


def _arrays(result: Node) -> _Arrays:
    missing = [name for name in ARRAYS if not isinstance(result.fields.get(name), list)]
    if not missing and not any(isinstance(result.fields.get(name), list) for name in ("itls", "latencies")):
        missing = ["itls"]
    if missing:
        raise InputError(_why_missing(result, missing))
    arrays = _Arrays(
        prompts=result.counts("input_lens"),
        outputs=result.counts("output_lens"),
        starts=result.numbers("start_times"),
        ttfts=result.spans("ttfts"),
        errors=result.array("errors"),
        itls=_itls(result) if isinstance(result.fields.get("itls"), list) else None,
        latencies=result.spans("latencies"),
        queues=result.numbers("queue_times"),
    )
    _check_lengths(result, len(arrays))
    return arrays


def _why_missing(result: Node, missing: list[str]) -> str:
    names = ", ".join(missing)
    if "input_sequence_throughput" in result.fields or "total_input_sequences" in result.fields:
        return f"{result.file}: a run of embeddings or pooling: it has no tokens to time"
    if "request_throughput" not in result.fields:
        return f"{result.file}: not a result of vllm bench serve: it has no request_throughput, and no {names}"
    return (
        f"{result.file}: lacks {names}: only summaries were saved. "
        "Run vllm bench serve again with --save-result --save-detailed"
    )


def _itls(result: Node) -> list[list[float]]:
    gaps = []
    for index, value in enumerate(result.array("itls")):
        key = f"itls[{index}]"
        told = Node(result.file, "", {key: value}).spans(key)
        if None in told:
            raise result.wrong(key, "a gap is null or not finite")
        gaps.append([gap for gap in told if gap is not None])
    return gaps


def _check_lengths(result: Node, requests: int) -> None:
    for name in (*ARRAYS, "itls", "latencies", "queue_times"):
        values = result.fields.get(name)
        if isinstance(values, list) and len(values) != requests:
            raise result.wrong(name, f"{len(values)} entries, where start_times has {requests}")


def _request(arrays: _Arrays, i: int, endpoint: str, is_ours: bool, tells_due: bool) -> dict[str, Any]:
    outcome, error = _outcome(arrays, i, is_ours)
    sent = None if outcome is Outcome.NEVER_SENT else arrays.starts[i]
    chunks = _chunks(arrays, i, sent)
    output = arrays.outputs[i] or None
    end = _end(arrays, i, sent, chunks, outcome)
    is_one_each = endpoint == "completions" and arrays.itls is not None and output == len(chunks)
    queue = arrays.queues[i] if tells_due else None
    return {
        "due_at_ns": _due(arrays.starts[i], queue),
        "sent_at_ns": nanoseconds(sent),
        "last_token_at_ns": chunks[-1] if chunks else None,
        "end_at_ns": end,
        "chunk_at_ns": chunks,
        "chunk_tokens": [1 if is_one_each else None] * len(chunks),
        "chunk_is_answer": [True] * len(chunks),
        "prompt_tokens": arrays.prompts[i],
        "output_tokens": output,
        "outcome": outcome.value,
        "error": error,
        "in_window": True,
    }


def _due(start: float | None, queue: float | None) -> int | None:
    return None if start is None or queue is None else nanoseconds(start - queue)


def _outcome(arrays: _Arrays, i: int, is_ours: bool) -> tuple[Outcome, str | None]:
    """The file has no field for success: it is no error, and a chunk that came."""
    text = arrays.errors[i] if isinstance(arrays.errors[i], str) else ""
    if text:
        return outcome_of(text, is_ours=is_ours)
    if not arrays.ttfts[i]:
        return Outcome.FAILED, "vLLM saved no error, and no first chunk"
    return Outcome.COMPLETED, None


def _chunks(arrays: _Arrays, i: int, sent: float | None) -> list[int]:
    """First chunk and gaps summed; without itls the first and the last chunk."""
    ttft = arrays.ttfts[i]
    if sent is None or not ttft:
        return []
    if arrays.itls is not None:
        return [round((sent + after) * NS_PER_S) for after in accumulate([ttft, *arrays.itls[i]])]
    latency = arrays.latencies[i] or ttft
    return [round((sent + after) * NS_PER_S) for after in ([ttft, latency] if latency > ttft else [ttft])]


def _end(arrays: _Arrays, i: int, sent: float | None, chunks: list[int], outcome: Outcome) -> int | None:
    """vLLM times the end of a completed request only."""
    if sent is None or outcome is not Outcome.COMPLETED:
        return None
    latency = arrays.latencies[i] if arrays.latencies else None
    return chunks[-1] if not latency else max(chunks[-1], round((sent + latency) * NS_PER_S))


def _window(result: Node, rows: list[dict[str, Any]]) -> tuple[int, int]:
    """As long as `duration`, from the first request on: vLLM trims nothing. All that came lies in it."""
    start = min(row["sent_at_ns"] for row in rows if row["sent_at_ns"] is not None)
    start = min([start, *(row["due_at_ns"] for row in rows if row["due_at_ns"] is not None)])
    last = max([start + 1, *(row["end_at_ns"] or row["last_token_at_ns"] or start for row in rows)])
    return start, max(last, start + (nanoseconds(result.number("duration")) or 0))


def _load(result: Node, requests: int) -> tuple[Load, list[str]]:
    """What was asked for, and what of it our words cannot say."""
    ours = marked_load(result.text(LOAD) if LOAD in result.fields else None)
    if ours is not None:
        return ours, []
    cap = result.count("max_concurrency")
    if result.fields.get("ramp_up_strategy"):
        return OpenLoop(arrivals=Trace(path=file_name(result.file)), rate_rps=None), [
            f"load: the rate rose through the run ({result.fields['ramp_up_strategy']}): shown as a trace"
        ]
    rate = None if result.fields.get("request_rate") == "inf" else result.number("request_rate")
    if rate is not None and rate > 0:
        capped = [f"load: at most {cap} requests at once, so that it is not quite open loop"] if cap else []
        return OpenLoop(arrivals=_arrivals(result), rate_rps=rate), capped
    users = min(cap or requests, MOST_USERS)
    once = [] if cap else ["load: all requests were let go at once, or at the times of a trace: it does not say"]
    return ClosedLoop(concurrency=max(users, 1)), once


def _arrivals(result: Node) -> ArrivalProcess:
    """Burstiness is the shape of the gamma gaps: 1 is Poisson, infinity constant."""
    shape = result.fields.get("burstiness", 1.0)
    if shape == math.inf:
        return Constant()
    shape = result.number("burstiness")
    return Poisson() if shape is None or shape == 1 or shape <= 0 else Gamma(shape=shape)


def _absent(arrays: _Arrays, tells_due: bool, load: Load) -> Mapping[str, str]:
    return dict(_absent_figures(arrays, tells_due, load))


def _absent_figures(arrays: _Arrays, tells_due: bool, load: Load) -> Iterator[tuple[str, str]]:
    if arrays.itls is None:
        yield from dict.fromkeys(CHUNK_FIGURES, NO_VLLM_CHUNKS).items()
    yield from dict.fromkeys(("mean_concurrency", "littles_law_concurrency"), _NO_END).items()
    if not tells_due:
        yield from dict.fromkeys(DUE_FIGURES, _NO_DUE).items()
        if isinstance(load, OpenLoop):
            asked = "" if load.rate_rps is None else f"; it asked for {load.rate_rps:g} rps"
            yield "offered_rps", _NO_DUE + asked
    yield "ttft_answer_ms", "the file does not tell reasoning from answer"


def _date(result: Node) -> str:
    """As ISO 8601 without a zone, which the file does not tell; empty where there is no date."""
    text = result.text("date") or ""
    try:
        return datetime.strptime(text, "%Y%m%d-%H%M%S").isoformat()
    except ValueError:
        return text
