"""When an engine is warm: two consecutive windows' throughput agree. A test, not a count of requests."""

from collections.abc import Sequence

from tasks.analysis.intervals import binomial_cdf

LEVEL = 0.05
FEWEST_EVENTS = 16
"""Per window. From there on a window that is half as fast as the next one is told from it: 16 against 32, p = 0.03."""

ALIKE = 0.05
"""Windows within 5 % of each other agree, however many events make even that significant."""


def is_steady(counts_per_window: Sequence[int]) -> bool:
    """Whether the last two of the equal, consecutive windows agree. The counts are tokens or completed requests.

    Two windows of one rate split their events like a fair coin: they disagree where that has a two-sided probability
    of at most 5 %.
    """
    if len(counts_per_window) < 2:
        return False
    fewer, more = sorted(counts_per_window[-2:])
    if fewer < FEWEST_EVENTS:
        return False
    return more <= fewer * (1 + ALIKE) or 2 * float(binomial_cdf(fewer + more, 0.5)[fewer]) > LEVEL
