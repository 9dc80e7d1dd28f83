"""What the instrument finds about itself."""

from collections.abc import Sequence

import numpy as np

from tasks.loadgen.assignment import Share
from tasks.loadgen.clock import MAX_STEP_US
from tasks.loadgen.plan import ClientReport


def client_report(shares: Sequence[Share], *, parent_cpu_ns: int) -> ClientReport:
    """The account of all processes together; of CPU share and event loop, that of the worst."""
    events = sum(share.events for share in shares)
    tokens = sum(share.tokens for share in shares)
    cpu_ns = sum(share.cpu_ns for share in shares) + parent_cpu_ns
    return ClientReport(
        processes=len(shares),
        stamp=_stamp(frozenset[str]().union(*(share.stamps for share in shares))),
        events=events,
        events_sharing_a_stamp=sum(share.shared for share in shares) / tokens if tokens else 0.0,
        cpu_us_per_event=cpu_ns / 1e3 / events if events else None,
        cpu_share=max((_cpu_share(share) for share in shares), default=0.0),
        loop_delay_p99_ms=max(
            (delay for share in shares if (delay := _p99_ms(share.loop_delay_ns)) is not None), default=None
        ),
        connect_p99_ms=_p99_ms([took for share in shares for took in share.connect_ns]),
        clock_step_us=max((share.clock_step_us for share in shares), default=0.0),
        bytes_received=sum(share.bytes_received for share in shares),
        scheduling=" and ".join(sorted({share.scheduling for share in shares})),
    )


def client_findings(shares: Sequence[Share], report: ClientReport) -> tuple[str, ...]:
    """What makes the stamps or the bytes doubtful. What the figures say of the client's headroom is for analysis."""
    found = [finding for share in shares for finding in share.findings]
    if report.stamp != "user" and report.clock_step_us > MAX_STEP_US:
        found.append(f"the system's clock stepped by {report.clock_step_us:.0f} µs while arrivals were stamped with it")
    return tuple(found)


def _stamp(stamps: frozenset[str]) -> str:
    return next(iter(stamps)) if len(stamps) == 1 else "mixed" if stamps else "user"


def _cpu_share(share: Share) -> float:
    return share.measuring_cpu_ns / share.measuring_wall_ns if share.measuring_wall_ns > 0 else 0.0


def _p99_ms(samples_ns: Sequence[int]) -> float | None:
    return float(np.percentile(np.asarray(samples_ns), 99)) / 1e6 if len(samples_ns) else None
