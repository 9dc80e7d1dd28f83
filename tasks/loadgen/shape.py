"""Events that differ from an earlier one in the text of their chunk alone need no decoding: nearly all of a stream.

An event has the shape of another if it has the same bytes before and after the text, and a text without quotes,
backslashes and control characters. The bytes before it end inside a JSON string and those after it begin with the
closing quote, so both decode to the same object but for that string.
"""

import re
from typing import Any, NamedTuple

PLAIN_TEXT = re.compile(rb'[^"\\\x00-\x1f]+').fullmatch

SAYS_MORE = ("usage", "timings", "error", "prompt_token_ids")
CHOICE_SAYS_MORE = ("finish_reason", "token_ids", "logprobs")


class Shape(NamedTuple):
    """`head` and `tail` are the bytes around the text; an empty head is the shape of nothing."""

    head: bytes = b""
    tail: bytes = b""
    is_answer: bool = True


def shape_of(chunk: object, data: bytes) -> Shape:
    """The shape of an event that says nothing but the text of its chunk; else that of nothing."""
    if (
        type(chunk) is not dict
        or chunk.get("object") == "error"
        or any(chunk.get(key) is not None for key in SAYS_MORE)
    ):
        return Shape()
    choices = chunk.get("choices")
    if type(choices) is not list or len(choices) != 1 or type(choices[0]) is not dict:
        return Shape()
    choice: dict[str, Any] = choices[0]
    if choice.get("index") or any(choice.get(key) is not None for key in CHOICE_SAYS_MORE):
        return Shape()
    said = choice.get("delta")
    if type(said) is not dict:
        return _around(data, "text", choice.get("text"), is_answer=True)
    if said.get("content"):
        return _around(data, "content", said["content"], is_answer=True)
    key = "reasoning_content" if said.get("reasoning_content") else "reasoning"
    others = ("refusal", "tool_calls", "function_call")
    return Shape() if any(said.get(other) for other in others) else _around(data, key, said.get(key), is_answer=False)


def _around(data: bytes, key: str, text: object, *, is_answer: bool) -> Shape:
    """Where the text stands once, in its place, as it is."""
    if type(text) is not str or not text:
        return Shape()
    raw = text.encode(errors="replace")
    for between in ('":"', '": "'):
        field = f'"{key}{between}'.encode() + raw + b'"'
        if data.count(field) == 1:
            end = data.index(field) + len(field) - 1
            return Shape(data[: end - len(raw)], data[end:], is_answer)
    return Shape()
