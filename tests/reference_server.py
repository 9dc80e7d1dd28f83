"""A server of known truth: speaks the OpenAI API with scripted times, and logs when it really sent each event.

    python tests/reference_server.py --port 0 --ttft-ms 50 --itl-ms 20

prints the address that it listens on. A request may carry `"script": {…}` with the fields of Script; the engine-like
rest of it decides the length (`max_tokens`) and the kind of answer (the path). GET /log gives what happened, with a
CRC of each request's body to tell it by; POST /reset forgets it. Ends when its standard input closes.
"""

import argparse
import asyncio
import heapq
import os
import socket
import ssl
import struct
import subprocess
import sys
import time
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import uvloop

NS_PER_MS = 1_000_000

AT_ONCE = 64
"""Events sent in a row before requests are looked at again: a request's arrival is logged when it is read."""

TEXT_EVENT = (
    b'data: {"id":"cmpl-reference","object":"text_completion","created":1700000000,"model":"reference",'
    b'"choices":[{"index":0,"text":"w%03d ","logprobs":null,"finish_reason":null}]}\n\n'
)
CHAT_EVENT = (
    b'data: {"id":"chatcmpl-reference","object":"chat.completion.chunk","created":1700000000,"model":"reference",'
    b'"choices":[{"index":0,"delta":{"content":"w%03d "},"logprobs":null,"finish_reason":null}]}\n\n'
)


@dataclass(frozen=True, slots=True)
class Script:
    """How an answer goes. `together` events leave in one write. `fault` happens in place of the token `fault_at`.

    Faults: silent (no answer at all), hang, close, reset, die (the whole server). `framing`: chunked, close, length.
    `close_idle_ms`: the connection is closed that long after the answer, though it said keep-alive.
    """

    ttft_ms: float = 0.0
    itl_ms: float = 0.0
    together: int = 1
    fault: str = ""
    fault_at: int = 0
    framing: str = "chunked"
    close_idle_ms: float | None = None
    status: int = 200


@dataclass(slots=True)
class Entry:
    """One request as it was: CLOCK_MONOTONIC ns of its arrival and of each token event's write."""

    body_crc: int
    connection: int
    authorization: str
    arrived_ns: int
    sent_ns: list[int] = field(default_factory=list)
    ended_ns: int | None = None


class Answer:
    """The events of one request, sent one by one as they come due."""

    def __init__(self, connection: "ServerConnection", body: dict[str, Any], script: Script, entry: Entry) -> None:
        self.connection = connection
        self.script = script
        self.entry = entry
        self.chat = "messages" in body
        self.tokens = int(body.get("max_tokens") or 16)
        self.prompt_tokens = prompt_tokens(body)
        self.at = 0

    def due_ns(self) -> int:
        script = self.script
        return self.entry.arrived_ns + round((script.ttft_ms + script.itl_ms * self.at) * NS_PER_MS)

    def step(self) -> bool:
        """Sends what is due; False when the answer is over, one way or another."""
        if self.script.fault and self.at >= self.script.fault_at:
            return self._fail()
        events = [self._event(self.at + k) for k in range(min(self.script.together, self.tokens - self.at))]
        self.at += len(events)
        is_last = self.at >= self.tokens
        frames = self._framed([*events, *self._ending()] if is_last else events)
        first = b"" if self.at > len(events) else self._head()
        self.entry.sent_ns += [time.monotonic_ns()] * len(events)
        self.connection.write(first + frames)
        if is_last:
            self.connection.answered(self)
        return not is_last

    def _fail(self) -> bool:
        fault = self.script.fault
        if fault == "die":
            os._exit(9)
        if fault == "close":
            self.connection.close()
        if fault == "reset":
            self.connection.reset()
        return False

    def _head(self) -> bytes:
        framing = {
            "chunked": "Transfer-Encoding: chunked\r\n",
            "close": "Connection: close\r\n",
            "length": f"Content-Length: {self._length()}\r\n",
        }[str(self.script.framing)]
        return f"HTTP/1.1 {self.script.status} X\r\nContent-Type: text/event-stream\r\n{framing}\r\n".encode()

    def _length(self) -> int:
        return sum(map(len, [*map(self._event, range(self.tokens)), *self._ending()]))

    def _framed(self, events: list[bytes]) -> bytes:
        if self.script.framing != "chunked":
            return b"".join(events)
        return b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events) + (
            b"0\r\n\r\n" if self.at >= self.tokens else b""
        )

    def _event(self, at: int) -> bytes:
        return (CHAT_EVENT if self.chat else TEXT_EVENT) % (at % 1000)

    def _ending(self) -> list[bytes]:
        usage = {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.tokens}
        usage["total_tokens"] = self.prompt_tokens + self.tokens
        nothing: tuple[str, object] = ("delta", {}) if self.chat else ("text", "")
        last = dict([("index", 0), nothing, ("finish_reason", "length")])
        return [
            b"data: %b\n\n" % orjson.dumps({"choices": [last]}),
            b"data: %b\n\n" % orjson.dumps({"choices": [], "usage": usage}),
            b"data: [DONE]\n\n",
        ]


def prompt_tokens(body: dict[str, Any]) -> int:
    """Ids count as they are, texts by their words."""
    prompt = body.get("prompt")
    if isinstance(prompt, list):
        return len(prompt)
    text = prompt if isinstance(prompt, str) else " ".join(m["content"] for m in body.get("messages", []))
    return len(text.split())


class Agenda:
    """All answers of the server, by when their next event is due; looked at once a millisecond at most."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._heap: list[tuple[int, int, Answer]] = []
        self._tie = count()
        self._is_set = False

    def add(self, answer: Answer) -> None:
        heapq.heappush(self._heap, (answer.due_ns(), next(self._tie), answer))
        self._set()

    def _set(self) -> None:
        if self._heap and not self._is_set:
            self._is_set = True
            wait_s = (self._heap[0][0] - time.monotonic_ns()) / 1e9
            if wait_s <= 0:
                self._loop.call_soon(self._run)
            else:
                self._loop.call_later(min(wait_s, 0.001), self._run)

    def _run(self) -> None:
        self._is_set = False
        now, left = time.monotonic_ns(), AT_ONCE
        while self._heap and self._heap[0][0] <= now and (left := left - 1):
            _, _, answer = heapq.heappop(self._heap)
            if answer.connection.is_open and answer.step():
                heapq.heappush(self._heap, (answer.due_ns(), next(self._tie), answer))
        self._set()


class ServerConnection:
    """A raw socket, so that the logged time is the time of the write itself."""

    def __init__(self, server: "ReferenceServer", sock: socket.socket, number: int) -> None:
        self._server = server
        self._sock = sock
        self._number = number
        self._received = bytearray()
        self._unsent = bytearray()
        self.is_open = True
        server.loop.remove_reader(sock.fileno())  # uvloop keeps a handle that an error has closed
        server.loop.add_reader(sock.fileno(), self._readable)

    def _readable(self) -> None:
        try:
            data = self._sock.recv(262144)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._received += data
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = bytes(self._received[:head_end])
        length = next(
            (
                int(v)
                for k, _, v in (ln.partition(b":") for ln in head.split(b"\r\n"))
                if k.lower() == b"content-length"
            ),
            0,
        )
        if len(self._received) >= head_end + 4 + length:
            arrived_ns = time.monotonic_ns()
            body = bytes(self._received[head_end + 4 : head_end + 4 + length])
            del self._received[: head_end + 4 + length]
            self._server.handle(self, self._number, head, body, arrived_ns)

    def write(self, data: bytes) -> None:
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        if sent < len(data):
            self._unsent += data[sent:]
            self._server.loop.add_writer(self._sock.fileno(), self._writable)

    def _writable(self) -> None:
        try:
            del self._unsent[: self._sock.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not self._unsent:
            self._server.loop.remove_writer(self._sock.fileno())

    def answered(self, answer: Answer) -> None:
        answer.entry.ended_ns = time.monotonic_ns()
        idle_ms = answer.script.close_idle_ms
        if answer.script.framing == "close" or (idle_ms is not None and idle_ms <= 0):
            self.close()
        elif idle_ms is not None:
            self._server.loop.call_later(idle_ms / 1000, self.close)

    def reset(self) -> None:
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self._server.loop.remove_reader(self._sock.fileno())
            self._server.loop.remove_writer(self._sock.fileno())
            self._sock.close()


class ReferenceServer:
    """Accepts, answers, and remembers."""

    def __init__(self, loop: asyncio.AbstractEventLoop, listener: socket.socket, script: Script) -> None:
        self.loop = loop
        self._script = script
        self._entries: list[Entry] = []
        self._agenda = Agenda(loop)
        self._listener = listener
        self._number = count()
        loop.add_reader(listener.fileno(), self._accept)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ServerConnection(self, sock, next(self._number))

    def handle(self, connection: ServerConnection, number: int, head: bytes, body: bytes, arrived_ns: int) -> None:
        method, path, _ = head.split(b"\r\n", 1)[0].split(b" ")
        if method == b"POST" and path.endswith(b"/completions"):
            self._answer(connection, Entry(zlib.crc32(body), number, authorization(head), arrived_ns), body)
        elif path == b"/log":
            entries = [{f.name: getattr(entry, f.name) for f in fields(Entry)} for entry in self._entries]
            connection.write(whole(orjson.dumps(entries)))
        else:
            if path == b"/reset":
                self._entries = []
            connection.write(whole(b"{}"))

    def _answer(self, connection: ServerConnection, entry: Entry, body: bytes) -> None:
        asked = orjson.loads(body)
        script = self._script if not asked.get("script") else replace(self._script, **asked["script"])
        self._entries.append(entry)
        if script.fault != "silent":
            self._agenda.add(Answer(connection, asked, script, entry))


def authorization(head: bytes) -> str:
    lines = (line for line in head.split(b"\r\n") if line[:14].lower() == b"authorization:")
    return next(lines, b"")[14:].strip().decode()


def whole(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def serve(port: int, script: Script) -> None:
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    listener.setblocking(False)
    ReferenceServer(loop, listener, script)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    owner_gone = loop.create_future()
    loop.add_reader(0, lambda: None if os.read(0, 1024) or owner_gone.done() else owner_gone.set_result(None))
    await owner_gone


async def serve_tls(port: int, upstream: str, certificate: str) -> None:
    """The same server behind TLS: a plain relay, whose delay is part of what the client sees."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    host, _, back = upstream.removeprefix("http://").rpartition(":")

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(host, int(back))
        await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer), return_exceptions=True)

    server = await asyncio.start_server(relay, "127.0.0.1", port, ssl=context)
    print(f"https://localhost:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return orjson.loads(answer.read())


def log_by_body(url: str) -> dict[int, dict[str, Any]]:
    """What happened since the last reset, by the CRC of each request's body."""
    return {entry["body_crc"]: entry for entry in get(f"{url}/log")}


@contextmanager
def reference_server(*options: str) -> Iterator[str]:
    """Starts one in a process of its own; gives its address. For tests and benchmarks."""
    command = [sys.executable, str(Path(__file__).resolve()), *options]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        with suppress(OSError):
            process.stdin.close()
        process.wait(10)
        process.stdout.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ttft-ms", type=float, default=0.0)
    parser.add_argument("--itl-ms", type=float, default=0.0)
    parser.add_argument("--tls-before", default="", help="be a TLS front of the server at this address")
    parser.add_argument("--certificate", default="")
    args = parser.parse_args()
    if args.tls_before:
        uvloop.run(serve_tls(args.port, args.tls_before, args.certificate))
    else:
        uvloop.run(serve(args.port, Script(ttft_ms=args.ttft_ms, itl_ms=args.itl_ms)))


if __name__ == "__main__":
    main()
