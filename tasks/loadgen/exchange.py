"""The wall between the wire and the parser: the bytes that one request left behind, with their times."""

from dataclasses import dataclass
from enum import StrEnum


class WireEnd(StrEnum):
    """How the exchange stopped, as the socket saw it. Whether that was a success is for the parser to say."""

    COMPLETE = "complete"  # the HTTP message came to its end; the connection may live on
    EOF = "eof"  # the server closed
    RESET = "reset"  # the connection broke
    TIMED_OUT = "timed_out"  # our own limit
    CANCELLED = "cancelled"  # the trial was stopped
    CONNECT_FAILED = "connect_failed"
    NEVER_SENT = "never_sent"


@dataclass(slots=True)
class Exchange:
    """Times are CLOCK_MONOTONIC in ns. `segments` are the reads in order: (receive time, bytes)."""

    index: int
    due_at_ns: int
    sent_at_ns: int | None
    end_at_ns: int | None
    end: WireEnd
    segments: list[tuple[int, bytes]]
    error: str | None = None
    process: int = 0
    connection_reused: bool = False
    stamp: str = "user"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asked for, beside its text. `exact` means: any other output length is a failure; a length of 0
    was not known beforehand, or not asked.

    `needs_done` where the pre-flight saw this server end its streams with [DONE]."""

    prompt_tokens: int | None
    output_tokens: int
    exact: bool
    needs_done: bool
    in_window: bool = True
    conversation: int | None = None
    turn: int | None = None
