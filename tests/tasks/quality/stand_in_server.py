"""A stand-in for the servers that are scored: its model is a table, and it answers as vLLM, SGLang and llama.cpp do.

The next token depends on the last one only, so that every log-probability can be had by hand. The answers of llama.cpp
and vLLM have the form of the real ones (tests/engines/test_quality.py asks the first); that of SGLang, of its source.
"""

import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

VOCABULARY = 6
HELD_BACK = 5
"""A token that is a part of a character."""


def logprob(before: int, token: int) -> float:
    """Token t is t + 1 times as likely as token 0, unless it repeats the one before it, which halves it."""
    weights = [(one + 1) / (2 if one == before else 1) for one in range(VOCABULARY)]
    return math.log(weights[token] / sum(weights))


def likeliest(before: int) -> int:
    return max(range(VOCABULARY), key=lambda one: logprob(before, one))


@contextmanager
def stand_in(habit: str = "") -> Iterator[str]:
    """Its address. `habit` is what it does wrong: `biased`, `ignores bias`, `no logprobs`, `short`, `refuses`,
    `drifts`."""

    asked = 0

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            nonlocal asked
            asked += 1
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            found = _answer(self.path, body, habit, asked)
            told = json.dumps(found).encode()
            self.send_response(400 if habit == "refuses" else 200)
            self.send_header("content-length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(path: str, body: dict[str, Any], habit: str, asked: int) -> dict[str, Any]:
    drift = 0.5 * asked if habit == "drifts" else 0.0
    if habit == "refuses":
        return {"error": "unknown field"}
    if path == "/generate":
        return {"meta_info": _as_sglang(body["input_ids"])}
    if "prompt_logprobs" in body:
        told = _as_vllm(body["prompt"], drift)
        return {"choices": [{"text": "x", "prompt_logprobs": told[:-1] if habit == "short" else told}]}
    if "logit_bias" in body:
        return {"choices": [_as_llama(body["prompt"][-1], body["logit_bias"][0][0], habit)]}
    return {"choices": [{"text": f"answer to {body['prompt']}\nand on"}]}


def _as_sglang(tokens: list[int]) -> dict[str, Any]:
    pairs = list(pairwise(tokens))
    own = [[logprob(before, token), token, None] for before, token in pairs]
    top = [[[logprob(before, likeliest(before)), likeliest(before), None]] for before, _ in pairs]
    return {"input_token_logprobs": [[None, tokens[0], None], *own], "input_top_logprobs": [None, *top]}


def _as_vllm(tokens: list[int], drift: float) -> list[dict[str, Any] | None]:
    told: list[dict[str, Any] | None] = [None]
    for before, token in pairwise(tokens):
        ranked = sorted(range(VOCABULARY), key=lambda one: -logprob(before, one))
        named = {token: ranked.index(token) + 1, ranked[0]: 1}
        told.append({str(t): {"logprob": logprob(before, t) - drift, "rank": rank} for t, rank in named.items()})
    return told


def _as_llama(before: int, forced: int, habit: str) -> dict[str, Any]:
    if habit == "no logprobs":
        return {"text": "x", "logprobs": None}
    if forced == HELD_BACK:
        return {"text": "\ufffd", "logprobs": None}
    top = likeliest(before)
    if habit == "biased":
        return _told(forced, 0.0, forced, 0.0)
    if habit == "ignores bias":
        return _told(top, logprob(before, top), top, logprob(before, top))
    return _told(forced, logprob(before, forced), top, logprob(before, top))


def _told(token: int, value: float, top: int, top_value: float) -> dict[str, Any]:
    content = [{"id": token, "logprob": value, "top_logprobs": [{"id": top, "logprob": top_value}]}]
    return {"text": "x", "logprobs": {"content": content}}
