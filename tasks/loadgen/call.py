"""One blocking request at a time, for the pre-flight: read by the same parser as the trial's, so that both agree."""

import os
import socket
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from experiments.errors import SetupError
from tasks.loadgen.exchange import Asked, Exchange, WireEnd
from tasks.loadgen.http1 import Response, ResponseReader
from tasks.loadgen.plan import Endpoint
from tasks.loadgen.stream import Answer, read_answer
from tasks.loadgen.verdict import one_line, verdict

CLOSING_S = 0.1
"""A server that closes a connection after its answer does so by then."""

_ANY_LENGTH = Asked(prompt_tokens=0, output_tokens=0, exact=False, needs_done=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """`reason` says why this is no successful stream; None where it is one. It holds no secret."""

    response: Response
    answer: Answer
    end: WireEnd
    reason: str | None

    @property
    def broken(self) -> bool:
        """Whether it holds no whole answer, from which something could be learnt."""
        ended = self.response.ended(self.end) and self.answer.error is None
        return not ended or not self.answer.chunk_at_ns

    @property
    def lost(self) -> bool:
        """Nobody answered: the next request would wait in vain as well."""
        return self.end in (WireEnd.TIMED_OUT, WireEnd.CONNECT_FAILED) or self.response.status is None


class Caller:
    """Each call has `timeout_s` from its connection to the end of its answer."""

    def __init__(self, endpoint: Endpoint, timeout_s: float) -> None:
        self._url = urlsplit(endpoint.url)
        if self._url.scheme not in ("http", "https") or not self._url.hostname:
            raise SetupError(f"{endpoint.url.rpartition('@')[2]}: no address of a server: give http://HOST:PORT")
        self._timeout_s = timeout_s
        self._key = _key_in(endpoint)
        self.prefix = self._url.path.rstrip("/")

    @property
    def where(self) -> str:
        """Scheme, host and port, without what else a URL may hold."""
        host = f"[{self._url.hostname}]" if ":" in (self._url.hostname or "") else self._url.hostname
        return f"{self._url.scheme}://{host}:{self._port}"

    def get(self, path: str, *, timeout_s: float | None = None) -> Reply:
        return self._call("GET", path, (), b"", timeout_s or self._timeout_s)

    def post(self, path: str, headers: Iterable[tuple[str, str]], body: bytes) -> Reply:
        return self._call("POST", path, headers, body, self._timeout_s)

    def keeps_connection(self, path: str, headers: Iterable[tuple[str, str]], body: bytes) -> bool | None:
        """Whether the connection lives on after an answer; None where there was no whole answer."""
        reader = ResponseReader()
        try:
            with self._connect(self._timeout_s) as sock:
                sock.sendall(self._head("POST", path, headers, body, connection="keep-alive") + body)
                end = _read(sock, reader, time.monotonic() + self._timeout_s)
                if end is not WireEnd.COMPLETE:
                    return False if reader.finish().ended(end) else None  # its end was the end of the answer
                sock.settimeout(CLOSING_S)
                return bool(sock.recv(1))
        except TimeoutError:
            return True if reader.response.complete else None
        except OSError:
            return False if reader.response.complete else None

    def _call(self, method: str, path: str, headers: Iterable[tuple[str, str]], body: bytes, timeout_s: float) -> Reply:
        end_at = time.monotonic() + timeout_s
        reader = ResponseReader()
        try:
            sock = self._connect(timeout_s)
        except OSError as problem:
            return self._reply(reader.finish(), WireEnd.CONNECT_FAILED, _why(problem))
        with sock:
            try:
                sock.sendall(self._head(method, path, headers, body) + body)
                end = _read(sock, reader, end_at)
            except TimeoutError:
                end = WireEnd.TIMED_OUT
            except OSError:
                end = WireEnd.RESET
        return self._reply(reader.finish(), end, None)

    def _reply(self, response: Response, end: WireEnd, error: str | None) -> Reply:
        answer = read_answer(response, ended=response.ended(end))
        exchange = Exchange(0, 0, 0, None, end, [], error=error)
        _, reason = verdict(exchange, _ANY_LENGTH, response, answer)
        return Reply(response, answer, end, None if reason is None else one_line(reason, secret=self._key))

    def _head(
        self, method: str, path: str, headers: Iterable[tuple[str, str]], body: bytes, connection: str = "close"
    ) -> bytes:
        host = self._url.netloc.rpartition("@")[2]
        fields = [("host", host), ("connection", connection), ("content-length", str(len(body))), *headers]
        if self._key:
            fields.append(("authorization", f"Bearer {self._key}"))
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "", ""]
        return "\r\n".join(lines).encode("latin-1")

    @property
    def _port(self) -> int:
        return self._url.port or (443 if self._url.scheme == "https" else 80)

    def _connect(self, timeout_s: float) -> socket.socket:
        sock = socket.create_connection((self._url.hostname, self._port), timeout=timeout_s)
        if self._url.scheme == "https":
            return ssl.create_default_context().wrap_socket(sock, server_hostname=self._url.hostname)
        return sock


def _read(sock: socket.socket, reader: ResponseReader, end_at: float) -> WireEnd:
    while not reader.response.complete and reader.response.malformed is None:
        left_s = end_at - time.monotonic()
        if left_s <= 0:
            return WireEnd.TIMED_OUT
        sock.settimeout(left_s)
        data = sock.recv(65536)
        if not data:
            return WireEnd.EOF
        reader.feed(time.monotonic_ns(), data)
    return WireEnd.COMPLETE


def _key_in(endpoint: Endpoint) -> str:
    if not endpoint.api_key_env:
        return ""
    key = os.environ.get(endpoint.api_key_env, "").strip()
    if not key:
        raise SetupError(f"{endpoint.api_key_env}: this environment variable is to hold the API key, and is not set")
    return key


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{error.verify_message}; SSL_CERT_FILE=FILE names certificates to trust"
    return one_line(error.strerror or str(error) or type(error).__name__)
