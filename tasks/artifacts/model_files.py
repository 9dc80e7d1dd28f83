"""Which files of a model's folder or repository count: those that an engine may read, and no others."""

import json
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from experiments.errors import DownloadError

BESIDE_WEIGHTS = ("*.json", "*.jinja", "*.model", "*.tiktoken", "*.py", "merges.txt", "vocab.txt")
"""Configuration, tokenizer, chat template, code that a model brings along. Not *.bin, *.pth, images or readme files."""

NEVER = ("trainer_state.json", "adapter_config.json")

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json")

INDEX = "model.safetensors.index.json"


def needed_files(names: Iterable[str]) -> list[str]:
    """Of the top folder only: `original/` and the like hold the same weights once more. Where there are
    model*.safetensors, other safetensors (consolidated, adapters) are too many."""
    top = sorted(name for name in names if "/" not in name and name not in NEVER)
    weights = [name for name in top if name.endswith(".safetensors")]
    main = [name for name in weights if name.startswith("model")]
    beside = [name for name in top if any(fnmatchcase(name, pattern) for pattern in BESIDE_WEIGHTS)]
    return sorted(beside + (main or weights))


def lacking(names: Iterable[str]) -> list[str]:
    """What no model can do without, in words."""
    names = set(names)
    lacks = [] if "config.json" in names else ["config.json"]
    if not any(name.endswith(".safetensors") for name in names):
        lacks.append("any *.safetensors file")
    if names.isdisjoint(TOKENIZERS):
        lacks.append(f"a tokenizer ({', '.join(TOKENIZERS)})")
    return lacks


def lacking_shards(folder: Path) -> list[str]:
    """Those that the index names and the folder does not have."""
    index = folder / INDEX
    if not index.is_file():
        return []
    try:
        shards = set(json.loads(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, AttributeError) as error:
        raise DownloadError(f"{index} cannot be understood: {error!r}") from error
    return sorted(name for name in shards if not (folder / name).is_file())


def read_config(folder: Path) -> dict[str, Any] | None:
    """config.json; None where there is none that can be understood."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) else None


def context_length(folder: Path) -> int | None:
    """The tokens that a model was made for, by config.json; None where that does not say."""
    config = read_config(folder)
    for part in (config, config.get("text_config")) if config else ():
        length = part.get("max_position_embeddings") if isinstance(part, dict) else None
        if type(length) is int and length > 0:
            return length
    return None
