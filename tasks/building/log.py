"""What a tool's own log says of its build."""

import re
from pathlib import Path

LAST_BYTES = 4 * 2**20


def log_end(log: Path, lines: int = 40) -> str:
    """The last lines."""
    return "\n".join(_text(log).splitlines()[-lines:])


def told_seconds(log: Path, pattern: str) -> float | None:
    """What the last match says, as seconds or as hours, minutes and seconds; None where nothing matches."""
    said = _last(log, pattern)
    return None if said is None else float(sum(float(part) * 60**i for i, part in enumerate(said.split(":")[::-1])))


def told_bytes(log: Path, pattern: str) -> int | None:
    """The largest amount that it says, such as `18130.59 MB` (of 2^20 bytes); None where nothing matches."""
    units = {"KB": 2**10, "MB": 2**20, "GB": 2**30, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
    said = [match[1].split() for match in re.finditer(pattern, _text(log))] if pattern else []
    return max((round(float(number) * units[unit]) for number, unit in said if unit in units), default=None)


def _last(log: Path, pattern: str) -> str | None:
    found = list(re.finditer(pattern, _text(log))) if pattern else []
    return found[-1][1] if found else None


def _text(log: Path) -> str:
    """Its end: a long log says such things last."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LAST_BYTES))
            return file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
