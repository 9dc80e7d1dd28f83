"""Secrets never reach a record, a page or the tracking store: what is named like one, or looks like one, goes."""

import re
from collections.abc import Mapping, Sequence

REDACTED = "[redacted]"

_SECRET_NAME = re.compile(
    r"(^|[_\-.])(token|api[_-]?key|access[_-]?key|secret|password|passwd|authorization|credentials?)$", re.IGNORECASE
)
_SECRET_VALUE = re.compile(
    r"\bhf_[A-Za-z0-9]{16,}|\bsk-[A-Za-z0-9_-]{16,}|\bgh[pousr]_[A-Za-z0-9]{16,}|\bAKIA[A-Z0-9]{12,}"
    r"|(?i:(?<=authorization: )\S.*)|\bBearer [A-Za-z0-9+/=._~-]{12,}|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
)
_NAMED_SECRET = re.compile(
    r"((?:api[_-]?key|access[_-]?key|secret|passw(?:or)?d|(?:hf|hub|auth|access|api)[_-]token)[\"']?\s*[:=]\s*\[?[\"']?"
    r"|--(?:api-key|hf-token|password)\s+)(?!None\b|null\b)[^\s\"',\]}]+",
    re.IGNORECASE,
)
"""Within a text such as a line of a log: api_key='VALUE', "api_key": ["VALUE"], --api-key VALUE."""


def redacted(value: object) -> object:
    """The same JSON-like value without its secrets: by key, by the `name` beside a `value` (an environment variable),
    by the option before an argument, or by the form of a text itself."""
    if isinstance(value, Mapping):
        return {key: _of_name(str(key), item) for key, item in _as_variable(value).items()}
    if isinstance(value, str):
        return _NAMED_SECRET.sub(rf"\1{REDACTED}", _SECRET_VALUE.sub(REDACTED, value))
    if isinstance(value, Sequence):
        return _arguments(value)
    return value


def without_password(url: str) -> str:
    """An address as people and logs may see it: who opens it is left out."""
    return re.sub(r"://[^/@]*@", "://", url)


def is_secret_name(name: str) -> bool:
    """HF_TOKEN, OPENAI_API_KEY, --api-key, Authorization; not prompt_tokens, not tokenizer."""
    return _SECRET_NAME.search(name.lstrip("-")) is not None


def _of_name(name: str, value: object) -> object:
    return REDACTED if isinstance(value, str) and value and is_secret_name(name) else redacted(value)


def _as_variable(value: Mapping[object, object]) -> Mapping[object, object]:
    """{"name": "HF_TOKEN", "value": "…"}"""
    name = value.get("name")
    if "value" in value and isinstance(name, str) and is_secret_name(name):
        return {**value, "value": REDACTED}
    return value


def _arguments(items: Sequence[object]) -> list[object]:
    """--api-key VALUE, --api-key=VALUE and HF_TOKEN=VALUE in a command line."""
    found: list[object] = []
    for before, item in zip([None, *items], items, strict=False):
        if isinstance(item, str) and isinstance(before, str) and before.startswith("-") and is_secret_name(before):
            found.append(REDACTED)
        elif isinstance(item, str) and "=" in item and is_secret_name(item.partition("=")[0]):
            found.append(f"{item.partition('=')[0]}={REDACTED}")
        else:
            found.append(redacted(item))
    return found
