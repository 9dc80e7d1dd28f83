"""What is due next, in open and in closed loop."""

from array import array
from dataclasses import replace
from pathlib import Path

from tasks.loadgen.agenda import PAUSE_AFTER_REFUSAL_NS, ClosedLoopAgenda, Due, OpenLoopAgenda
from tasks.loadgen.assignment import Assignment, Target
from tasks.loadgen.exchange import WireEnd
from tasks.loadgen.payload import body_source
from tasks.loadgen.reception import Reception
from tasks.loadgen.stock import Stock
from tests.tasks.loadgen.trials import PREFLIGHT, Trial

START_NS = 1000
OPEN = Assignment(
    process=1,
    processes=3,
    target=Target("h", 80, False, "h:80", ""),
    source=body_source(Trial("http://h").plan(), PREFLIGHT),
    count=3,
    due_ns=array("q", [0, 5, 5]),
    user_due_ns=array("q"),
    think_ns=0,
    window_from_ns=0,
    until_ns=None,
    prompt_tokens=array("i", [4, 5, 6]),
    output_tokens=array("i", [2]),
    rate_rps=1.0,
    timeout_ns=10**9,
    fresh_connections=False,
    exact=True,
    needs_done=True,
    folder=Path(),
    spill_bytes=10**6,
)
CLOSED = replace(OPEN, due_ns=None, user_due_ns=array("q", [0, 10]), think_ns=7)


def ended(end: WireEnd = WireEnd.COMPLETE, stamp: bytes | None = None) -> Reception:
    reception = Reception(0, 0, b"")
    reception.stamps += stamp or b""
    reception.finish(end, None if stamp else 1)
    return reception


def test_open_loop_is_due_by_the_schedule_whatever_ends() -> None:
    agenda = OpenLoopAgenda(OPEN, START_NS)
    assert agenda.next_due_ns == 1000
    assert agenda.take() == Due(0, 1000)
    agenda.ended(ended(), 1002)
    assert [agenda.take(), agenda.take()] == [Due(1, 1005), Due(2, 1005)]
    assert agenda.next_due_ns is None


def test_what_open_loop_did_not_come_to_keeps_its_due_times() -> None:
    agenda = OpenLoopAgenda(OPEN, START_NS)
    agenda.take()
    assert list(agenda.rest(9999)) == [Due(1, 1005), Due(2, 1005)]
    assert agenda.next_due_ns is None


def test_closed_loop_waits_for_an_end_and_for_the_think_time() -> None:
    agenda = ClosedLoopAgenda(CLOSED, START_NS)
    assert [agenda.take(), agenda.take()] == [Due(0, 1000), Due(1, 1010)]
    assert agenda.next_due_ns is None
    agenda.ended(ended(stamp=b"s" * 16), 1500)
    assert agenda.take() == Due(2, 1507, b"s" * 16)
    agenda.ended(ended(), 1600)
    assert agenda.next_due_ns is None  # three were asked for
    assert list(agenda.rest(2000)) == []


def test_closed_loop_names_what_it_did_not_come_to() -> None:
    agenda = ClosedLoopAgenda(CLOSED, START_NS)
    agenda.take()
    assert list(agenda.rest(2000)) == [Due(1, 2000), Due(2, 2000)]


def test_a_timed_closed_loop_lets_nobody_begin_at_or_after_its_end() -> None:
    agenda = ClosedLoopAgenda(replace(CLOSED, count=None, until_ns=20), START_NS)
    agenda.take()
    agenda.take()
    agenda.ended(ended(), 1012)
    assert agenda.take().at_ns == 1019
    agenda.ended(ended(), 1013)
    assert agenda.next_due_ns is None
    assert list(agenda.rest(1013)) == []


def test_a_refused_user_pauses() -> None:
    agenda = ClosedLoopAgenda(CLOSED, START_NS)
    agenda.take()
    agenda.take()
    agenda.ended(ended(WireEnd.CONNECT_FAILED), 2000)
    assert agenda.next_due_ns == 2007 + PAUSE_AFTER_REFUSAL_NS


def test_the_stock_gives_this_processs_requests_in_order_with_their_lengths() -> None:
    stock = Stock(OPEN)
    stock.refill()
    for position in range(3):
        head, _, body = stock.take().partition(b"\r\n\r\n")
        assert body == OPEN.source.body(1 + 3 * position, 4 + position, 2)
        lines = head.split(b"\r\n")
        assert lines[0] == b"POST /v1/completions HTTP/1.1"
        assert {b"Host: h:80", b"Connection: keep-alive", b"Content-Length: %d" % len(body)} <= set(lines)


def test_a_stock_that_was_never_filled_encodes_when_asked() -> None:
    ahead, late = Stock(CLOSED), Stock(CLOSED)
    ahead.refill()
    assert [ahead.take() for _ in range(3)] == [late.take() for _ in range(3)]


def test_a_stock_encodes_no_more_than_will_be_sent() -> None:
    asked: list[int] = []

    class Counting:
        path = "/x"
        headers: tuple[tuple[str, str], ...] = ()

        def body(self, index: int, prompt_tokens: int, output_tokens: int) -> bytes:
            asked.append(index)
            return b"{}"

    stock = Stock(replace(OPEN, source=Counting()))
    stock.refill()
    stock.take()
    stock.refill()
    assert asked == [1, 4, 7]
