"""What a check of flags found, and what differs between two releases, for people and for programs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine_adapters.base import EngineAdapter
from tasks.flags.emitted import emitted_commands, emitted_options
from tasks.flags.table import TABLES, changes, read_table


@dataclass(frozen=True, slots=True)
class FlagCheck:
    """The commands that an adapter emits for a release, held against its `parser` (real, or its table).
    `problems` are (fields that were changed, what the parser says)."""

    engine: str
    version: str
    parser: str
    commands: int
    options: int
    problems: tuple[tuple[str, str], ...]


def check_by_table(adapter: EngineAdapter, version: str, folder: Path = TABLES) -> FlagCheck:
    """Needs nothing but the repository. Raises InputError where there is no table."""
    table = read_table(adapter.name, version, folder)
    commands = emitted_commands(adapter, version)
    own = tuple(table.program.split())
    problems = tuple((one.changed, found) for one in commands for found in table.problems(_after(own, one.arguments)))
    options = emitted_options(adapter, version)
    return FlagCheck(adapter.name, version, "table", len(commands), len(options), problems)


def _after(program: tuple[str, ...], arguments: tuple[str, ...]) -> tuple[str, ...]:
    """Without the program's own words, which an adapter that names no source of its options leaves in."""
    return arguments[len(program) :] if arguments[: len(program)] == program else arguments


def check_by_parser(adapter: EngineAdapter, version: str, said: Sequence[str]) -> FlagCheck:
    """`said` is what the real parser answered to `emitted_commands`, in order."""
    commands = emitted_commands(adapter, version)
    problems = tuple((one.changed, found) for one, found in zip(commands, said, strict=True) if found)
    options = emitted_options(adapter, version)
    return FlagCheck(adapter.name, version, "real parser", len(commands), len(options), problems)


def difference(adapter: EngineAdapter, old: str, new: str, folder: Path = TABLES) -> dict[str, Any]:
    """What changed on the command line from one release to another. `emitted` marks what our adapter uses, `used` says
    it again as the list that a person looks at first."""
    before, after = read_table(adapter.name, old, folder), read_table(adapter.name, new, folder)
    ours = emitted_options(adapter, old) | emitted_options(adapter, new)
    names = {alias: name for table in (before, after) for name, one in table.options.items() for alias in one.aliases}
    ours |= {names[word] for word in ours if word in names}
    rows = [asdict(change) | {"emitted": change.option in ours} for change in changes(before, after)]
    sources = {"before": before.source, "after": after.source}
    used = sorted({str(row["option"]) for row in rows if row["emitted"]})
    return {"engine": adapter.name, "old": old, "new": new, "sources": sources, "used": used, "changes": rows}
