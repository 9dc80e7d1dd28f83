"""One request on the wire: its times, and what comes back, kept raw. Knows where a response ends, and nothing else."""

from array import array
from collections.abc import Iterator
from typing import Any

import httptools

from tasks.loadgen.exchange import WireEnd
from tasks.loadgen.spill import Piece

_END_OF_CHUNKS = b"\r\n\r\n"
_ANY = b""

KEPT_WHEN_SPILLED = len(_END_OF_CHUNKS)


class Reception:
    """`stamps` holds 16 bytes a read (see clock.stamps_to_monotonic), `sizes` how many bytes it brought.

    A read can end the message only if the data end in `tail`: for chunked bodies that is rare, so that nearly every
    read costs one comparison; llhttp sees the bytes then, and decides. An end in the kernel's time is `end_stamp`.
    Requests of one `conversation` go over one connection.
    """

    __slots__ = (
        "_fed",
        "_parser",
        "complete",
        "conversation",
        "data",
        "due_at_ns",
        "due_stamp",
        "end",
        "end_at_ns",
        "end_stamp",
        "error",
        "index",
        "keep_alive",
        "payload",
        "pieces",
        "reused",
        "sent_at_ns",
        "sizes",
        "stamps",
        "status",
        "tail",
    )

    def __init__(
        self,
        index: int,
        due_at_ns: int,
        payload: bytes,
        due_stamp: bytes | None = None,
        conversation: int | None = None,
    ) -> None:
        self.index = index
        self.conversation = conversation
        self.due_at_ns = due_at_ns
        self.due_stamp = due_stamp
        self.payload = payload
        self.sent_at_ns: int | None = None
        self.end: WireEnd | None = None
        self.end_at_ns: int | None = None
        self.end_stamp: bytes | None = None
        self.error: str | None = None
        self.reused = False
        self.data = bytearray()
        self.stamps = bytearray()
        self.sizes = array("I")
        self.pieces: list[Piece] = []
        self.tail = _ANY
        self.status = 0
        self.complete = False
        self.keep_alive = False
        self._parser: Any = None
        self._fed = 0

    def confirm(self) -> bool:
        """Whether the message has come to its end. Raises httptools.HttpParserError where the bytes are no HTTP."""
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        fresh = self.data[self._fed :]
        self._fed = len(self.data)
        self._parser.feed_data(fresh)
        return self.complete

    def finish(self, end: WireEnd, at_ns: int | None, error: str | None = None) -> None:
        """`at_ns` None: it ended with the last read, whose stamp is the end; if it ever began."""
        self.end, self.error = end, error
        self.end_at_ns = at_ns
        if at_ns is None and self.stamps:
            self.end_stamp = bytes(self.stamps[-16:])
        self._parser = None  # a cycle, and collection is off while measuring

    def cut(self) -> bytes:
        """Takes out what may be moved to disk while the response still comes in. Raises as `confirm` does."""
        if self.tail != _ANY:
            self.confirm()  # the reads that could not end the message have not been shown to llhttp yet
        piece = bytes(self.data[:-KEPT_WHEN_SPILLED])
        self.data = self.data[-KEPT_WHEN_SPILLED:]
        self._fed = len(self.data)
        return piece

    def reads(self, raw: bytes) -> Iterator[bytes]:
        """The reads in order, cut out of the whole of what was received."""
        start = 0
        for size in self.sizes:
            yield raw[start : start + size]
            start += size

    # What llhttp calls back.

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"transfer-encoding" and b"chunked" in value.lower():
            self.tail = _END_OF_CHUNKS

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_message_complete(self) -> None:
        if 100 <= self.status < 200:  # an interim response: the answer is still to come
            self.tail = _ANY
            return
        self.complete = True
        self.keep_alive = self._parser.should_keep_alive()
