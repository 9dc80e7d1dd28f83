"""Calibration data: a text with a name, and how much of it is looked at."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import QuantizationError

SEQUENCES, TOKENS = 64, 512


@dataclass(frozen=True, slots=True)
class Calibration:
    """The first `sequences` × `tokens` tokens of `text`, of whichever model's tokenizer."""

    name: str
    text: str
    sequences: int = SEQUENCES
    tokens: int = TOKENS

    def identity(self) -> dict[str, Any]:
        """For the key and the record: which data, by its content, and how much of it."""
        digest = hashlib.sha256(self.text.encode()).hexdigest()
        return {"name": self.name, "sha256": digest, "sequences": self.sequences, "tokens": self.tokens}


def read_calibration(path: Path) -> Calibration:
    """A text file as it is, or the `text` of each line of a .jsonl file. Raises QuantizationError."""
    try:
        content = path.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise QuantizationError(f"{path}: calibration data cannot be read: {error}") from error
    text = _texts(path, content) if path.suffix == ".jsonl" else content
    return Calibration(path.name, text)


def _texts(path: Path, content: str) -> str:
    found = []
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            try:
                found.append(str(json.loads(line)["text"]))
            except (ValueError, KeyError, TypeError) as error:
                raise QuantizationError(f"{path}: line {number} is no JSON object with a `text`") from error
    return "\n\n".join(found)
