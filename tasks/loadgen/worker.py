"""A client process, `python -m tasks.loadgen.worker ORDERS_FD REPORTS_FD`: its share of one trial after another.

Its standard input is a pipe that its owner holds open: when that closes, whatever the reason, the worker ends."""

import asyncio
import contextlib
import errno
import gc
import os
import resource
import select
import signal
import ssl
import sys
import threading
import time
import traceback
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from multiprocessing.connection import Connection
from typing import NamedTuple

from tasks.loadgen.agenda import Agenda, make_agenda
from tasks.loadgen.assignment import Assignment, Beat, Broke, Cancel, Measured, Parse, Ready, Start
from tasks.loadgen.clock import ClockLog
from tasks.loadgen.connection import Address, Dialer
from tasks.loadgen.connections import Connections
from tasks.loadgen.measurement import Measurement
from tasks.loadgen.poller import Poller, make_poller
from tasks.loadgen.spill import SpillFile
from tasks.loadgen.stock import Bodies, Stock
from tasks.loadgen.urgency import leaves_room, urgent

_CONNECT_TIMEOUT_S = 10.0


@dataclass(slots=True)
class Finished:
    """What measuring leaves behind for the parsing."""

    assignment: Assignment
    measurement: Measurement
    start_ns: int
    measured_cpu_ns: int
    connect_ns: "array[int]"
    scheduling: str


class Link:
    """The worker's ends of two pipes: orders come in, readable from within the event loop, and reports go out."""

    def __init__(self, orders_fd: int, reports_fd: int) -> None:
        self._orders = Connection(orders_fd, writable=False)
        self._reports = Connection(reports_fd, readable=False)
        self.send = self._reports.send

    def receive(self) -> object:
        """The next order, waited for. Raises EOFError or OSError where there will be none."""
        os.set_blocking(self._orders.fileno(), True)  # the event loop has it otherwise
        return self._orders.recv()

    def send_if_heard(self, beat: Beat) -> None:
        """Beats are small: a pipe that takes anything takes one whole. A parent that is stuck misses them."""
        if select.select([], [self._reports], [], 0)[1]:
            self.send(beat)

    def next_message(self) -> "asyncio.Future[object]":
        """To be awaited in the event loop; one at a time."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[object] = loop.create_future()

        def receive() -> None:
            self.listen_no_more()
            if not future.done():
                future.set_result(self._orders.recv())

        loop.add_reader(self._orders.fileno(), receive)
        return future

    def listen_no_more(self) -> None:
        asyncio.get_running_loop().remove_reader(self._orders.fileno())


class Prepared(NamedTuple):
    """What stands ready before the clock starts."""

    poller: Poller
    dialer: Dialer
    connections: Connections
    stock: Bodies


async def prepare(assignment: Assignment) -> Prepared:
    """Bodies are encoded and connections open when it returns."""
    raise_file_limit()
    poller = make_poller(asyncio.get_running_loop())
    dialer = make_dialer(assignment, poller)
    users = len(assignment.user_due_ns)
    connections = Connections(dialer, users=users, rate_rps=assignment.rate_rps, fresh=assignment.fresh_connections)
    stock = make_stock(assignment)
    stock.refill()
    await connections.open_ahead(assignment.count or users)
    return Prepared(poller, dialer, connections, stock)


def make_stock(assignment: Assignment) -> Bodies:
    """Where answers are answered, with what it takes to read them."""
    if assignment.dialogue is None or assignment.turn_bodies is None:
        return Stock(assignment)
    from tasks.loadgen.conversation_stock import ConversationStock  # reads answers: heavy, as settling is

    return ConversationStock(assignment, assignment.dialogue, assignment.turn_bodies)


def agenda_of(assignment: Assignment, start_ns: int, prepared: Prepared, spill: SpillFile) -> Agenda:
    """Conversations know what was answered, and hold connections."""
    if assignment.dialogue is None:
        return make_agenda(assignment, start_ns)
    from tasks.loadgen.conversation_agenda import ConversationAgenda
    from tasks.loadgen.conversation_stock import ConversationStock

    assert isinstance(prepared.stock, ConversationStock)
    return ConversationAgenda(
        assignment,
        start_ns,
        dialogue=assignment.dialogue,
        stock=prepared.stock,
        spill=spill,
        release=prepared.connections.release,
    )


async def measure(assignment: Assignment, link: Link) -> Finished:
    """Prepares, waits for the start, measures; from then on a cancelling parent is heard."""
    prepared = await prepare(assignment)
    link.send(Ready())
    order = await link.next_message()
    start_ns = order.at_ns if isinstance(order, Start) else time.monotonic_ns()
    spill = SpillFile(assignment.folder)
    measurement = Measurement(
        assignment,
        agenda=agenda_of(assignment, start_ns, prepared, spill),
        stock=prepared.stock,
        connections=prepared.connections,
        clock=ClockLog(),
        spill=spill,
        on_beat=link.send_if_heard,
    )
    asyncio.get_running_loop().set_exception_handler(lambda _, context: measurement.fail(context))
    with collection_off(), urgent(wanted=leaves_room(assignment.processes)) as scheduling:
        await run_or_cancel(measurement, link, cancelled=isinstance(order, Cancel))
    prepared.poller.close()
    return Finished(
        assignment=assignment,
        measurement=measurement,
        start_ns=start_ns,
        measured_cpu_ns=time.process_time_ns(),
        connect_ns=array("q", prepared.dialer.connect_ns),
        scheduling=scheduling,
    )


async def run_or_cancel(measurement: Measurement, link: Link, *, cancelled: bool) -> None:
    """Runs to the end, or until the parent says otherwise."""
    if cancelled:
        measurement.cancel()
    link.next_message().add_done_callback(lambda message: measurement.cancel())
    await measurement.run()
    link.listen_no_more()


@contextlib.contextmanager
def collection_off() -> Iterator[None]:
    """No garbage collection while measuring; nothing there makes cycles."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def make_dialer(assignment: Assignment, poller: Poller) -> Dialer:
    """Resolves the host and, for https, loads the system's certificates."""
    target = assignment.target
    timeout_s = min(assignment.timeout_ns / 1e9, _CONNECT_TIMEOUT_S)
    address = Address(target.host, target.port, timeout_s)
    return Dialer(address, ssl.create_default_context() if target.tls else None, timeout_s, poller)


def raise_file_limit() -> None:
    """Each connection is a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def carry_out(assignment: Assignment, link: Link) -> None:
    """One trial: Ready, Measured and the Share are what the parent hears of it, Beats in between."""
    from tasks.loadgen.settling import settle  # heavy, and here: after the first order, before the clock starts

    finished = run_in_loop(assignment, link)
    link.send(Measured())
    while not isinstance(link.receive(), Parse):
        pass  # a cancellation that crossed our word that it is over
    link.send(settle(finished))


def run_in_loop(assignment: Assignment, link: Link) -> Finished:
    """On uvloop where there is one."""
    if sys.platform == "win32":
        return asyncio.run(measure(assignment, link))
    import uvloop

    finished: Finished = uvloop.run(measure(assignment, link))
    return finished


class WithoutPandas(MetaPathFinder):
    """pyarrow imports pandas where it can, for half a second, to ask whether a list is one of its arrays."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == "pandas":
            raise ImportError("a worker does without pandas")


def end_with_owner() -> None:
    """Ends this process, wherever it stands, when the owner's end of standard input closes."""
    while os.read(0, 1024):
        pass
    os._exit(1)


def out_of_room(error: OSError) -> str:
    """Why the disk or the machine did not take what there was; empty where that is not it."""
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE, errno.ENFILE)
    return error.strerror or str(error) if is_full else ""


def main(orders_fd: int, reports_fd: int) -> None:
    """Until the orders end."""
    sys.meta_path.insert(0, WithoutPandas())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C, and decides
    threading.Thread(target=end_with_owner, name="owner", daemon=True).start()
    link = Link(orders_fd, reports_fd)
    while True:
        try:
            message = link.receive()
        except (EOFError, OSError):
            return
        if isinstance(message, Assignment):
            try:
                carry_out(message, link)
            except OSError as error:
                link.send(Broke(traceback.format_exc(), machine=out_of_room(error)))
            except Exception:
                link.send(Broke(traceback.format_exc()))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
