"""The rules of server-sent events, line by line."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.loadgen.sse import events

CASES = {
    "one line": (b"data: a\n\n", [(b"", b"a")]),
    "no space after the colon": (b"data:a\n\n", [(b"", b"a")]),
    "only one space belongs to the colon": (b"data:  a\n\n", [(b"", b" a")]),
    "CRLF": (b"data: a\r\n\r\ndata: b\r\n\r\n", [(b"", b"a"), (b"", b"b")]),
    "lone CR": (b"data: a\r\rdata: b\r\r", [(b"", b"a"), (b"", b"b")]),
    "mixed line ends": (b"data: a\r\n\ndata: b\r\n\r", [(b"", b"a"), (b"", b"b")]),
    "several data lines are joined by LF": (b"data: a\ndata:b\ndata\n\n", [(b"", b"a\nb\n")]),
    "comments and pings": (b": ping\n\n:\n\ndata: a\n: between\n\n", [(b"", b"a")]),
    "other fields": (b"id: 1\nretry: 5\nevent: x\ndata: a\nfoo: bar\n\ndata: b\n\n", [(b"x", b"a"), (b"", b"b")]),
    "the type of an event without data is forgotten": (b"event: x\n\ndata: a\n\n", [(b"", b"a")]),
    "leading BOM": (b"\xef\xbb\xbfdata: a\n\n", [(b"", b"a")]),
    "a later BOM is part of a field's name": (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [(b"", b"a")]),
    "a field's name is not trimmed": (b" data: a\n\n", []),
    "no blank line at the end": (b"data: a\n\ndata: b\n", [(b"", b"a"), (b"", b"b")]),
    "an error field": (b'error: {"code":1}\n\n', [(b"error", b'{"code":1}')]),
    "nothing": (b"", []),
    "other separators of text are data": (b"data: a\x0b\x0c\x1c\xc2\x85b\n\n", [(b"", b"a\x0b\x0c\x1c\xc2\x85b")]),
}


@pytest.mark.parametrize(("body", "expected"), CASES.values(), ids=CASES.keys())
def test_events_are_read_by_the_rules(body: bytes, expected: list[tuple[bytes, bytes]]) -> None:
    assert [(kind, data) for _, kind, data in events(body, ended=True)] == expected


def test_an_unfinished_last_line_counts_only_where_the_body_ended_cleanly() -> None:
    body = b"data: a\n\ndata: b"
    assert [data for _, _, data in events(body, ended=True)] == [b"a", b"b"]
    assert [data for _, _, data in events(body, ended=False)] == [b"a"]


@pytest.mark.parametrize(
    ("body", "ends"),
    [
        (b"data: a\n\ndata: bc\n\n", [8, 18]),
        (b"data: a\r\n\r\ndata: bc\r\n\r\n", [9, 21]),
        (b"data: a\r\rdata: bc\r\r", [8, 18]),
        (b"data: a\ndata: b\nid: 1\n\n", [16]),
        (b"\xef\xbb\xbfdata: a\n\n", [11]),
    ],
)
def test_an_event_ends_with_the_terminator_of_its_last_data_line(body: bytes, ends: list[int]) -> None:
    assert [end for end, _, _ in events(body, ended=True)] == ends


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([b"data: a", b"data:", b":", b"\r", b"\n", b"\r\n", b"event: x", b"\xff"]), max_size=40)
)
def test_any_bytes_are_read_and_the_ends_grow(parts: list[bytes]) -> None:
    body = b"".join(parts)
    ends = [end for end, _, _ in events(body, ended=False)]
    assert ends == sorted(set(ends))
    assert not ends or ends[-1] <= len(body)
