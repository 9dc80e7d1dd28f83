"""The document inside the page: JSON, deflated, in base64. A browser unpacks it by itself."""

import base64
import json
import zlib
from typing import Any


def packed(document: dict[str, Any]) -> str:
    """Text without a character that HTML minds."""
    body = json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return base64.b64encode(zlib.compress(body.encode(), 9)).decode("ascii")


def unpacked(text: str) -> dict[str, Any]:
    """The document of `packed`."""
    document: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(text)))
    return document
