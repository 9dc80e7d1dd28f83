"""Requests encoded ahead of their sending, in order, within a budget of memory."""

import os
import time
from collections import deque
from typing import Protocol

from tasks.loadgen.assignment import Assignment, Target

AHEAD_BYTES = 64 * 1024 * 1024
AHEAD_PER_USER = 4
AHEAD_AT_LEAST = 64


class Bodies(Protocol):
    """Whole requests by position, each asked for once. `refill` encodes ahead, until that time at most; `refill_ns` is
    how long it may take at once."""

    refill_ns: int

    def at(self, position: int) -> bytes: ...

    def refill(self, until_ns: int | None = None) -> None: ...

    def prompt_tokens_asked(self, position: int) -> int | None: ...


class Stock:
    """`take` gives the k-th request at the k-th call. Encoding at the time of sending is the last resort, and shows
    as lateness."""

    refill_ns = 1_000_000

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._head = request_head(assignment)
        self._ready: deque[bytes] = deque()
        self._ready_bytes = 0
        self._encoded = 0
        self._ahead = assignment.count
        if self._ahead is None:
            self._ahead = max(AHEAD_AT_LEAST, AHEAD_PER_USER * len(assignment.user_due_ns))

    def at(self, position: int) -> bytes:
        """The request of a position; positions are asked for in order."""
        return self.take()

    def prompt_tokens_asked(self, position: int) -> int | None:
        """By the schedule."""
        return self._assignment.lengths(position)[0]

    def take(self) -> bytes:
        if not self._ready:
            self._encode()
        payload = self._ready.popleft()
        self._ready_bytes -= len(payload)
        return payload

    def refill(self, until_ns: int | None = None) -> None:
        """Encodes until the stock is full, or the time has come."""
        while self._is_wanting():
            if until_ns is not None and time.monotonic_ns() >= until_ns:
                return
            self._encode()

    def _is_wanting(self) -> bool:
        count = self._assignment.count
        if count is not None and self._encoded >= count:
            return False
        return self._ready_bytes < AHEAD_BYTES and len(self._ready) < (self._ahead or 1)

    def _encode(self) -> None:
        position = self._encoded
        body = self._assignment.source.body(self._assignment.index(position), *self._assignment.lengths(position))
        payload = b"%b%d\r\n\r\n%b" % (self._head, len(body), body)
        self._encoded += 1
        self._ready.append(payload)
        self._ready_bytes += len(payload)


def request_head(assignment: Assignment) -> bytes:
    """The request up to the number of Content-Length. The key stands only here, in memory."""
    target, source = assignment.target, assignment.source
    lines = [f"POST {source.path} HTTP/1.1", f"Host: {target.host_header}"]
    lines += [f"{name}: {value}" for name, value in source.headers]
    if key := api_key(target):
        lines.append(f"Authorization: Bearer {key}")
    lines.append("Connection: close" if assignment.fresh_connections else "Connection: keep-alive")
    return ("\r\n".join(lines) + "\r\nContent-Length: ").encode("latin-1")


def api_key(target: Target) -> str:
    """From the environment, where it stays."""
    return os.environ.get(target.api_key_env, "").strip() if target.api_key_env else ""
