"""The definitions of measurement.md, request by request: a due, s sent, c_k the k-th token-bearing chunk with n_k
tokens, N output tokens. In ms, NaN where a request does not have the figure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tasks.analysis.columns import NS_PER_MS, Columns, Flags, Floats, Integers


def ttft_ms(columns: Columns) -> Floats:
    """Service: c_1 − s."""
    return (columns.first_chunk_at() - columns.sent) / NS_PER_MS


def ttft_response_ms(columns: Columns) -> Floats:
    """Response: c_1 − a; the time a request waited in the client is time a user would have waited."""
    return (columns.first_chunk_at() - columns.due) / NS_PER_MS


def ttft_answer_ms(columns: Columns) -> Floats:
    """First chunk that is not reasoning − s."""
    at = np.full(len(columns), np.nan)
    answers = np.flatnonzero(columns.chunk_is_answer)
    requests, first = np.unique(columns.request[answers], return_index=True)
    at[requests] = columns.chunk_at[answers[first]]
    return (at - columns.sent) / NS_PER_MS


def e2e_ms(columns: Columns) -> Floats:
    """Service: c_K − s."""
    return (columns.last_chunk_at() - columns.sent) / NS_PER_MS


def e2e_response_ms(columns: Columns) -> Floats:
    """Response: c_K − a."""
    return (columns.last_chunk_at() - columns.due) / NS_PER_MS


def tpot_ms(columns: Columns) -> Floats:
    """(c_K − c_1)/(N − n_1), with n_1 = 1 where it is not known. One chunk alone spans no time, and has no TPOT."""
    n_1 = np.ones(len(columns))
    some = columns.chunks > 0
    n_1[some] = columns.chunk_tokens[columns.first[some]]
    return _decode_time_per(columns, columns.output - np.where(np.isnan(n_1), 1.0, n_1))


def tpot_compat_ms(columns: Columns) -> Floats:
    """(c_K − c_1)/(N − 1), as other tools have it."""
    return _decode_time_per(columns, columns.output - 1)


def _decode_time_per(columns: Columns, tokens: Floats) -> Floats:
    span = (columns.last_chunk_at() - columns.first_chunk_at()) / NS_PER_MS
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((columns.chunks > 1) & (tokens > 0), span / tokens, np.nan)


@dataclass(frozen=True, slots=True, eq=False)
class Gaps:
    """The gaps g_k = c_k − c_{k−1} of all requests, k ≥ 2; `tokens` is n_k, NaN where it is not known."""

    ms: Floats
    tokens: Floats
    request: Integers

    def of(self, requests: Flags) -> "Gaps":
        kept = requests[self.request]
        return Gaps(self.ms[kept], self.tokens[kept], self.request[kept])

    def token_samples(self) -> Floats:
        """Token-weighted ITL: each gap counts as n_k samples of g_k/n_k. Every n_k must be known."""
        bearing = self.tokens > 0
        tokens = self.tokens[bearing]
        return np.repeat(self.ms[bearing] / tokens, tokens.astype(np.int64))

    def sample_owner(self) -> Integers:
        """Whose each of `token_samples` is."""
        bearing = self.tokens > 0
        return np.repeat(self.request[bearing], self.tokens[bearing].astype(np.int64))


def gaps(columns: Columns) -> Gaps:
    """Every gap between two chunks of one request."""
    same = columns.request[1:] == columns.request[:-1]
    between = np.diff(columns.chunk_at) / NS_PER_MS
    return Gaps(between[same], columns.chunk_tokens[1:][same], columns.request[1:][same])


def longest_stall_ms(columns: Columns) -> Floats:
    """max g_k of each request."""
    longest = np.full(len(columns), -np.inf)
    every = gaps(columns)
    np.maximum.at(longest, every.request, every.ms)
    return np.where(np.isfinite(longest), longest, np.nan)


PER_REQUEST: Mapping[str, Callable[[Columns], Floats]] = {
    "ttft_ms": ttft_ms,
    "ttft_response_ms": ttft_response_ms,
    "ttft_answer_ms": ttft_answer_ms,
    "tpot_ms": tpot_ms,
    "tpot_compat_ms": tpot_compat_ms,
    "e2e_ms": e2e_ms,
    "e2e_response_ms": e2e_response_ms,
    "longest_stall_ms": longest_stall_ms,
}
"""The latencies that a request has one of. ITL and ICL are pooled gaps."""
