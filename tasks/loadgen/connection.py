"""Connections: HTTP/1.1 over a socket, one request at a time, every read stamped; by the kernel where it does."""

import asyncio
import errno
import platform
import socket
import struct
import sys
import time
from abc import abstractmethod
from ssl import SSLContext
from typing import Any, Protocol, cast

import httptools

from tasks.loadgen.exchange import WireEnd
from tasks.loadgen.poller import Poller
from tasks.loadgen.reception import Reception

SO_TIMESTAMPNS = 35
"""Linux on x86 and ARM; the socket module does not name it."""

_READ_BYTES = 65536
_ANCILLARY_BYTES = 64
_USER_STAMP = struct.Struct("qq").pack

KERNEL_STAMPS = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")


class Owner(Protocol):
    """What a connection tells. `ended`: the exchange is over, the connection may be `reusable`."""

    def ended(self, connection: "Connection", reception: Reception, *, reusable: bool) -> None: ...

    def closed_idle(self, connection: "Connection") -> None: ...


class Connection(Protocol):
    """`send` returns False, having written nothing, where a kept-alive connection turns out to be closed."""

    served: int

    def send(self, reception: Reception) -> bool: ...

    def close(self) -> None: ...


def user_stamp() -> bytes:
    """The time of now, told apart from the kernel's by its −1 (see clock.stamps_to_monotonic)."""
    return _USER_STAMP(-1, time.monotonic_ns())


class _Exchanging:
    """One exchange at a time: where it ends, and who hears of it."""

    __slots__ = ("_owner", "_reception", "served")

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._reception: Reception | None = None
        self.served = 0

    @abstractmethod
    def send(self, reception: Reception) -> bool: ...

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def _is_open(self) -> bool: ...

    @abstractmethod
    def _has_sent_all(self) -> bool: ...

    def _begin(self, reception: Reception) -> None:
        self._reception = reception
        reception.reused = self.served > 0
        reception.payload = b""
        self.served += 1

    def _may_be_over(self, reception: Reception) -> None:
        try:
            if not reception.confirm():
                return
        except httptools.HttpParserError as error:
            if not reception.complete:  # what follows a complete answer is no part of it
                self._end(WireEnd.EOF, f"not HTTP: {error}")
                return
            reception.keep_alive = False
        reusable = reception.keep_alive and self._has_sent_all()
        self._reception = None
        if not reusable:
            self.close()
        reception.finish(WireEnd.COMPLETE, None)
        self._owner.ended(self, reception, reusable=reusable)

    def _end(self, end: WireEnd, error: str | None = None) -> None:
        if not self._is_open():
            return
        reception, self._reception = self._reception, None
        self.close()
        if reception is None:
            self._owner.closed_idle(self)
            return
        reception.finish(end, time.monotonic_ns(), error)
        self._owner.ended(self, reception, reusable=False)


class PlainConnection(_Exchanging):
    """Reads with one recvmsg a wake-up. The socket is connected and non-blocking."""

    __slots__ = ("_poller", "_recvmsg", "_sock", "_unsent")

    def __init__(self, poller: Poller, sock: socket.socket, owner: Owner) -> None:
        super().__init__(owner)
        self._poller = poller
        self._sock = sock
        self._recvmsg = sock.recvmsg
        self._unsent: memoryview | None = None
        poller.watch(sock.fileno(), self._readable)

    def send(self, reception: Reception) -> bool:
        payload = reception.payload
        reception.sent_at_ns = time.monotonic_ns()
        try:
            sent = self._sock.send(payload)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            return self._refused(reception, error)
        self._begin(reception)
        if sent < len(payload):
            self._unsent = memoryview(payload)[sent:]
            self._poller.await_writable(self._sock.fileno(), self._writable)
        return True

    def _refused(self, reception: Reception, error: OSError) -> bool:
        """Nothing was written. A kept-alive connection may be replaced; a fresh one that breaks is a failure."""
        if self.served:
            reception.sent_at_ns = None
            self.close()
            return False
        self._begin(reception)
        self._end(WireEnd.RESET, _words(error))
        return True

    def _writable(self) -> None:
        assert self._unsent is not None
        try:
            self._unsent = self._unsent[self._sock.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:
            self._unsent = None  # what the server still says, and how it ends, is told by reading
        if not self._unsent:
            self._unsent = None
            self._poller.writes_no_more(self._sock.fileno())

    def _readable(self) -> None:
        recvmsg = self._recvmsg  # as a local: CPython looks a slot up faster than a method
        try:
            data, ancillary, _, _ = recvmsg(_READ_BYTES, _ANCILLARY_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(WireEnd.RESET, _words(error))
            return
        reception = self._reception
        if reception is None or not data:
            self._end(WireEnd.EOF)
            return
        received = reception.data
        received += data
        reception.stamps += ancillary[0][2] if ancillary else user_stamp()
        reception.sizes.append(len(data))
        if received.endswith(reception.tail):
            self._may_be_over(reception)

    def _is_open(self) -> bool:
        return self._sock.fileno() >= 0

    def _has_sent_all(self) -> bool:
        return self._unsent is None

    def close(self) -> None:
        if not self._is_open():
            return
        self._reception = None
        self._poller.forget(self._sock.fileno())
        self._sock.close()


class TlsConnection(_Exchanging, asyncio.Protocol):
    """Stamps in user space: what the kernel stamps is ciphertext."""

    def __init__(self, owner: Owner) -> None:
        super().__init__(owner)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it

    def send(self, reception: Reception) -> bool:
        if self._transport is None or self._transport.is_closing():
            return False
        payload = reception.payload
        self._begin(reception)
        reception.sent_at_ns = time.monotonic_ns()
        self._transport.write(payload)
        return True

    def data_received(self, data: bytes) -> None:
        reception = self._reception
        if reception is None:
            self._end(WireEnd.EOF)
            return
        reception.data += data
        reception.stamps += user_stamp()
        reception.sizes.append(len(data))
        if reception.data.endswith(reception.tail):
            self._may_be_over(reception)

    def eof_received(self) -> None:
        self._end(WireEnd.EOF)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(WireEnd.EOF if exc is None else WireEnd.RESET, None if exc is None else _words(exc))

    def _is_open(self) -> bool:
        return self._transport is not None

    def _has_sent_all(self) -> bool:
        return self._transport is None or self._transport.get_write_buffer_size() == 0

    def close(self) -> None:
        self._reception = None
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno:
        return f"{errno.errorcode.get(error.errno, error.errno)}: {error.strerror or error}"
    return str(error) or type(error).__name__


class Dialer:
    """Opens connections to one address. `connect_ns` keeps how long each took, TLS handshake included, `quickest_ns`
    what that is where nothing else is in its way (0: there was none yet)."""

    def __init__(self, address: "Address", tls: SSLContext | None, timeout_s: float, poller: Poller) -> None:
        self._address = address
        self._poller = poller
        self._tls = tls
        self._timeout_s = timeout_s
        self.connect_ns: list[int] = []
        self.quickest_ns = 0

    async def open(self, loop: asyncio.AbstractEventLoop, owner: Owner) -> Connection:
        """Raises ConnectFailed."""
        before = time.monotonic_ns()
        try:
            async with asyncio.timeout(self._timeout_s):
                connection = await self._open(loop, owner)
        except TimeoutError as error:
            raise ConnectFailed(f"no connection within {self._timeout_s:g} s") from error
        except OSError as error:
            raise ConnectFailed(_words(error)) from error
        took_ns = time.monotonic_ns() - before
        self.connect_ns.append(took_ns)
        self.quickest_ns = min(took_ns, self.quickest_ns or took_ns)
        return connection

    async def _open(self, loop: asyncio.AbstractEventLoop, owner: Owner) -> Connection:
        sock = _socket(self._address.family)
        try:
            await loop.sock_connect(sock, self._address.sockaddr)
            if self._tls is None:
                return PlainConnection(self._poller, sock, owner)
            name = self._address.host
            _, secure = await loop.create_connection(
                lambda: TlsConnection(owner), sock=sock, ssl=self._tls, server_hostname=name
            )
        except BaseException:
            sock.close()
            raise
        return secure


class ConnectFailed(Exception):
    """No connection, and why."""


class Address:
    """Where to connect: the first of a host's addresses that answers, found once, before the clock starts."""

    __slots__ = ("family", "host", "sockaddr")

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self.host = host
        found = _addresses(host, port)
        self.family, self.sockaddr = found[0]
        if len(found) > 1:
            answering = (address for address in found if _answers(*address, timeout_s))
            self.family, self.sockaddr = next(answering, found[0])


def _addresses(host: str, port: int) -> list[tuple[int, Any]]:
    """A name that does not resolve is left as it is: to connect will fail, and say so."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return [(socket.AF_INET, (host, port))]
    return [(family, sockaddr) for family, _, _, _, sockaddr in found]


def _answers(family: int, sockaddr: Any, timeout_s: float) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(timeout_s)
        try:
            probe.connect(sockaddr)
        except OSError:
            return False
    return True


def _socket(family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if KERNEL_STAMPS:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    return sock
