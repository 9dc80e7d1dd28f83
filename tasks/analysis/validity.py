"""When a trial is invalid. A reason has the number, the limit, and what to do; an invalid trial is kept and shown."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.schema.load import Load
from experiments.schema.workload import Workload
from tasks.analysis.columns import NS_PER_MS, NS_PER_S, Columns, Floats
from tasks.analysis.drift import LEVEL, Drift
from tasks.analysis.latency import ttft_ms
from tasks.analysis.throughput import cache_hit_ratio

LATENESS_FLOOR_MS = 2.0
LATENESS_SHARE_OF_TTFT = 0.01
TOKENS_OFF = 0.01
ERROR_SHARE = 0.01
CACHE_HIT = 0.01
SHARING_OFF = 0.1
BLOCK_TOKENS = 32
"""A cache reuses whole blocks, and computes a prompt's last token anew: so many tokens of a prompt are not held against
the ratio that a workload asks for."""

CPU_SHARE = 0.85
"""Of one core, by the busiest client process. What is left takes up bursts; with less left, a burst makes it late."""

SHARED_STAMPS = 0.05
"""Share of token-bearing chunks that bear the same stamp as another one of their request. It says that a read returned
several events, and a server that writes several tokens at once makes it 1 at no fault of the client: those stamps are
true. A merged read gives a wrong time only where the client came late to the socket, and wrong by no more than that
delay. So the share counts only where the client's own delay is beyond the limit of lateness; then above one in twenty
a p95 may rest on merged reads."""


def invalid_reasons(
    columns: Columns,
    *,
    load: Load,
    workload: Workload,
    client: Mapping[str, Any],
    findings: Sequence[str],
    drifted: Drift | None,
) -> tuple[str, ...]:
    """Every reason that applies; none means valid. `drifted` is None where the load is not meant to be stationary."""
    if not columns.in_window.any():
        return (*findings, "no request was due in the window: make the trial longer than its ramp")
    limit_ms = lateness_limit_ms(columns)
    found: list[str] = list(findings)
    found += _errors(columns)
    found += _late(columns, limit_ms, load.kind == "open_loop")
    found += _client_without_headroom(client, limit_ms)
    found += _merged_reads(columns, client, limit_ms)
    found += _wrong_lengths(columns)
    found += _cut_histories(columns)
    found += _warm_cache(columns, workload)
    found += _not_shared_as_asked(columns, workload)
    found += _short_window(columns)
    found += _drifting(drifted)
    return tuple(dict.fromkeys(found))


def lateness_ms(columns: Columns) -> Floats:
    """s − a of the requests due in W that were sent: lateness in open loop, turnaround in closed loop."""
    late = (columns.sent - columns.due)[columns.in_window] / NS_PER_MS
    return late[~np.isnan(late)]


def lateness_limit_ms(columns: Columns) -> float:
    """The larger of 2 ms and 1 % of the median TTFT."""
    ttft = ttft_ms(columns)[columns.measured]
    return max(LATENESS_FLOOR_MS, LATENESS_SHARE_OF_TTFT * float(np.median(ttft))) if len(ttft) else LATENESS_FLOOR_MS


def error_share(columns: Columns) -> float | None:
    """Requests due in W that did not complete, over all due in W."""
    due = columns.in_window
    return float((due & ~columns.completed).sum() / due.sum()) if due.any() else None


def _errors(columns: Columns) -> Iterator[str]:
    share = error_share(columns)
    if share is not None and share > ERROR_SHARE:
        names, counts = np.unique(columns.outcome[columns.in_window & ~columns.completed], return_counts=True)
        kinds = ", ".join(f"{count} {name}" for name, count in zip(names, counts, strict=True))
        yield (
            f"{share:.1%} of {columns.in_window.sum()} requests did not complete ({kinds}), above {ERROR_SHARE:.0%}: "
            "see the column `error` of requests.parquet, then lower the load or mend the server"
        )


def _late(columns: Columns, limit_ms: float, is_open_loop: bool) -> Iterator[str]:
    late = lateness_ms(columns)
    p99 = float(np.quantile(late, 0.99)) if len(late) else 0.0
    if p99 > limit_ms:
        what = "client lateness (sent after due)" if is_open_loop else "client turnaround (sent after the last answer)"
        yield (
            f"{what} p99 is {p99:.3g} ms, above {limit_ms:.3g} ms, the larger of 2 ms and 1 % of the median TTFT: "
            "give the client more processes or a machine of its own"
        )


def _client_without_headroom(client: Mapping[str, Any], limit_ms: float) -> Iterator[str]:
    share = client.get("cpu_share")
    if share is not None and share > CPU_SHARE:
        yield (
            f"the busiest client process used {share:.0%} of a core, above {CPU_SHARE:.0%}: "
            "give the client more processes or a machine of its own"
        )
    delay = client.get("loop_delay_p99_ms")
    if client.get("stamp") not in (None, "kernel") and delay is not None and delay > limit_ms:
        yield (
            f"receive times are user-space stamps and the client's loop came {delay:.3g} ms late (p99), above "
            f"{limit_ms:.3g} ms: use plain http, where the kernel stamps, or more client processes"
        )


def _merged_reads(columns: Columns, client: Mapping[str, Any], limit_ms: float) -> Iterator[str]:
    share, delay = shared_stamp_share(columns), client.get("loop_delay_p99_ms")
    came_late = delay > limit_ms if delay is not None else (client.get("cpu_share") or 0.0) > CPU_SHARE
    if share > SHARED_STAMPS and came_late:
        by = f"{delay:.3g} ms late (p99)" if delay is not None else "late by an unknown time"
        yield (
            f"{share:.0%} of the token chunks share a stamp with another, above {SHARED_STAMPS:.0%}, and the client "
            f"came to its sockets {by}: their times cannot be told apart; give the client more processes"
        )


def shared_stamp_share(columns: Columns) -> float:
    """Token-bearing chunks whose stamp another chunk of the same request bears, over all."""
    if not len(columns.chunk_at):
        return 0.0
    same = (np.diff(columns.chunk_at) == 0) & (np.diff(columns.request) == 0)
    return float((np.append(same, False) | np.insert(same, 0, False)).mean())


def _wrong_lengths(columns: Columns) -> Iterator[str]:
    """Deviations are summed without sign: one prompt too long does not make up for one too short."""
    due = columns.in_window
    sides = (
        ("prompt", columns.prompt, columns.prompt_asked, due & columns.completed, "give --tokenizer, or use token ids"),
        ("output", columns.output, columns.output_asked, due & columns.finished, "the server ended its answers itself"),
    )
    for name, realised, asked, requests, advice in sides:
        told = requests & ~np.isnan(realised) & (asked > 0)
        off = float(np.abs(realised - asked)[told].sum() / asked[told].sum()) if told.any() else 0.0
        if off > TOKENS_OFF:
            means = f"mean {realised[told].mean():.4g} for {asked[told].mean():.4g} asked"
            yield f"realised {name} tokens are {off:.1%} off those asked ({means}), above {TOKENS_OFF:.0%}: {advice}"


def _cut_histories(columns: Columns) -> Iterator[str]:
    """A prompt holds all of the one before it: one that is shorter shows a server that drops what does not fit."""
    order = np.lexsort((columns.turn, columns.conversation))
    prompt, turn, talk = columns.prompt[order], columns.turn[order], columns.conversation[order]
    follows = np.zeros(len(columns), dtype=np.bool_)
    follows[1:] = (np.diff(turn) == 1) & (np.diff(talk) == 0) & ~np.isnan(prompt[1:]) & ~np.isnan(prompt[:-1])
    follows &= (columns.in_window & columns.completed)[order]
    shrank = follows & (prompt < np.roll(prompt, 1))
    if shrank.sum() > TOKENS_OFF * follows.sum():
        yield (
            f"in {shrank.sum()} of {follows.sum()} later turns the server counts fewer prompt tokens than in the turn "
            f"before, above {TOKENS_OFF:.0%}: it drops some of the history; give it more context, or have fewer turns"
        )


def _warm_cache(columns: Columns, workload: Workload) -> Iterator[str]:
    ratio, _ = cache_hit_ratio(columns, columns.opens)  # a history is there to be found in the cache
    if workload.cache == "cold" and ratio is not None and ratio > CACHE_HIT:
        yield (
            f"a cold workload took {ratio:.1%} of its prompt tokens from the server's cache, above {CACHE_HIT:.0%}: "
            "turn prefix caching off, or check that prompts are unique"
        )


def _not_shared_as_asked(columns: Columns, workload: Workload) -> Iterator[str]:
    """A system prompt's tokens are not known here: where there is one, only too few hits are told."""
    ratio, _ = cache_hit_ratio(columns)
    asked = _asked_hit_ratio(columns, workload)
    if ratio is None or asked is None:
        return
    limit = SHARING_OFF + BLOCK_TOKENS / float(np.nanmean(columns.prompt[columns.measured]))
    if asked - ratio > limit:
        advice = "turn prefix caching on, and see that its memory holds what is shared"
    elif ratio - asked > limit and workload.system_prompt is None:
        advice = "see what else the server knew of these prompts"
    else:
        return
    yield (
        f"a {workload.cache} workload took {ratio:.1%} of its prompt tokens from the server's cache where {asked:.1%} "
        f"were asked to be there, more than {limit:.1%} off: {advice}"
    )


def _asked_hit_ratio(columns: Columns, workload: Workload) -> float | None:
    """All of a hot prompt; of shared ones the prefix. None where it is not known: what a dataset shares by itself."""
    if workload.cache == "hot":
        return 1.0
    if workload.shared_prefix is None:
        return None
    prompt = float(np.nanmean(columns.prompt[columns.measured]))
    return min(1.0, workload.shared_prefix.share * workload.shared_prefix.tokens / prompt)


def _short_window(columns: Columns) -> Iterator[str]:
    """A window that not even the median request fits into shows filling, not a steady state."""
    residence = (columns.end - columns.sent)[columns.measured]
    median = float(np.median(residence)) if len(residence) else 0.0
    # The end of the last request ends W where W is all of them: equal is enough.
    if columns.window_ns < median * (1 - 1e-6):
        yield (
            f"the window of {columns.window_s:.3g} s is shorter than the median request ({median / NS_PER_S:.3g} s): "
            "give more requests or more seconds"
        )


def _drifting(drifted: Drift | None) -> Iterator[str]:
    if drifted is not None and drifted.is_beyond_noise and drifted.change is not None:
        yield (
            f"throughput drifted by {drifted.change:+.1%} from the first to the second half of the window "
            f"(p = {drifted.p_value:.2g}, level {LEVEL:g}): warm up longer, or look for throttling and other load"
        )
