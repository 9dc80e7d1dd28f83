"""Sockets in the event loop: errors are read to the end, and alarms ring in between reads."""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable

import pytest
import uvloop

from tasks.loadgen.alarm import LoopAlarm, TimerAlarm, make_alarm
from tasks.loadgen.poller import EpollPoller, LoopPoller, make_poller


def pair() -> tuple[socket.socket, socket.socket]:
    """TCP, because a reset is TCP's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    ours.setblocking(False)
    return ours, theirs


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_a_reset_behind_unread_data_is_heard_after_them() -> None:
    async def scene() -> list[bytes | str]:
        loop = asyncio.get_running_loop()
        poller, heard, over = make_poller(loop), list[bytes | str](), loop.create_future()
        ours, theirs = pair()

        def readable() -> None:
            try:
                heard.append(ours.recv(100))
            except ConnectionResetError:
                heard.append("reset")
                poller.forget(ours.fileno())
                over.set_result(None)

        poller.watch(ours.fileno(), readable)
        theirs.send(b"last words")
        reset(theirs)
        await asyncio.wait_for(over, 10)
        poller.close()
        ours.close()
        return heard

    assert uvloop.run(scene()) in (["reset"], [b"last words", "reset"])


def test_a_callback_may_close_another_that_is_ready_too() -> None:
    async def scene() -> int:
        loop = asyncio.get_running_loop()
        poller, called = EpollPoller(loop), list[int]()
        pairs = [pair() for _ in range(2)]

        def readable(mine: int) -> Callable[[], None]:
            def call() -> None:
                called.append(mine)
                for ours, _ in pairs:
                    poller.forget(ours.fileno())
                    ours.close()

            return call

        for k, (ours, theirs) in enumerate(pairs):
            poller.watch(ours.fileno(), readable(k))
            theirs.send(b"x")
        await asyncio.sleep(0.05)
        poller.close()
        for _, theirs in pairs:
            theirs.close()
        return len(called)

    assert uvloop.run(scene()) == 1


@pytest.mark.parametrize("kind", [EpollPoller, LoopPoller])
def test_writing_goes_on_when_the_other_side_reads(kind: type[EpollPoller] | type[LoopPoller]) -> None:
    async def scene() -> int:
        loop = asyncio.get_running_loop()
        poller = kind(loop)
        ours, theirs = pair()
        left, over = [b"y" * 20_000_000], loop.create_future()

        def writable() -> None:
            with contextlib.suppress(BlockingIOError):
                left[0] = left[0][ours.send(left[0]) :]
            if not left[0]:
                poller.writes_no_more(ours.fileno())
                over.set_result(None)

        poller.watch(ours.fileno(), lambda: None)
        poller.await_writable(ours.fileno(), writable)
        reading = loop.run_in_executor(None, drain, theirs, 20_000_000)
        await asyncio.wait_for(over, 10)
        poller.forget(ours.fileno())
        poller.close()
        received = await reading
        ours.close()
        theirs.close()
        return received

    assert uvloop.run(scene()) == 20_000_000


def drain(sock: socket.socket, expected: int) -> int:
    received = 0
    while received < expected:
        received += len(sock.recv(1 << 20))
    return received


@pytest.mark.parametrize("kind", [TimerAlarm, LoopAlarm])
def test_an_alarm_never_rings_early_and_rings_for_the_time_last_set(kind: type[TimerAlarm] | type[LoopAlarm]) -> None:
    async def scene() -> list[int]:
        loop = asyncio.get_running_loop()
        rung, over = list[int](), loop.create_future()

        def ring() -> None:
            rung.append(time.monotonic_ns())
            if not over.done():
                over.set_result(None)

        alarm = kind(loop, ring)
        due = time.monotonic_ns() + 20_000_000
        alarm.set(due - 10_000_000)
        alarm.set(due)
        await over
        await asyncio.sleep(0.02)
        alarm.close()
        return [at - due for at in rung]

    (late,) = uvloop.run(scene())
    assert late >= 0


def test_an_alarm_for_what_is_past_rings_at_once() -> None:
    async def scene() -> None:
        over = asyncio.get_running_loop().create_future()
        alarm = make_alarm(asyncio.get_running_loop(), lambda: over.set_result(None))
        alarm.set(1)
        await asyncio.wait_for(over, 10)
        alarm.close()

    uvloop.run(scene())
