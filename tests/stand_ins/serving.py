"""The server of a stand-in: an OpenAI-compatible one that computes nothing, and answers in the dialect it is given."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from arguments import say  # type: ignore[import-not-found]
from tokenizers import Tokenizer

FIRST_TOKEN_S, GAP_S = 0.004, 0.0005
NATURAL_TOKENS = 24
"""Where an answer ends that may end by itself."""

Reply = tuple[int, str, str]
"""Status, content type, body."""


class Refused(Exception):
    """A request that this engine answers with an error."""

    def __init__(self, status: int, message: str, kind: str = "BadRequestError") -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


@dataclass
class Counted:
    """What the engine's own metrics tell."""

    running: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    requests: int = 0


@dataclass(frozen=True)
class Dialect:
    """What differs between engines. `answers` are the other paths, by method and path; `check` raises Refused; `error`
    is the body of one; `choice` is what a chunk's choice has beside its text."""

    tokenizer: Tokenizer
    context_tokens: int
    answers: Mapping[str, Callable[[], Reply]]
    check: Callable[[Mapping[str, Any]], None]
    error: Callable[[Refused], dict[str, Any]]
    choice: Mapping[str, Any]
    tells_cached: bool = False
    tells_ids: bool = False
    counted: Counted = field(default_factory=Counted)

    def prompt_tokens(self, body: Mapping[str, Any]) -> int:
        if "messages" in body:
            text = "".join(f"<{one['role']}>{one['content']}" for one in body["messages"])
            return len(self.tokenizer.encode(text).ids)
        prompt = body.get("prompt")
        if isinstance(prompt, list) and all(isinstance(token, int) for token in prompt):
            if max(prompt, default=0) >= self.tokenizer.get_vocab_size():
                raise Refused(400, "token id is out of vocabulary")
            return len(prompt)
        if not isinstance(prompt, str):
            raise Refused(400, "one prompt is taken here: a text or a list of token ids")
        return len(self.tokenizer.encode(prompt).ids)

    def output_tokens(self, body: Mapping[str, Any], prompt: int) -> int:
        most = int(body.get("max_tokens") or 16)
        if prompt + most > self.context_tokens:
            raise Refused(400, f"maximum context length is {self.context_tokens} tokens, and {prompt + most} are asked")
        if body.get("ignore_eos"):
            return most
        return min(most, max(NATURAL_TOKENS, int(body.get("min_tokens") or 0)))


def serve(host: str, port: int, dialect: Dialect) -> None:
    """Until SIGTERM or SIGINT."""
    asyncio.run(_serve(host, port, dialect))
    say("STAND-IN: stopped")


async def _serve(host: str, port: int, dialect: Dialect) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    server = await asyncio.start_server(lambda r, w: _connection(r, w, dialect), host, port, limit=2**24)
    say(f"STAND-IN: serving at http://{host}:{port}, process {os.getpid()}")
    await stopped.wait()
    server.close()


async def _connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, dialect: Dialect) -> None:
    try:
        async for method, path, body in _requests(reader):
            if path in ("/v1/completions", "/v1/chat/completions") and method == "POST":
                await _generate(body, path, writer, dialect)
            else:
                _whole(writer, *dialect.answers.get(f"{method} {path}", told(404, {"detail": "Not Found"}))())
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass  # the client left
    finally:
        writer.close()


async def _requests(reader: asyncio.StreamReader) -> AsyncIterator[tuple[str, str, Any]]:
    while True:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        method, path, _ = first.split(" ")
        yield method, path.partition("?")[0], json.loads(raw) if raw else {}


def _whole(writer: asyncio.StreamWriter, status: int, kind: str, body: str) -> None:
    data = body.encode()
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: {kind}\r\ncontent-length: {len(data)}\r\n"
    writer.write(head.encode() + b"\r\n" + data)


async def _generate(body: Mapping[str, Any], path: str, writer: asyncio.StreamWriter, dialect: Dialect) -> None:
    try:
        dialect.check(body)
        prompt = dialect.prompt_tokens(body)
        answer = _Answer(body, path.endswith("/chat/completions"), prompt, dialect.output_tokens(body, prompt), dialect)
    except Refused as refused:
        _whole(writer, refused.status, "application/json", json.dumps(dialect.error(refused)))
        return
    dialect.counted.requests += 1
    dialect.counted.running += 1
    try:
        await (_stream(writer, answer) if body.get("stream") else _at_once(writer, answer))
    finally:
        dialect.counted.running -= 1
    dialect.counted.prompt_tokens += prompt
    dialect.counted.output_tokens += answer.tokens


@dataclass(frozen=True)
class _Answer:
    """One answer, said in the words of the OpenAI API."""

    body: Mapping[str, Any]
    is_chat: bool
    prompt: int
    tokens: int
    dialect: Dialect

    @property
    def finish(self) -> str:
        return "length" if self.tokens == int(self.body.get("max_tokens") or 16) else "stop"

    def usage(self) -> dict[str, Any]:
        told = {"prompt_tokens": self.prompt, "completion_tokens": self.tokens}
        cached = {"prompt_tokens_details": {"cached_tokens": 0}} if self.dialect.tells_cached else {}
        return {**told, "total_tokens": self.prompt + self.tokens, **cached}

    def about(self, whole: str, chunk: str, is_chunk: bool) -> dict[str, Any]:
        kind = ("chat.completion" if self.is_chat else "text_completion") + (chunk if is_chunk and self.is_chat else "")
        return {"id": f"{whole}-1", "object": kind, "created": 0, "model": self.body["model"]}

    def choice(self, text: str, finish: str | None, *, is_chunk: bool = True, role: bool = False) -> dict[str, Any]:
        said: dict[str, Any] = {"text": text}
        if self.is_chat:
            said = {"delta" if is_chunk else "message": ({"role": "assistant"} if role else {}) | {"content": text}}
        ids = {"token_ids": [7]} if self.dialect.tells_ids and self.body.get("return_token_ids") and text else {}
        return {"index": 0, **said, **self.dialect.choice, **ids, "finish_reason": finish}

    def chunk(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        body = {**self.about("cmpl", ".chunk", True), "choices": choices, **more}
        return b"data: " + json.dumps(body).encode() + b"\n\n"


async def _at_once(writer: asyncio.StreamWriter, answer: _Answer) -> None:
    await asyncio.sleep(FIRST_TOKEN_S + GAP_S * answer.tokens)
    choice = answer.choice(" a" * answer.tokens, answer.finish, is_chunk=False, role=True)
    body = {**answer.about("cmpl", "", False), "choices": [choice], "usage": answer.usage()}
    _whole(writer, 200, "application/json", json.dumps(body))


async def _stream(writer: asyncio.StreamWriter, answer: _Answer) -> None:
    """Times are absolute from the request on."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
    writer.write(head)
    loop = asyncio.get_running_loop()
    due = loop.time() + FIRST_TOKEN_S
    for number in range(answer.tokens):
        await asyncio.sleep(max(0.0, due + number * GAP_S - loop.time()))
        if number == 0 and answer.is_chat:
            _framed(writer, answer.chunk([answer.choice("", None, role=True)]))
        is_last = number == answer.tokens - 1
        _framed(writer, answer.chunk([answer.choice(" a", answer.finish if is_last else None)]))
    if (answer.body.get("stream_options") or {}).get("include_usage"):
        _framed(writer, answer.chunk([], usage=answer.usage()))
    _framed(writer, b"data: [DONE]\n\n")
    writer.write(b"0\r\n\r\n")


def _framed(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))


def told(status: int, body: object) -> Callable[[], Reply]:
    """An answer in JSON that is always the same."""
    return lambda: (status, "application/json", json.dumps(body))


def tokenizer_of(folder: Path) -> Tokenizer:
    """The model's own; without one the engine would not start."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))
