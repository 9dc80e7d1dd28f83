"""After the clock has stopped: from what the wire left behind to records on disk, a batch at a time."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tasks.loadgen.answer import parse_exchange
from tasks.loadgen.assignment import Assignment, Share
from tasks.loadgen.clock import ClockLog, stamps_to_monotonic
from tasks.loadgen.exchange import Asked, Exchange, WireEnd
from tasks.loadgen.reception import Reception
from tasks.loadgen.record import SCHEMA, RequestRecord, records_table
from tasks.loadgen.spill import SpillFile
from tasks.loadgen.stock import api_key

if TYPE_CHECKING:
    from tasks.loadgen.worker import Finished

_BATCH_EVENTS = 20_000
_EVENT = b"\ndata:"


class Tally:
    """What is counted along the way."""

    def __init__(self) -> None:
        self.events = 0
        self.tokens = 0
        self.shared = 0
        self.bytes_received = 0
        self.last_end_ns: int | None = None
        self.stamps: set[str] = set()

    def add(self, raw: bytes, record: RequestRecord) -> None:
        """An event's line starts after a line feed, and JSON within it has none."""
        self.events += raw.count(_EVENT)
        self.bytes_received += len(raw)
        self.tokens += len(record.chunk_at_ns)
        self.shared += sharing(record.chunk_at_ns)
        if record.end_at_ns is not None:
            self.last_end_ns = max(record.end_at_ns, self.last_end_ns or 0)
        if raw:
            self.stamps.add(record.stamp)


def sharing(times_ns: list[int]) -> int:
    """How many of them have the same time as a neighbour."""
    if len(times_ns) < 2:
        return 0
    same = np.diff(np.asarray(times_ns)) == 0
    return int(np.count_nonzero(np.append(same, False) | np.append(False, same)))


def settle(finished: "Finished") -> Share:
    """Parses everything, writes the part file, and gives the memory and the disk back as it goes."""
    assignment, measured, tally = finished.assignment, finished.measurement, Tally()
    part = assignment.folder / f"requests.{assignment.process}.part"
    measured.spill.settle()
    write_part(part, batches(finished, tally))
    measured.spill.close()
    return Share(
        part=part,
        last_end_ns=tally.last_end_ns,
        events=tally.events,
        tokens=tally.tokens,
        shared=tally.shared,
        stamps=frozenset(tally.stamps),
        bytes_received=tally.bytes_received,
        cpu_ns=time.process_time_ns() - measured.cpu_ns,
        measuring_cpu_ns=finished.measured_cpu_ns - measured.cpu_ns,
        measuring_wall_ns=measured.ended_ns - measured.began_ns,
        loop_delay_ns=measured.loop_delay_ns,
        connect_ns=finished.connect_ns,
        clock_step_us=measured.clock.largest_step_us(),
        scheduling=finished.scheduling,
        findings=findings(measured.spill),
    )


def findings(spill: SpillFile) -> tuple[str, ...]:
    """What only the worker knows."""
    if spill.error is None:
        return ()
    return (f"received bytes could not be moved to disk, and stayed in memory: {spill.error}",)


def batches(finished: "Finished", tally: Tally) -> Iterator[list[RequestRecord]]:
    """Records in batches of about equal size, each reception let go once it is parsed."""
    receptions, batch, size = finished.measurement.done, list[RequestRecord](), 0
    receptions.reverse()
    while receptions:
        reception = receptions.pop()
        record = to_record(reception, finished, tally)
        batch.append(record)
        size += len(record.chunk_at_ns)
        if size >= _BATCH_EVENTS:
            yield batch
            batch, size = [], 0
    yield batch


def to_record(reception: Reception, finished: "Finished", tally: Tally) -> RequestRecord:
    """One request, parsed and counted."""
    assignment, raw = finished.assignment, raw_bytes(reception, finished.measurement.spill)
    exchange = to_exchange(reception, raw, finished.measurement.clock, assignment)
    prompt_tokens = finished.measurement.stock.prompt_tokens_asked(assignment.position(reception.index))
    asked = asked_of(reception, exchange, assignment, finished.start_ns, prompt_tokens)
    record = parse_exchange(exchange, asked, secret=api_key(assignment.target))
    tally.add(raw, record)
    return record


def raw_bytes(reception: Reception, spill: SpillFile) -> bytes:
    """Everything received, from the disk too."""
    return (spill.read(reception.pieces) if reception.pieces else b"") + bytes(reception.data)


def asked_of(
    reception: Reception, exchange: Exchange, assignment: Assignment, start_ns: int, prompt_tokens: int | None
) -> Asked:
    """What the schedule says of this request."""
    _, output = assignment.lengths(assignment.position(reception.index))
    conversation, turn = divmod(reception.index, assignment.most_turns)
    return Asked(
        prompt_tokens=(prompt_tokens or None) if assignment.knows_prompts else None,
        output_tokens=output if assignment.exact else 0,
        exact=assignment.exact,
        needs_done=assignment.needs_done,
        in_window=exchange.due_at_ns >= start_ns + assignment.window_from_ns,
        conversation=None if assignment.dialogue is None else conversation,
        turn=None if assignment.dialogue is None else turn,
    )


def to_exchange(reception: Reception, raw: bytes, clock: ClockLog, assignment: Assignment) -> Exchange:
    """All times on CLOCK_MONOTONIC. What came after the time limit, because the loop was late, is no success."""
    times, kernel = stamps_to_monotonic(reception.stamps, clock)
    end_at_ns = times[-1] if reception.end_stamp is not None else reception.end_at_ns
    exchange = Exchange(
        index=reception.index,
        due_at_ns=due_at_ns(reception, clock, assignment.think_ns_before(reception.index)),
        sent_at_ns=reception.sent_at_ns,
        end_at_ns=end_at_ns,
        end=reception.end or WireEnd.CANCELLED,
        segments=list(zip(times, reception.reads(raw), strict=True)),
        error=reception.error,
        process=assignment.process,
        connection_reused=reception.reused,
        stamp="kernel" if kernel else "user",
    )
    return within_limit(exchange, assignment.timeout_ns)


def due_at_ns(reception: Reception, clock: ClockLog, think_ns: int) -> int:
    """Exactly a think time after the end of its predecessor, in that one's own terms."""
    if reception.due_stamp is None:
        return reception.due_at_ns
    return stamps_to_monotonic(reception.due_stamp, clock)[0][0] + think_ns


def within_limit(exchange: Exchange, timeout_ns: int) -> Exchange:
    """A response that came to its end too late, before the loop could stop it, has timed out."""
    if exchange.sent_at_ns is None or exchange.end_at_ns is None:
        return exchange
    limit = exchange.sent_at_ns + timeout_ns
    if exchange.end_at_ns > limit and exchange.end is not WireEnd.CANCELLED:
        exchange.end = WireEnd.TIMED_OUT
        exchange.end_at_ns = limit
        exchange.segments = [(at, data) for at, data in exchange.segments if at <= limit]
    return exchange


def write_part(part: Path, batches: Iterator[list[RequestRecord]]) -> None:
    """Arrow IPC, gone once the parent has merged it."""
    with pa.OSFile(str(part), "wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
        for batch in batches:
            writer.write_table(records_table(batch))
