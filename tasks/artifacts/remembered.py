"""Small JSON files of the store that only save time: a missing or broken one is an empty one."""

import json
import secrets
from pathlib import Path


def recall(path: Path) -> dict[str, str]:
    """What was remembered."""
    try:
        return {str(name): str(value) for name, value in json.loads(path.read_bytes()).items()}
    except (OSError, ValueError, AttributeError):
        return {}


def remember(path: Path, values: dict[str, str]) -> None:
    """Written aside and renamed; of two writers at once the last one wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    aside.write_text(json.dumps(values, indent=0, sort_keys=True), encoding="utf-8")
    aside.replace(path)
