"""Responses from their bytes, cut in any way."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.loadgen.exchange import WireEnd
from tasks.loadgen.http1 import Response, read_response

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n"
)
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"


def cut(data: bytes, places: set[int]) -> list[tuple[int, bytes]]:
    """Segments with times 10, 11, 12 …"""
    edges = [0, *sorted(place for place in places if 0 < place < len(data)), len(data)]
    return [(10 + k, data[a:b]) for k, (a, b) in enumerate(itertools.pairwise(edges))]


@pytest.mark.parametrize("data", [CHUNKED, SIZED, INTERIM + CHUNKED, INTERIM + SIZED])
@settings(deadline=None)
@given(places=st.sets(st.integers(0, 200)))
def test_the_body_is_the_same_however_the_bytes_are_cut(data: bytes, places: set[int]) -> None:
    response = read_response(cut(data, places))
    assert (response.status, response.body, response.complete, response.malformed) == (200, b"abcde", True, None)
    assert response.ends[-1] == 5
    assert "link" not in response.headers
    assert "x-t" not in response.headers


def test_each_part_of_the_body_has_the_time_of_its_segment() -> None:
    response = read_response(cut(SIZED, {len(SIZED) - 5, len(SIZED) - 2}))
    assert list(zip(response.ends, response.times_ns, strict=True)) == [(3, 11), (5, 12)]


def test_chunks_that_share_a_segment_share_its_time() -> None:
    response = read_response(cut(CHUNKED, set()))
    assert (response.ends, response.times_ns) == ([5], [10])


def test_bytes_after_the_message_are_ignored() -> None:
    for rest in (b"garbage", SIZED.replace(b"200", b"500")):
        for places in (set[int](), {len(SIZED)}):
            response = read_response(cut(SIZED + rest, places))
            assert (response.status, response.body, response.malformed) == (200, b"abcde", None)


@pytest.mark.parametrize(
    ("data", "end", "ended"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nab", WireEnd.EOF, True),
        (b"HTTP/1.1 200 OK\r\n\r\nab", WireEnd.RESET, False),
        (b"HTTP/1.0 200 OK\r\n\r\nab", WireEnd.EOF, True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", WireEnd.EOF, False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", WireEnd.EOF, False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", WireEnd.COMPLETE, True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", WireEnd.COMPLETE, True),
        (b"HTTP/1.1 200 OK\r\nContent-", WireEnd.EOF, False),
        (b"", WireEnd.EOF, False),
    ],
)
def test_a_body_ends_cleanly_only_as_its_framing_says(data: bytes, end: WireEnd, ended: bool) -> None:
    assert read_response([(1, data)]).ended(end) is ended


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
    ],
)
def test_what_is_no_http_is_named(data: bytes) -> None:
    assert read_response([(1, data)]).malformed


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=8))
def test_no_bytes_raise(parts: list[bytes]) -> None:
    assert isinstance(read_response(list(enumerate(parts))), Response)
