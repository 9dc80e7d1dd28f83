"""How every stand-in begins: it says what it is, and takes only what the real program's parser takes."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tasks.flags.table import read_table

HELD_S = 600.0


def say(text: str) -> None:
    print(text, flush=True)


def begin(
    engine: str,
    version: str,
    arguments: Sequence[str],
    *,
    does: str = "compiles nothing",
    refusal: str = "error: argument refused",
) -> dict[str, str]:
    """The options as given, by the parser's own names for them; the words without one as "0", "1", … An argument that
    the real parser does not take ends it, with status 2 as there, after the `refusal` in that parser's words."""
    table = read_table(engine, version)
    say(f"STAND-IN for {table.program} {version}: it checks its arguments, and {does}")
    for problem in (problems := table.problems(arguments)):
        say(f"{refusal}: {problem}")
    if problems:
        sys.exit(2)
    if failing := os.environ.get("STAND_IN_FAILS"):
        say(failing)
        sys.exit(1)
    names = {alias: name for name, option in table.options.items() for alias in (name, *option.aliases)}
    given: dict[str, str] = {}
    words = list(arguments)
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            given[str(sum(key.isdigit() for key in given))] = word
        elif table.options[names[word]].takes_value:
            given[names[word]] = words.pop(0)
        else:
            given[names[word]] = ""
    return given


def write(path: Path, content: str) -> None:
    """Half of it, then the rest, so that a kill in between leaves a half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        file.write(content[: len(content) // 2])
        file.flush()
        say(f"STAND-IN writes {path.name}")
        time.sleep(HELD_S if os.environ.get("STAND_IN_HOLDS_AT") == path.name else 0)
        time.sleep(float(os.environ.get("STAND_IN_SLEEP_S", "0")))
        file.write(content[len(content) // 2 :])
