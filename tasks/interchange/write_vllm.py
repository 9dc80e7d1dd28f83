"""Trials as `vllm bench serve --save-result --save-detailed` writes its results (vLLM 0.32): seconds in the arrays, ms
in the summaries, which are vLLM's definitions, not ours. Several trials stand in a row, as --append-result has it."""

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from experiments.errors import InputError
from experiments.schema.load import ClosedLoop, Load
from tasks.interchange.imported import NS_PER_S
from tasks.interchange.marks import DUE, DUE_IS_TOLD, LOAD, error_text, load_mark
from tasks.interchange.measured import Measured
from tasks.loadgen.record import Outcome

PERCENTILES = (50, 90, 95, 99)
Row = dict[str, Any]


def vllm_text(trials: Sequence[Measured]) -> str:
    """One JSON object a trial, each on a line of its own."""
    return "\n".join(json.dumps(vllm_result(trial)) for trial in trials) + "\n"


def vllm_result(trial: Measured) -> dict[str, Any]:
    """One result. vLLM knows no window: it has the requests that count, and `duration` is the window's."""
    rows = [row for row in trial.rows() if row["in_window"]]
    if not rows:
        raise InputError("a trial without a request in its window cannot be written for vLLM")
    done = [row for row in rows if row["outcome"] == Outcome.COMPLETED.value]
    seconds = trial.point.summary.window_s
    return {
        **_header(trial, len(rows)),
        **_totals(rows, done, seconds),
        **_arrays(rows, trial.point.window_ns[0], trial.knows_chunks),
        **_summaries(done, trial.knows_chunks),
    }


def _header(trial: Measured, requests: int) -> dict[str, Any]:
    backend = {"chat": "openai-chat", "completions": "openai"}.get(trial.endpoint)
    left_out = trial.table.num_rows - requests
    notes = {"requests_outside_the_window_left_out": str(left_out)} if left_out else {}
    marks = {LOAD: load_mark(trial.point.point.load)}
    if all(row["due_at_ns"] is not None for row in trial.rows()):
        marks[DUE] = DUE_IS_TOLD
    return {
        "date": trial.started_at().strftime("%Y%m%d-%H%M%S"),
        "endpoint_type": backend,
        "backend": backend,
        "label": "dyno",
        "model_id": trial.model or None,
        "tokenizer_id": None,
        "num_prompts": requests,
        **marks,
        **{f"dyno_{name}": text for name, text in {**trial.about, **notes}.items()},
        **_traffic(trial.point.point.load),
    }


def _traffic(load: Load) -> dict[str, Any]:
    """vLLM keeps the gamma shape under `burstiness`, infinite for constant gaps."""
    if isinstance(load, ClosedLoop):
        return {"request_rate": "inf", "burstiness": 1.0, "max_concurrency": load.concurrency}
    shapes = {"constant": float("inf"), "gamma": getattr(load.arrivals, "shape", 1.0)}
    rate = "inf" if load.rate_rps is None else load.rate_rps
    return {"request_rate": rate, "burstiness": shapes.get(load.arrivals.kind, 1.0), "max_concurrency": None}


def _totals(rows: list[Row], done: list[Row], seconds: float) -> dict[str, Any]:
    inputs, outputs = (_sum(row[name] for row in done) for name in ("prompt_tokens", "output_tokens"))
    both = None if inputs is None or outputs is None else inputs + outputs
    return {
        "duration": seconds,
        "completed": len(done),
        "failed": len(rows) - len(done),
        "total_input_tokens": inputs,
        "total_output_tokens": outputs,
        "request_throughput": len(done) / seconds,
        "request_goodput": None,
        "output_throughput": None if outputs is None else outputs / seconds,
        "total_token_throughput": None if both is None else both / seconds,
        "max_output_tokens_per_s": None,
        "max_concurrent_requests": _most_at_once(done),
        "rtfx": 0.0,
    }


def _sum(counts: Iterator[int | None]) -> int | None:
    told = list(counts)
    return None if any(count is None for count in told) else sum(count or 0 for count in told)


def _most_at_once(done: list[Row]) -> int:
    """Of completed requests, between sending and the last chunk; one that ends as another begins is gone."""
    steps = [(row["sent_at_ns"], 1) for row in done] + [(row["last_token_at_ns"], -1) for row in done]
    at_once = np.cumsum([step for _, step in sorted(steps)])
    return int(at_once.max(initial=0))


def _arrays(rows: list[Row], origin_ns: int, knows_chunks: bool) -> dict[str, Any]:
    """start_times count from the window's start: perf_counter's origin is as arbitrary."""
    arrays = {
        "input_lens": [_first_told(row["prompt_tokens"], row["prompt_tokens_asked"]) for row in rows],
        "output_lens": [_output_len(row) for row in rows],
        "ttfts": [_after_sent(row, row["chunk_at_ns"][:1]) for row in rows],
        "itls": [_gaps_s(row) for row in rows],
        "latencies": [_after_sent(row, row["chunk_at_ns"][-1:]) if _completed(row) else 0.0 for row in rows],
        "start_times": [(_start_ns(row, origin_ns) - origin_ns) / NS_PER_S for row in rows],
        "queue_times": [_queue_s(row) for row in rows],
        "errors": [error_text(row["outcome"], row["error"]) for row in rows],
    }
    return arrays if knows_chunks else {name: values for name, values in arrays.items() if name != "itls"}


def _completed(row: Row) -> bool:
    return bool(row["outcome"] == Outcome.COMPLETED.value)


def _first_told(*counts: int | None) -> int | None:
    return next((count for count in counts if count is not None), None)


def _output_len(row: Row) -> int | None:
    """vLLM counts nothing of a request that failed."""
    return row["output_tokens"] if _completed(row) else 0


def _start_ns(row: Row, origin_ns: int) -> int:
    """One that was never sent stands where it was due."""
    return int(_first_told(row["sent_at_ns"], row["due_at_ns"], origin_ns) or origin_ns)


def _after_sent(row: Row, chunk_at_ns: list[int]) -> float:
    return (chunk_at_ns[0] - row["sent_at_ns"]) / NS_PER_S if chunk_at_ns else 0.0


def _gaps_s(row: Row) -> list[float]:
    return [(later - earlier) / NS_PER_S for earlier, later in pairwise(row["chunk_at_ns"])]


def _queue_s(row: Row) -> float | None:
    if row["due_at_ns"] is None:
        return None
    return 0.0 if row["sent_at_ns"] is None else (row["sent_at_ns"] - row["due_at_ns"]) / NS_PER_S


def _summaries(done: list[Row], knows_chunks: bool) -> dict[str, float | None]:
    """vLLM's ttft, tpot ((latency − ttft)/(N − 1)), itl (gaps between chunks) and e2el of the completed requests."""
    ttft = [_after_sent(row, row["chunk_at_ns"][:1]) for row in done]
    e2el = [_after_sent(row, row["chunk_at_ns"][-1:]) for row in done]
    spans = zip(done, ttft, e2el, strict=True)
    tpot = [(last - first) / (n - 1) for row, first, last in spans if (n := row["output_tokens"] or 0) > 1]
    itl = [gap for row in done for gap in _gaps_s(row)] if knows_chunks else []
    found: dict[str, float | None] = {}
    for name, values in {"ttft": ttft, "tpot": tpot, "itl": itl, "e2el": e2el}.items():
        found |= _summary(name, np.asarray(values) * 1000)
    return found


def _summary(name: str, ms: Any) -> dict[str, float | None]:
    """Null where there is no value, which vLLM makes 0."""
    names = [f"mean_{name}_ms", f"median_{name}_ms", f"std_{name}_ms", *(f"p{p}_{name}_ms" for p in PERCENTILES)]
    if not len(ms):
        return dict.fromkeys(names)
    figures = [ms.mean(), np.median(ms), ms.std(), *np.percentile(ms, PERCENTILES)]
    return {key: float(figure) for key, figure in zip(names, figures, strict=True)}
