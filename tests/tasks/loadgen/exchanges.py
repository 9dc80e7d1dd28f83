"""Builds exchanges from what a server would send, for the tests of the parser."""

import json
from typing import Any

from tasks.loadgen.exchange import Asked, Exchange, WireEnd

ASKED = Asked(prompt_tokens=8, output_tokens=3, exact=True, needs_done=True)


def event(value: object, *, kind: str = "", newline: str = "\n") -> bytes:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    lines = ([f"event: {kind}"] if kind else []) + [f"data: {text}", "", ""]
    return newline.join(lines).encode()


def text(content: str, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "text": content, "finish_reason": None, **more}]}


def delta(finish_reason: str | None = None, **said: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": said, "finish_reason": finish_reason}]}


def usage(prompt: int, output: int, **more: Any) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": output, **more}}


def chunked(*parts: bytes, status: str = "200 OK", kind: str = "text/event-stream", last: bool = True) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts if part)
    return head + body + (b"0\r\n\r\n" if last else b"")


def sized(body: bytes, *, status: str = "200 OK", kind: str = "text/event-stream", more: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


def exchange(*segments: bytes, end: WireEnd = WireEnd.COMPLETE, **more: Any) -> Exchange:
    """Segments arrive at 1000, 1001, … ns; due at 10, sent at 20, over at 9000."""
    timed = [(1000 + place, segment) for place, segment in enumerate(segments)]
    return Exchange(index=4, due_at_ns=10, sent_at_ns=20, end_at_ns=9000, end=end, segments=timed, **more)
