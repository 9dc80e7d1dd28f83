"""Reference texts as token ids, by the model's own tokenizer: every variant is scored on the same tokens."""

from collections.abc import Sequence
from pathlib import Path

from tasks.quality.unavailable import Unavailable


def token_ids(texts: Sequence[str], folder: Path | None, *, most: int) -> list[list[int]]:
    """Of each text the first `most` ids, special tokens as the tokenizer adds them. Raises Unavailable."""
    file = folder / "tokenizer.json" if folder else None
    if file is None or not file.exists():
        raise Unavailable("there is no tokenizer.json of the model here, so that its texts have no known tokens")
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise Unavailable("texts are split with the package `tokenizers`: pip install 'llm-dyno[llama-cpp]'") from error
    tokenizer = Tokenizer.from_file(str(file))
    return [list(tokenizer.encode(text).ids[:most]) for text in texts]
