"""A trial in stretches of a few seconds, the ramp included: how token rate and TTFT settle as users come."""

import numpy as np

from experiments.schema.result import Bucket
from tasks.analysis.columns import NS_PER_S, Columns
from tasks.analysis.latency import ttft_ms
from tasks.analysis.throughput import tokens_of_chunks


def buckets(columns: Columns, seconds: float) -> tuple[Bucket, ...]:
    """From the first due time to the window's end, the window's start being the edge of one; what is left over at the
    ends is no bucket. A request belongs to the one that it was due in, a token to the one that it arrived in."""
    width = seconds * NS_PER_S
    before = int(-float(columns.due.min(initial=0.0)) / width + 1e-6)
    count = before + int(columns.window_ns / width + 1e-6)
    edges = (np.arange(count + 1) - before) * width
    tokens, _ = np.histogram(columns.chunk_at, bins=edges, weights=tokens_of_chunks(columns))
    return tuple(
        _bucket(columns, float(start), float(stop), float(arrived))
        for start, stop, arrived in zip(edges[:-1], edges[1:], tokens, strict=True)
    )


def _bucket(columns: Columns, start: float, stop: float, tokens: float) -> Bucket:
    due = (columns.due >= start) & (columns.due < stop)
    ttft = ttft_ms(columns)[due & columns.completed]
    return Bucket(
        start_s=start / NS_PER_S,
        seconds=(stop - start) / NS_PER_S,
        requests=int(due.sum()),
        output_tokens_per_s=None if np.isnan(tokens) else tokens / (stop - start) * NS_PER_S,
        ttft_p50_ms=float(np.median(ttft)) if len(ttft) else None,
    )
