"""Where a response ends, whatever the reads that it comes in."""

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.loadgen.exchange import WireEnd
from tasks.loadgen.reception import Reception

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
EVENTS = [b"data: {}\n\n", b"data: 0\r\n\r\n", b"0\r\n\r\n", b": ping\n\n", b"data: \xc3\xa4\r\n\r\n"]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(map(chunk, EVENTS)) + b"0\r\n\r\n"
TRAILED = CHUNKED[:-2] + b"X-Took: 1\r\n\r\n"
SIZED = HEAD + b"Content-Length: %d\r\n\r\n" % len(b"".join(EVENTS)) + b"".join(EVENTS)
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED
REFUSED = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
WHOLE = {"chunked": CHUNKED, "trailed": TRAILED, "sized": SIZED, "empty": EMPTY, "interim": INTERIM, "503": REFUSED}
UNTIL_CLOSED = HEAD + b"\r\n" + b"".join(EVENTS)


def read(reception: Reception, data: bytes) -> bool:
    """As a connection does."""
    reception.data += data
    reception.sizes.append(len(data))
    return reception.data.endswith(reception.tail) and reception.confirm()


def reads(whole: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({cut % len(whole) for cut in cuts} - {0})
    return [whole[a:b] for a, b in zip([0, *at], [*at, len(whole)], strict=True)]


@pytest.mark.parametrize("kind", WHOLE)
@given(cuts=st.lists(st.integers(0, 10_000), max_size=12))
def test_a_message_is_over_with_its_last_byte_and_not_before(kind: str, cuts: list[int]) -> None:
    pieces = reads(WHOLE[kind], cuts)
    reception = Reception(0, 0, b"")
    assert [read(reception, piece) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert reception.keep_alive
    assert list(reception.reads(bytes(reception.data))) == pieces


@pytest.mark.parametrize("kind", ["chunked", "sized", "trailed"])
@given(cuts=st.lists(st.integers(0, 10_000), max_size=12), spilled=st.sets(st.integers(0, 11)))
def test_to_move_bytes_to_disk_meanwhile_changes_nothing(kind: str, cuts: list[int], spilled: set[int]) -> None:
    pieces, reception, on_disk = reads(WHOLE[kind], cuts), Reception(0, 0, b""), b""
    over = []
    for k, piece in enumerate(pieces):
        over.append(read(reception, piece))
        if k in spilled and not over[-1]:
            on_disk += reception.cut()
    assert over == [False] * (len(pieces) - 1) + [True]
    assert on_disk + bytes(reception.data) == WHOLE[kind]


@given(cuts=st.lists(st.integers(0, 10_000), max_size=12))
def test_a_body_without_a_length_ends_only_with_the_connection(cuts: list[int]) -> None:
    reception = Reception(0, 0, b"")
    assert True not in {read(reception, piece) for piece in reads(UNTIL_CLOSED, cuts)}


@pytest.mark.parametrize("cut", range(1, len(CHUNKED)))
def test_a_truncated_message_is_never_over(cut: int) -> None:
    assert not read(Reception(0, 0, b""), CHUNKED[:cut])


def test_a_server_that_will_close_is_not_to_be_used_again() -> None:
    reception = Reception(0, 0, b"")
    assert read(reception, SIZED.replace(b"Content-Type", b"Connection: close\r\nContent-Type"))
    assert not reception.keep_alive


@pytest.mark.parametrize("bytes_", [b"SSH-2.0-OpenSSH_9.2\r\n", b"<html>\r\n\r\n", b"HTTP/1.1 200 OK\r\nA\r\n\r\n"])
def test_what_is_no_http_is_said_to_be_none(bytes_: bytes) -> None:
    with pytest.raises(httptools.HttpParserError):
        read(Reception(0, 0, b""), bytes_)


def test_a_broken_chunk_size_is_found_when_the_end_seems_to_come() -> None:
    reception = Reception(0, 0, b"")
    assert not read(reception, HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    with pytest.raises(httptools.HttpParserError):
        read(reception, b"zz\r\nxx\r\n0\r\n\r\n")


def test_the_end_is_the_stamp_of_the_last_read_unless_a_time_is_given() -> None:
    by_read, by_clock = Reception(0, 0, b""), Reception(0, 0, b"")
    for reception in (by_read, by_clock):
        reception.stamps += b"a" * 16 + b"b" * 16
    by_read.finish(WireEnd.COMPLETE, None)
    by_clock.finish(WireEnd.TIMED_OUT, 77)
    assert (by_read.end_stamp, by_read.end_at_ns) == (b"b" * 16, None)
    assert (by_clock.end_stamp, by_clock.end_at_ns) == (None, 77)
