"""One HTTP/1.1 response from the segments that the wire left behind: status, headers, and a body with arrival times."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import httptools

from tasks.loadgen.exchange import WireEnd

SWITCHING_PROTOCOLS = 101


@dataclass(slots=True)
class Response:
    """The body and, for each segment that carried some of it, the offset where that part ends and its receive time.

    `status` is None until the headers of the final response are whole; interim ones (1xx) are passed over.
    `malformed` is what breaks the rules of HTTP, if anything does; what came before it stands.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    ends: list[int] = field(default_factory=list)
    times_ns: list[int] = field(default_factory=list)
    complete: bool = False
    malformed: str | None = None

    @property
    def until_close(self) -> bool:
        """Whether only the end of the connection can end this body."""
        framed = "content-length" in self.headers or "chunked" in self.headers.get("transfer-encoding", "").lower()
        return self.status is not None and not self.complete and not framed

    def ended(self, end: WireEnd) -> bool:
        """Whether the body came to its clean end, given how the exchange stopped."""
        return self.complete or (self.until_close and self.malformed is None and end in (WireEnd.EOF, WireEnd.COMPLETE))


class ResponseReader:
    """Reads segment by segment, so that a caller with a socket knows when to stop: at `response.complete`."""

    def __init__(self) -> None:
        self.response = Response()
        self._pieces: list[bytes] = []
        self._size = self._kept = 0
        self.on_body = self._pieces.append  # called from C for each piece of body: no Python frame in between
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, at_ns: int, segment: bytes) -> None:
        """Total: bytes that are not HTTP end up in `malformed`, bytes past the message are ignored."""
        response, pieces = self.response, self._pieces
        if response.complete or response.malformed is not None:
            return
        known = len(pieces)
        try:
            self._parser.feed_data(segment)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as problem:
            if not response.complete:
                response.malformed = str(problem)
        if response.complete:
            del pieces[self._kept :]  # the rest of the segment belongs to no request of ours
        if len(pieces) > known:
            self._size += sum(map(len, pieces[known:]))
            response.ends.append(self._size)
            response.times_ns.append(at_ns)

    def finish(self) -> Response:
        """Joins the body; the reader is spent afterwards."""
        self.response.body = b"".join(self._pieces)
        del self._parser, self.on_body  # both refer back to this object: without a cycle it is freed at once
        return self.response

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.response.status is None:  # later ones are trailers
            self.response.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self.response.complete:
            return
        status = self._parser.get_status_code()
        if status >= 200 or status == SWITCHING_PROTOCOLS:
            self.response.status = status
        else:
            self.response.headers.clear()

    def on_message_complete(self) -> None:
        if self.response.status is not None and not self.response.complete:
            self.response.complete = True
            self._kept = len(self._pieces)


def read_response(segments: Iterable[tuple[int, bytes]]) -> Response:
    """The response that all of an exchange's segments make."""
    reader = ResponseReader()
    for at_ns, segment in segments:
        reader.feed(at_ns, segment)
    return reader.finish()
