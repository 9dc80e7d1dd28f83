"""When an engine is warm: two consecutive windows' throughput agree. A test, not a count of requests."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from tasks.analysis.columns import read_columns
from tasks.analysis.intervals import binomial_cdf
from tasks.analysis.throughput import tokens_of_chunks

LEVEL = 0.05
FEWEST_EVENTS = 16
"""From there on, half the speed is told from the whole: 16 against 32, p = 0.03."""

ALIKE = 0.05
"""Windows within 5 % of each other agree, however many events make even that significant."""


def is_steady(counts_per_window: Sequence[int]) -> bool:
    """Whether the latest two consecutive stretches of equal windows agree. The counts are tokens or requests.

    A stretch is one window, or as many as it takes to hold 16 events. Stretches of one rate split their events like a
    fair coin: they disagree where that has a two-sided probability of at most 5 %.
    """
    for windows in range(1, len(counts_per_window) // 2 + 1):
        fewer, more = sorted(
            (sum(counts_per_window[-windows:]), sum(counts_per_window[-2 * windows : -windows])),
        )
        if fewer >= FEWEST_EVENTS:
            return more <= fewer * (1 + ALIKE) or 2 * float(binomial_cdf(fewer + more, 0.5)[fewer]) > LEVEL
    return False


def tokens_per_window(table: pa.Table, window: tuple[int, int], *, seconds: float = 1.0) -> list[int]:
    """Tokens that arrived in each of the equal parts of W that last about `seconds`; a token-bearing chunk counts once
    where nobody knows how many it bore."""
    columns = read_columns(table, window)
    parts = max(1, round(columns.window_s / seconds))
    tokens = np.nan_to_num(tokens_of_chunks(columns), nan=1.0)
    totals, _ = np.histogram(columns.chunk_at, bins=parts, range=(0.0, columns.window_ns), weights=tokens)
    return [round(float(total)) for total in totals]
