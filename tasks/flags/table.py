"""An option table: what the parser of one engine's release takes, small enough to be kept in the repository."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from experiments.errors import InputError

TABLES = Path(__file__).parent / "tables"

STRICT = ConfigDict(extra="forbid")

PARSERS: Mapping[str, Callable[[str], object]] = {"int": int, "float": float, "json": json.loads}
"""Types of values that a parser refuses some words for."""


@checked(frozen=True, slots=True, config=STRICT)
class Option:
    """One option. `choices` of None: any value. `type` is what the parser makes of a value where that can fail: int,
    float or json; "" says nothing. `many` takes one value or more, `optional` one or none."""

    aliases: tuple[str, ...] = ()
    default: Any = None
    choices: tuple[Any, ...] | None = None
    takes_value: bool = True
    type: str = ""
    many: bool = False
    optional: bool = False


@checked(frozen=True, slots=True, config=STRICT)
class OptionTable:
    """The options of `program` by name. `source` says where they are from: the file and sha256 of the wheel whose
    parser was asked (`wheel`, `sha256`), or `transcribed_from`: repository@commit and path of the source.
    `positionals` is how many words may stand without an option."""

    engine: str
    version: str
    program: str
    source: dict[str, str]
    options: dict[str, Option]
    positionals: int = 0

    def problems(self, arguments: Sequence[str]) -> list[str]:
        """What this parser would not take of the arguments that follow `program`. A `{placeholder}` is any value."""
        names = {alias: name for name, option in self.options.items() for alias in (name, *option.aliases)}
        found, loose = [], 0
        for flag, values in _groups(arguments):
            if not flag:
                loose += len(values)
            elif flag not in names:
                found.append(f"{self.program} {self.version} has no option {flag}")
            else:
                wrong, left = _value_problems(flag, self.options[names[flag]], values)
                found += [f"{self.program} {self.version}: {one}" for one in wrong]
                loose += left
        if loose > self.positionals:
            found.append(f"{self.program} {self.version} takes {self.positionals} words without an option, not {loose}")
        return found


def _groups(arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each option with the words that follow it; words before the first one have the option ""."""
    flag, values = "", list[str]()
    for word in arguments:
        if not word.startswith("-") or _is_number(word) or word == "-":
            values.append(word)
            continue
        yield flag, values
        flag, sign, value = word.partition("=")
        values = [value] if sign else []
    yield flag, values


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _value_problems(flag: str, option: Option, values: list[str]) -> tuple[list[str], int]:
    """What is wrong, and how many of the words are not this option's own."""
    if not option.takes_value:
        return [], len(values)
    if not values and not option.optional:
        return [f"{flag} wants a value"], 0
    own = values if option.many else values[:1]
    return [wrong for value in own if (wrong := _problem(flag, option, value))], len(values) - len(own)


def _problem(flag: str, option: Option, value: str) -> str:
    if value.startswith("{") and value.endswith("}") and value[1:-1].isidentifier():
        return ""
    if option.choices is not None and value not in map(str, option.choices):
        return f"{flag} takes {', '.join(map(str, option.choices))}, not {value}"
    try:
        PARSERS.get(option.type, str)(value)
    except ValueError:
        return f"{flag} takes {option.type}, not {value}"
    return ""


_READER: TypeAdapter[OptionTable] = TypeAdapter(OptionTable)


def table_path(engine: str, version: str, folder: Path = TABLES) -> Path:
    """Where the table of a release lies, or would lie."""
    return folder / f"{engine}-{version}.json"


def read_table(engine: str, version: str, folder: Path = TABLES) -> OptionTable:
    """Raises InputError where there is none, with those that there are."""
    path = table_path(engine, version, folder)
    if not path.exists():
        there = ", ".join(known_versions(engine, folder)) or "none"
        raise InputError(
            f"there is no option table of {engine} {version}; there are: {there}. "
            "`make check-flags RELEASES=ENGINE==VERSION` makes one of a release whose wheel holds its parser; "
            "others are transcribed from its source (tasks/flags/README.md)"
        )
    try:
        return _READER.validate_json(path.read_bytes())
    except ValidationError as error:
        raise InputError(f"{path.name} is no option table: {error.errors()[0]['msg']}") from None


def known_versions(engine: str, folder: Path = TABLES) -> list[str]:
    """The releases of an engine that have a table, oldest first."""
    versions = [path.stem.removeprefix(f"{engine}-") for path in folder.glob(f"{engine}-*.json")]
    return sorted(versions, key=_order)


def _order(version: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in version.replace("-", ".").split(".")]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two releases: `kind` is added, removed, default, choices or aliases."""

    option: str
    kind: str
    before: Any
    after: Any


def changes(old: OptionTable, new: OptionTable) -> list[Change]:
    """What differs, by option; one that is in both can differ in more than one way."""
    gone = [Change(name, "removed", old.options[name].default, None) for name in old.options.keys() - new.options]
    come = [Change(name, "added", None, new.options[name].default) for name in new.options.keys() - old.options]
    kept = [
        Change(name, kind, getattr(old.options[name], kind), getattr(new.options[name], kind))
        for name in old.options.keys() & new.options
        for kind in ("default", "choices", "aliases")
        if getattr(old.options[name], kind) != getattr(new.options[name], kind)
    ]
    return sorted([*gone, *come, *kept], key=lambda change: (change.option, change.kind))


def write_table(table: OptionTable, folder: Path = TABLES) -> Path:
    """Sorted, written aside and renamed."""
    path = table_path(table.engine, table.version, folder)
    folder.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".partial")
    body = _READER.dump_python(table, mode="json", exclude_defaults=True)
    body["options"] = dict(sorted(body["options"].items()))
    lines = ",\n  ".join(f"{json.dumps(name)}: {json.dumps(option)}" for name, option in body.pop("options").items())
    head = json.dumps(body, indent=1).removesuffix("\n}")
    aside.write_text(f'{head},\n "options": {{\n  {lines}\n }}\n}}\n')
    aside.rename(path)
    return path
