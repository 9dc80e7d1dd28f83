"""A server that does nothing but answer on time: `python -m tasks.loadgen.null_server TTFT_MS ITL_MS`.

What the instrument measures against it is the instrument. It prints its address, logs when it sent each event by the
CRC of the request's body (GET /log, which also forgets it), and ends when its standard input closes.
"""

import asyncio
import heapq
import os
import socket
import sys
import time
import zlib
from array import array
from itertools import count

import orjson

from tasks.loadgen.alarm import make_alarm
from tasks.loadgen.poller import Poller, make_poller

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_AT_ONCE = 32


def _event(text: str, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}
    body = {"id": "cmpl-null", "object": "text_completion", "created": 0, "model": "null", "choices": [choice]}
    return _chunk(b"data: %b\n\n" % orjson.dumps(body))


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_TOKEN = _event(" token")


def _ending(prompt_tokens: int, output_tokens: int) -> bytes:
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": output_tokens}
    usage["total_tokens"] = prompt_tokens + output_tokens
    told = _chunk(b"data: %b\n\n" % orjson.dumps({"choices": [], "usage": usage}))
    return _event("", "length") + told + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Stream:
    """One answer under way."""

    __slots__ = ("ending", "left", "next_ns", "sent_ns", "sock")

    def __init__(self, sock: socket.socket, body: bytes, first_ns: int, sent_ns: "array[int]") -> None:
        asked = orjson.loads(body)
        self.sock = sock
        self.left = int(asked["max_tokens"])
        self.ending = _ending(len(asked["prompt"]), self.left)
        self.next_ns = first_ns
        self.sent_ns = sent_ns

    def step(self) -> bool:
        """Sends the next event; False after the last, or where nobody listens."""
        event = _TOKEN if self.sent_ns else _HEAD + _TOKEN
        self.left -= 1
        if not self.left:
            event += self.ending
        self.sent_ns.append(time.monotonic_ns())
        try:
            self.sock.send(event)
        except OSError:
            return False
        return self.left > 0


class NullServer:
    """Every answer's first event `ttft_ns` after its request, the others `itl_ns` apart."""

    def __init__(self, listener: socket.socket, *, ttft_ns: int, itl_ns: int) -> None:
        loop = asyncio.get_running_loop()
        self._listener = listener
        self._ttft_ns = ttft_ns
        self._itl_ns = itl_ns
        self._poller: Poller = make_poller(loop)
        self._alarm = make_alarm(loop, self._send_due)
        self._streams: list[tuple[int, int, Stream]] = []
        self._tie = count()
        self._log: dict[int, array[int]] = {}
        self._poller.watch(listener.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        received = bytearray()
        self._poller.watch(sock.fileno(), lambda: self._read(sock, received))

    def _read(self, sock: socket.socket, received: bytearray) -> None:
        try:
            data = sock.recv(262_144)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._poller.forget(sock.fileno())
            sock.close()
            return
        received += data
        head, blank, body = bytes(received).partition(b"\r\n\r\n")
        if blank and len(body) >= _content_length(head):
            received.clear()
            self._answer(sock, head, body)

    def _answer(self, sock: socket.socket, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET /log"):
            told = orjson.dumps({str(crc): sent.tolist() for crc, sent in self._log.items()})
            self._log = {}
            sock.setblocking(True)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(told), told))
            sock.setblocking(False)
            return
        sent_ns = self._log.setdefault(zlib.crc32(body), array("q"))
        self._push(Stream(sock, body, time.monotonic_ns() + self._ttft_ns, sent_ns))
        self._alarm.set(self._streams[0][0])

    def _push(self, stream: Stream) -> None:
        heapq.heappush(self._streams, (stream.next_ns, next(self._tie), stream))

    def _send_due(self) -> None:
        now, left = time.monotonic_ns(), _AT_ONCE
        while self._streams and self._streams[0][0] <= now and left:
            _, _, stream = heapq.heappop(self._streams)
            left -= 1
            if stream.step():
                stream.next_ns += self._itl_ns
                self._push(stream)
        if self._streams:
            self._alarm.set(self._streams[0][0])


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line[:15].lower() == b"content-length:":
            return int(line[15:])
    return 0


async def serve(ttft_ms: float, itl_ms: float) -> None:
    """Until the owner closes our standard input."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener.setblocking(False)
    NullServer(listener, ttft_ns=round(ttft_ms * 1e6), itl_ns=round(itl_ms * 1e6))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    while await asyncio.to_thread(os.read, 0, 1024):
        pass


def main() -> None:
    """Two arguments, in ms."""
    import uvloop

    uvloop.run(serve(*map(float, sys.argv[1:3])))


if __name__ == "__main__":
    main()
