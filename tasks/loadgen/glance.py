"""The live view's figures, taken twice a second from what the event loop keeps anyway. A glance, not a measurement."""

import re
from collections import deque

from tasks.loadgen.assignment import Beat
from tasks.loadgen.clock import ClockLog, stamps_to_monotonic
from tasks.loadgen.exchange import WireEnd
from tasks.loadgen.reception import Reception

_WATCHED = 32
_LOOKED_AT_BYTES = 8192
_FIRST_TEXT = re.compile(rb'"(?:text|content|reasoning|reasoning_content)"\s*:\s*"[^"]')
_ERROR_STATUS = 400


class Glance:
    """Counts what is sent and what ends; of some requests it reads off when the first text came."""

    def __init__(self, clock: ClockLog) -> None:
        self._clock = clock
        self._watched: deque[Reception] = deque(maxlen=_WATCHED)
        self._sent = 0
        self._finished = 0
        self._errors = 0
        self._reads_of_ended = 0
        self._reads_before = 0

    def expect(self, reception: Reception) -> None:
        self._sent += 1
        self._watched.append(reception)

    def ended(self, reception: Reception) -> None:
        self._finished += 1
        self._reads_of_ended += len(reception.sizes)
        broke = reception.end not in (WireEnd.COMPLETE, WireEnd.EOF) or reception.error is not None
        self._errors += broke or reception.status >= _ERROR_STATUS

    def beat(self, in_flight: list[Reception]) -> Beat:
        """Reads stand for chunks: where the client keeps up, nearly each event is a read of its own."""
        reads = self._reads_of_ended + sum(len(reception.sizes) for reception in in_flight)
        beat = Beat(
            finished=self._finished,
            errors=self._errors,
            sent=self._sent,
            chunks=reads - self._reads_before,
            in_flight=len(in_flight),
            ttft_ms=self._first_texts(),
        )
        self._reads_before = reads
        self._sent = self._finished = self._errors = 0
        return beat

    def _first_texts(self) -> tuple[float, ...]:
        found = []
        for _ in range(len(self._watched)):
            reception = self._watched.popleft()
            ttft_ms = self._first_text_ms(reception)
            if ttft_ms is not None:
                found.append(ttft_ms)
            elif reception.end is None:
                self._watched.append(reception)
        return tuple(found)

    def _first_text_ms(self, reception: Reception) -> float | None:
        match = _FIRST_TEXT.search(reception.data, 0, _LOOKED_AT_BYTES)
        if match is None or reception.sent_at_ns is None:
            return None
        read, received = 0, reception.sizes[0]
        while received < match.end():
            read += 1
            received += reception.sizes[read]
        at_ns = stamps_to_monotonic(reception.stamps[16 * read : 16 * read + 16], self._clock)[0][0]
        return (at_ns - reception.sent_at_ns) / 1e6
