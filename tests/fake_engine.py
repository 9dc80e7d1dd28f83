"""A fake inference engine: an OpenAI-compatible server that answers as it is told, well or badly, on real sockets.

It computes nothing. Its dialects are written after the answers of real engines (tests/tasks/loadgen/captured holds
bytes of llama.cpp's server, against which the same parser is tested). A request's model name selects how it is
answered: `fake` plainly, `fake:NAME` by SCRIPTS, `fake:NAME+NAME` by several. What was asked and when each token was
written is kept: `FakeEngine.seen`, or GET /fake/requests.

    python tests/fake_engine.py --port 0        prints its address; ends with SIGTERM or Ctrl-C
"""

import argparse
import asyncio
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

END_ID = 2
"""The id that ends an answer; SPECIAL_IDS cost nothing but a refusal in a prompt."""

SPECIAL_IDS = range(4)
VOCABULARY = 32_000
KNOWN_FIELDS = frozenset(
    {"model", "stream", "stream_options", "prompt", "messages", "max_tokens", "temperature", "top_p", "seed", "stop"}
    | {"logit_bias"}
)
WAIT_FOREVER_S = 3600.0


@dataclass(frozen=True)
class Script:
    """How requests are answered. `natural_tokens`: where the model ends by itself; None: never."""

    natural_tokens: int | None = None
    first_token_s: float = 0.0
    gap_s: float = 0.0
    headers_delay_s: float = 0.0
    honours: frozenset[str] = frozenset({"ignore_eos", "min_tokens", "logit_bias"})
    refuses_unknown: bool = False
    context: int | None = None
    says_which: bool = False
    takes_ids: Literal["yes", "no", "one prompt each"] = "yes"
    bos: int = 0
    template_tokens: int = 0
    counts: Literal["words", "characters", "odd"] = "words"
    tokenizes: bool = False
    tells_token_ids: bool = False
    cached_tokens: int | None = None
    usage: Literal["asked", "finish", "every", "never"] = "asked"
    done: bool = True
    kind: Literal["content", "reasoning", "reasoning_content", "tool_calls"] = "content"
    answer_after: int = 0
    merged: int = 1
    newline: str = "\n"
    space: str = " "
    before: bytes = b""
    around: bytes = b""
    two_data_lines: bool = False
    empty_deltas: bool = False
    finish: str | None = "length"
    error: Literal["", "first", "middle", "event", "object"] = ""
    ends: Literal["cleanly", "eof", "reset", "hangs", "drips"] = "cleanly"
    after_tokens: int | None = None
    framing: Literal["chunked", "length", "close"] = "chunked"
    chunk_extension: bytes = b""
    trailers: bytes = b""
    bytes_a_write: int | None = None
    coalesced: bool = False
    status: int = 200
    content_type: str = "text/event-stream"
    location: str = ""
    body: bytes | None = None
    interim: bytes = b""
    silent: bool = False
    closes_first: bool = False
    closes_idle: bool = False
    slows_after: int | None = None
    fails_every: int | None = None
    miscounts_after: int | None = None


SCRIPTS: dict[str, dict[str, Any]] = {
    # dialects
    "pings": {"around": b": ping\n\n"},
    "crlf": {"newline": "\r\n"},
    "cr": {"newline": "\r"},
    "nospace": {"space": ""},
    "two-data-lines": {"two_data_lines": True},
    "bytewise": {"bytes_a_write": 1},
    "coalesced": {"coalesced": True},
    "bom": {"before": b"\xef\xbb\xbf"},
    "fields": {"before": b"retry: 10\n", "around": b"event: message\nid: 7\n"},
    "null": {"before": b"data: null\n\n"},
    "usage-in-finish": {"usage": "finish"},
    "usage-in-every": {"usage": "every"},
    "no-usage": {"usage": "never"},
    "token-ids": {"tells_token_ids": True},
    "merged": {"merged": 2},
    "empty-deltas": {"empty_deltas": True},
    "reasoning": {"kind": "reasoning", "answer_after": 2},
    "reasoning-content": {"kind": "reasoning_content", "answer_after": 2},
    "tool-calls": {"kind": "tool_calls", "finish": "tool_calls"},
    "no-done": {"done": False},
    "cached": {"cached_tokens": 5},
    "says-which": {"says_which": True},
    "context-1": {"context": 1},
    "context-30": {"context": 30},
    # transport
    "length-framed": {"framing": "length"},
    "close-framed": {"framing": "close"},
    "trailers": {"chunk_extension": b";a=b", "trailers": b"x-trailer: 1\r\n"},
    "interim": {"interim": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"},
    "slow-headers": {"headers_delay_s": 0.05},
    "closes-idle": {"closes_idle": True},
    # failures
    "error-first": {"error": "first"},
    "error-middle": {"error": "middle"},
    "error-event": {"error": "event"},
    "error-object": {"error": "object"},
    "cut": {"after_tokens": 2},
    "eof": {"after_tokens": 2, "ends": "eof"},
    "reset": {"after_tokens": 2, "ends": "reset"},
    "hangs": {"after_tokens": 2, "ends": "hangs"},
    "drips": {"after_tokens": 2, "ends": "drips"},
    "no-finish": {"finish": None},
    "aborted": {"finish": "abort"},
    "busy": {"status": 503, "content_type": "application/json", "body": b'{"error":{"message":"busy","code":503}}'},
    "detail": {"status": 422, "content_type": "application/json", "body": b'{"detail":[{"msg":"bad field"}]}'},
    "quotes-the-key": {"status": 401, "content_type": "application/json", "body": b'{"error":"no such key: {key}"}'},
    "html-error": {"status": 502, "content_type": "text/html", "body": b"<html><h1>Bad Gateway</h1></html>"},
    "html": {"content_type": "text/html", "body": b"<html><title>Welcome</title></html>"},
    "redirect": {"status": 307, "location": "http://elsewhere.example/v1?key=secret", "body": b""},
    "plain-json": {
        "content_type": "application/json",
        "body": b'{"choices":[{"index":0,"text":"hi","finish_reason":"stop"}],"usage":{"completion_tokens":1}}',
    },
    "not-http": {"interim": b"SSH-2.0-OpenSSH_9.2\r\n"},
    "silent": {"silent": True},
    "closes-first": {"closes_first": True},
    # what an engine does not honour
    "short": {"natural_tokens": 5, "finish": "stop"},
    "ignores-ignore-eos": {"natural_tokens": 5, "finish": "stop", "honours": frozenset({"min_tokens", "logit_bias"})},
    "only-logit-bias": {"natural_tokens": 5, "finish": "stop", "honours": frozenset({"logit_bias"})},
    "ends-early": {"natural_tokens": 5, "finish": "stop", "honours": frozenset()},
    "refuses-unknown": {"refuses_unknown": True},
    "refuses-ids": {"takes_ids": "no"},
    "one-prompt-an-id": {"takes_ids": "one prompt each"},
    "bos": {"bos": 1},
    "template": {"template_tokens": 11},
    "counts-characters": {"counts": "characters"},
    "counts-oddly": {"counts": "odd"},
    "tokenizes": {"tokenizes": True},
    "flaky": {"fails_every": 20},
    "miscounts": {"miscounts_after": 20},
    # speed
    "steady": {"first_token_s": 0.02, "gap_s": 0.005},
    "slower": {"first_token_s": 0.02, "gap_s": 0.007},
    "late": {"first_token_s": 0.5},
    "drifts": {"first_token_s": 0.004, "gap_s": 0.002, "slows_after": 300},
}


def script_for(model: str) -> Script:
    """`fake:NAME+NAME`; an unknown name is an error of the test."""
    names = model.partition(":")[2]
    script = Script()
    for name in filter(None, names.split("+")):
        script = replace(script, **SCRIPTS[name])
    return script


@dataclass
class Seen:
    """One request as it came, and CLOCK_MONOTONIC ns of its arrival and of the write of each token-bearing event."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    received_at_ns: int
    tokens_at_ns: list[int] = field(default_factory=list)
    raw_body: str = ""
    connection: int = 0


class RefusedRequest(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def prompt_tokens(body: dict[str, Any], script: Script) -> int:
    """By words for text, one each for ids, beside BOS and template."""
    if "messages" in body:
        text = " ".join(message["content"] for message in body["messages"])
        return text_tokens(text, script) + script.bos + script.template_tokens
    prompt = body["prompt"]
    if isinstance(prompt, str):
        return text_tokens(prompt, script) + script.bos
    if script.takes_ids == "no":
        raise RefusedRequest(400, "prompt must be a string")
    if any(token in SPECIAL_IDS or token >= VOCABULARY for token in prompt):
        raise RefusedRequest(400, "a token id is special or out of vocabulary")
    return len(prompt) + script.bos


def text_tokens(text: str, script: Script) -> int:
    if script.counts == "characters":
        return -(-len(text) // 4)
    if script.counts == "odd":
        return sum(1 + (ord(word[0]) + len(word)) % 3 for word in text.split())
    return len(text.split())


def output_tokens(body: dict[str, Any], script: Script) -> int:
    """Where the answer ends: at the length asked, or before, where the model ends by itself and may."""
    most = int(body.get("max_tokens", 16))
    bias = body.get("logit_bias", {}).get(str(END_ID), 0) if "logit_bias" in script.honours else 0
    natural = 1 if bias > 50 else script.natural_tokens
    if natural is None or bias < -50 or (body.get("ignore_eos") and "ignore_eos" in script.honours):
        return most
    least = int(body.get("min_tokens", 0)) if "min_tokens" in script.honours else 0
    return min(most, max(natural, least))


def answer_mark(body: dict[str, Any]) -> int:
    """Tells answers to different prompts apart; between 10 and 29,999, as token ids are."""
    asked = json.dumps(body.get("messages") or body["prompt"])
    return 10 + zlib.crc32(asked.encode()) % 29_990


@dataclass(frozen=True)
class Step:
    """Bytes of the body to write `at_s` after the request, and how many tokens they bear."""

    at_s: float
    data: bytes
    tokens: int = 0


def steps(body: dict[str, Any], script: Script) -> Iterator[Step]:
    """The events of an answer in order."""
    prompt, output = prompt_tokens(body, script), output_tokens(body, script)
    events = _Events(body, script, prompt)
    if script.before:
        yield Step(0.0, script.before)
    if script.error in ("first", "event", "object"):
        yield Step(0.0, events.error())
        return
    if "messages" in body:
        yield Step(script.first_token_s, events.role())
    sent, at_s, mark = 0, script.first_token_s, f"a{answer_mark(body)}" if script.says_which else ""
    while sent < output and sent != script.after_tokens:
        if script.empty_deltas:
            yield Step(at_s, events.text("", sent, 0))
        bears = min(script.merged, output - sent)
        sent += bears
        yield Step(at_s, events.text(f" {mark}w{sent}", sent, bears), bears)
        at_s += script.gap_s
        if script.error == "middle" and sent * 2 >= output:
            yield Step(at_s, events.error())
            return
    if script.after_tokens is None:
        yield from (Step(at_s, event) for event in events.ending(sent, at_max=sent == body.get("max_tokens")))


@dataclass(frozen=True)
class _Events:
    """Encodes events in a script's dialect."""

    body: dict[str, Any]
    script: Script
    prompt: int

    @property
    def _chat(self) -> bool:
        return "messages" in self.body

    def usage(self, sent: int) -> dict[str, Any]:
        usage: dict[str, Any] = {"prompt_tokens": self.prompt, "completion_tokens": sent}
        if self.script.cached_tokens is not None:
            usage["prompt_tokens_details"] = {"cached_tokens": self.script.cached_tokens}
        return usage

    def encode(self, value: object, kind: str = "") -> bytes:
        script = self.script
        text = value if isinstance(value, str) else json.dumps(value)
        lines = [text]
        if script.two_data_lines and '", ' in text:
            head, _, tail = text.partition('", ')
            lines = [head + '", ', tail]
        event = "".join(f"data:{script.space}{line}\n" for line in lines) + "\n"
        if kind:
            event = f"event:{script.space}{kind}\n" + event
        return script.around + event.replace("\n", script.newline).encode()

    def choice(self, delta: dict[str, Any], text: str, **more: Any) -> dict[str, Any]:
        said = {"delta": delta} if self._chat else {"text": text}
        return {"index": 0, **said, "finish_reason": None, **more}

    def chunk(self, choices: list[dict[str, Any]], sent: int, **more: Any) -> bytes:
        about = {"id": "fake-1", "object": "chat.completion.chunk" if self._chat else "text_completion"}
        if self.script.usage == "every":
            more = {"usage": self.usage(sent), **more}
        return self.encode({**about, "model": self.body["model"], "choices": choices, **more})

    def role(self) -> bytes:
        return self.chunk([self.choice({"role": "assistant", "content": ""}, "")], 0)

    def text(self, text: str, sent: int, bears: int) -> bytes:
        kind = self.script.kind if sent <= self.script.answer_after or self.script.kind == "tool_calls" else "content"
        delta: dict[str, Any] = {kind: text}
        if kind == "tool_calls":
            delta = {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}
        token = answer_mark(self.body) if self.script.says_which else 9
        told = self.script.tells_token_ids and self.body.get("return_token_ids")
        choices = [self.choice(delta, text, **({"token_ids": [token] * bears} if told else {}))]
        if self.script.takes_ids == "one prompt each" and isinstance(self.body.get("prompt"), list):
            choices[0]["index"] = sent % len(self.body["prompt"])
        return self.chunk(choices, sent)

    def ending(self, sent: int, *, at_max: bool) -> Iterator[bytes]:
        script = self.script
        finish = "length" if script.finish == "stop" and at_max else script.finish
        if finish is not None:
            more = {"usage": self.usage(sent)} if script.usage == "finish" else {}
            yield self.chunk([self.choice({}, "", finish_reason=finish)], sent, **more)
        if script.usage == "asked" and (self.body.get("stream_options") or {}).get("include_usage"):
            yield self.chunk([], sent, usage=self.usage(sent))
        if script.done:
            yield self.encode("[DONE]")

    def error(self) -> bytes:
        error = {"message": "out of memory", "code": 500}
        match self.script.error:
            case "event":
                return self.encode({"message": "out of memory"}, kind="error")
            case "object":
                return self.encode({"object": "error", **error})
            case _:
                return self.encode({"error": error})


class FakeEngine:
    """Serves on loopback in a thread of its own while it is entered; `url` is its root. `turned_into` names a script
    by which it answers everything from the moment on that it is set."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.seen: list[Seen] = []
        self.connections = 0
        self.turned_into = ""
        self._host, self._port = host, port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self.serve()), daemon=True)

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self._port}"

    @property
    def generations(self) -> list[Seen]:
        """The requests for answers, in the order of arrival."""
        return [seen for seen in self.seen if seen.path.endswith("completions")]

    def __enter__(self) -> "FakeEngine":
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join()

    def stop(self) -> None:
        """All connections are cut."""
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)

    async def serve(self) -> None:
        """Until stop() is called."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()
        writers: list[asyncio.StreamWriter] = []

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            writers.append(writer)
            task = asyncio.ensure_future(self._connection(reader, writer, self.connections))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(accept, self._host, self._port, limit=2**24)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            writer.close()  # a task that was cancelled before it began has closed nothing
        await asyncio.sleep(0)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        try:
            async for seen in _requests(reader):
                seen.connection = number
                self.seen.append(seen)
                if self.turned_into and seen.body:
                    seen.body["model"] = f"fake:{self.turned_into}"
                if not await _answer(seen, writer, self.seen):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left
        finally:
            writer.close()


async def _requests(reader: asyncio.StreamReader) -> AsyncIterator[Seen]:
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return
        request_line, *lines = head.decode("latin-1").strip().split("\r\n")
        method, path, _ = request_line.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        received_at_ns = time.monotonic_ns()
        body = json.loads(raw) if raw else None
        yield Seen(method, path, headers, body, received_at_ns, raw_body=raw.decode())


async def _answer(seen: Seen, writer: asyncio.StreamWriter, all_seen: list[Seen]) -> bool:
    """Whether the connection lives on."""
    path = seen.path.partition("?")[0]
    if path.endswith("/completions"):
        number = sum(one.path.endswith("completions") for one in all_seen)
        return await _generate(seen, writer, _in_turn(script_for(seen.body.get("model", "")), number))
    script = script_for((seen.body or {}).get("model", ""))
    plain: dict[str, Any] = {
        "/health": {"status": "ok"},
        "/v1/models": {"object": "list", "data": [{"id": "fake", "object": "model"}]},
        "/fake/requests": [asdict(one) for one in all_seen if one.path.endswith("completions")],
        "/fake/reset_cache": {"success": True},
    }
    if path == "/tokenize" and script.tokenizes:
        plain["/tokenize"] = {"tokens": list(range(100, 100 + len(seen.body["prompt"].split())))}
    if path == "/metrics":
        _write_whole(writer, 200, "text/plain", _metrics(all_seen).encode())
        return _keeps_alive(seen)
    found = path in plain
    value = plain[path] if found else {"error": {"message": "not found"}}
    _write_whole(writer, 200 if found else 404, "application/json", json.dumps(value).encode())
    return _keeps_alive(seen)


def _metrics(all_seen: list[Seen]) -> str:
    """Counters as Prometheus has them, one of them in two series."""
    asked = [(seen.body, script_for(seen.body["model"])) for seen in all_seen if seen.path.endswith("/completions")]
    prompt = sum(prompt_tokens(body, script) for body, script in asked)
    cached = sum(script.cached_tokens or 0 for _, script in asked)
    return (
        "# HELP fake:prompt_tokens_total Prompt tokens.\n# TYPE fake:prompt_tokens_total counter\n"
        f'fake:prompt_tokens_total{{model="a b"}} {prompt}\nfake:cached_total{{slot="0"}} {cached}\n'
        'fake:cached_total{slot="1"} 0 1395066363000\nfake:broken NaN?\n'
    )


def _keeps_alive(seen: Seen) -> bool:
    return seen.headers.get("connection", "").lower() != "close"


def _write_whole(writer: asyncio.StreamWriter, status: int, content_type: str, body: bytes, location: str = "") -> None:
    more = f"location: {location}\r\n" if location else ""
    head = f"HTTP/1.1 {status} Fake\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n{more}\r\n"
    writer.write(head.encode() + body)


def _refusal(seen: Seen, script: Script) -> RefusedRequest | None:
    """Fields that the engine does not know, prompts that it does not take."""
    unknown = sorted(seen.body.keys() - KNOWN_FIELDS)
    if script.refuses_unknown and unknown:
        return RefusedRequest(422, f"unexpected fields: {', '.join(unknown)}")
    try:
        if script.context is not None and prompt_tokens(seen.body, script) > script.context:
            return RefusedRequest(400, f"the context holds {script.context} tokens")
        prompt_tokens(seen.body, script)
    except RefusedRequest as refused:
        return refused
    return None


def _in_turn(script: Script, number: int) -> Script:
    """How the `number`th generation is answered, where not all are answered alike."""
    if script.fails_every is not None and number % script.fails_every == 0:
        script = replace(script, error="middle")
    if script.miscounts_after is not None and number > script.miscounts_after:
        script = replace(script, bos=script.bos + 3)
    if script.slows_after is not None and number > script.slows_after:
        script = replace(script, first_token_s=3 * script.first_token_s, gap_s=3 * script.gap_s)
    return script


async def _generate(seen: Seen, writer: asyncio.StreamWriter, script: Script) -> bool:
    if script.silent:
        await asyncio.sleep(WAIT_FOREVER_S)
    await asyncio.sleep(script.headers_delay_s)
    writer.write(script.interim)
    refused = _refusal(seen, script)
    if script.closes_first or script.interim.startswith(b"SSH"):
        return False
    if refused is not None:
        body = json.dumps({"error": {"message": str(refused), "code": refused.status}}).encode()
        _write_whole(writer, refused.status, "application/json", body)
        return _keeps_alive(seen)
    if script.body is not None:
        key = seen.headers.get("authorization", "").removeprefix("Bearer ")
        said = script.body.replace(b"{key}", key.encode())
        _write_whole(writer, script.status, script.content_type, said, script.location)
        return _keeps_alive(seen)
    await _stream(seen, writer, script)
    return await _end(writer, script) and _keeps_alive(seen)


async def _stream(seen: Seen, writer: asyncio.StreamWriter, script: Script) -> None:
    """Times are absolute from the request on: a late token does not delay the next one."""
    todo = list(steps(seen.body, script))
    if script.coalesced or script.framing == "length":
        todo = [Step(todo[-1].at_s, b"".join(step.data for step in todo), sum(step.tokens for step in todo))]
    loop = asyncio.get_running_loop()
    start = loop.time()
    writer.write(_stream_head(script, len(todo[0].data)))
    for step in todo:
        delay = start + step.at_s - loop.time()
        if delay > 0:
            await asyncio.sleep(delay)
        seen.tokens_at_ns += [time.monotonic_ns()] * step.tokens
        await _write(writer, _framed(step.data, script), script.bytes_a_write)


def _stream_head(script: Script, length: int) -> bytes:
    framing = {
        "chunked": "transfer-encoding: chunked\r\n",
        "length": f"content-length: {length}\r\n",
        "close": "connection: close\r\n",
    }[script.framing]
    return f"HTTP/1.1 {script.status} OK\r\ncontent-type: {script.content_type}\r\n{framing}\r\n".encode()


def _framed(data: bytes, script: Script) -> bytes:
    if script.framing != "chunked":
        return data
    return b"%x%s\r\n%s\r\n" % (len(data), script.chunk_extension, data)


async def _write(writer: asyncio.StreamWriter, data: bytes, size: int | None) -> None:
    for start in range(0, len(data), size or len(data)):
        writer.write(data[start : start + (size or len(data))])
        await (asyncio.sleep(0) if size else writer.drain())


async def _end(writer: asyncio.StreamWriter, script: Script) -> bool:
    """Whether the connection may carry another request."""
    match script.ends:
        case "hangs":
            await asyncio.sleep(WAIT_FOREVER_S)
        case "drips":
            while True:
                await _write(writer, _framed(b": ping\n\n", script), None)
                await asyncio.sleep(0.02)
        case "reset":
            await asyncio.sleep(0.02)  # a reset throws away what the client has not read yet
            raw: socket.socket = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return False
        case "eof":
            return False
    if script.framing == "chunked":
        writer.write(b"0\r\n" + script.trailers + b"\r\n")
    return script.framing != "close" and not script.closes_idle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    with FakeEngine(host=arguments.host, port=arguments.port) as engine:
        print(engine.url, flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
