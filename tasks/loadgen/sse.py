"""Server-sent events from the bytes of a body: the WHATWG rules, without I/O.

A token is received when the last byte of the terminator of its event's last `data` line arrives: the blank line that
follows carries nothing. A line ends with LF, CRLF or a lone CR, so the LF of a CRLF belongs to the terminator.
"""

from collections.abc import Iterator

BOM = b"\xef\xbb\xbf"

Event = tuple[int, bytes, bytes]
"""The offset in the body just past the terminator of the last data line, the `event` field, the data."""


def events(body: bytes, *, ended: bool) -> Iterator[Event]:
    """The events of a body in order; events without data are not events.

    `ended` says that the body came to its clean end, which then ends an unfinished last line too: servers that forget
    the last blank line are read. Where the body was cut off, a last line without its terminator is dropped.
    """
    end = len(BOM) if body.startswith(BOM) else 0
    lines = body[end:].splitlines(keepends=True)
    if lines and not ended and not lines[-1].endswith((b"\n", b"\r")):
        del lines[-1]
    kind, data, data_end = b"", [], 0
    for line in lines:
        end += len(line)
        if line.startswith(b"data: "):  # the shape of nearly every line
            data.append(line[6:].rstrip(b"\r\n"))
            data_end = end
        elif line[0] in b"\r\n":
            if data:
                yield data_end, kind, data[0] if len(data) == 1 else b"\n".join(data)
                data = []
            kind = b""
        else:
            name, value = _field(line)
            kind = value if name == b"event" else name if name == b"error" else kind
            if name in (b"data", b"error"):
                data.append(value)
                data_end = end
    if data:
        yield data_end, kind, b"\n".join(data)


def _field(line: bytes) -> tuple[bytes, bytes]:
    """Comments have the empty name. A field named `error` is how older llama servers said an error: it is kept."""
    name, _, value = line.rstrip(b"\r\n").partition(b":")
    return name, value.removeprefix(b" ")
