"""How long the phases of a start took, as the server's own log tells it."""

import re
from collections.abc import Mapping
from pathlib import Path

from engine_adapters.base import BetweenLines

START_OF_LOG_BYTES = 4 * 2**20
PHASES = ("weights", "compile", "capture")


def start_phases(patterns: Mapping[str, str | BetweenLines], log: Path) -> tuple[dict[str, float], dict[str, str]]:
    """Seconds by phase, and why a phase has none. Of several lines that tell the same phase (one a worker) the longest
    counts: the start waits for it."""
    try:
        with log.open("rb") as file:
            text = file.read(START_OF_LOG_BYTES).decode("utf-8", "replace")
    except OSError:
        return {}, dict.fromkeys(PHASES, "there is no log of its server")
    found = {name: _seconds(patterns[name], text) for name in PHASES if name in patterns}
    reasons = dict.fromkeys(PHASES, "no line of this engine's log is known to tell it")
    reasons |= dict.fromkeys(found, "no line of its log tells it: it did not do it, or says it in other words")
    told = {name: seconds for name, seconds in found.items() if seconds is not None}
    return told, {name: reason for name, reason in reasons.items() if name not in told}


def _seconds(pattern: str | BetweenLines, text: str) -> float | None:
    if isinstance(pattern, str):
        return max((float(match[1]) for match in re.finditer(pattern, text, re.MULTILINE)), default=None)
    begin = re.search(pattern.begin, text, re.MULTILINE)
    end = re.search(pattern.end, text[begin.end() :], re.MULTILINE) if begin else None
    return round(_clock(end) - _clock(begin), 6) if begin and end else None


def _clock(match: re.Match[str]) -> float:
    """The time of a line, in seconds."""
    told = match.groupdict()
    hours, minutes, seconds = (int(told.get(name) or 0) for name in ("hours", "minutes", "seconds"))
    fraction = re.sub(r"\D", "", told.get("fraction") or "")
    return 3600 * hours + 60 * minutes + seconds + (float(f"0.{fraction}") if fraction else 0.0)
