"""Runs under a Python that can import an engine: dumps its parser's options, or parses commands with it.

    python under_engine.py PARSER dump           writes {"options": …, "positionals": …}
    python under_engine.py PARSER parse          reads a JSON list of argument lists, writes a list of "" or an error

It writes one line of JSON after MARK, since engines print while they are imported. Standard library only.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import os
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

MARK = "--- dyno: "


def load(path: str) -> ModuleType:
    """The builder of a parser, by path."""
    spec = importlib.util.spec_from_file_location("dyno_parser", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def dump(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Every option that the parser finds by name: more than each action lists, where a parser adds spellings."""
    spellings: dict[int, list[str]] = {}
    actions: dict[int, argparse.Action] = {}
    for word, action in parser._option_string_actions.items():
        spellings.setdefault(id(action), []).append(word)
        actions[id(action)] = action
    described = {}
    for key, words in spellings.items():
        name = next((word for word in words if word.startswith("--")), words[0])
        described[name] = option(actions[key], sorted(word for word in words if word != name))
    positionals = [action for action in parser._actions if not action.option_strings]
    return {"options": described, "positionals": len(positionals)}


def option(action: argparse.Action, aliases: list[str]) -> dict[str, Any]:
    """One option as tasks/flags/table.py reads it."""
    choices = None if action.choices is None else [plain(choice) for choice in action.choices]
    return {
        "aliases": aliases,
        "default": plain(action.default),
        "choices": choices,
        "takes_value": action.nargs != 0,
        "type": kind_of(action.type),
        "many": action.nargs in ("+", "*") or (isinstance(action.nargs, int) and action.nargs > 1),
        "optional": action.nargs in ("?", "*"),
    }


def plain(value: Any) -> Any:
    """As JSON says it; what belongs to this machine is left out of a text."""
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    return str(value).replace(str(Path.home()), "~") if isinstance(value, str) else type(value).__name__


def kind_of(parse: Any) -> str:
    """int, float or json: the type whose words this parser takes, of those that a table tells apart."""
    if not callable(parse):
        return ""
    if takes(parse, "x!") or takes(parse, "8k"):
        return ""
    if takes(parse, "{}"):
        return "json"
    if not takes(parse, "1"):
        return ""
    return "int" if not takes(parse, "1.5") else "float"


def takes(parse: Callable[[str], object], word: str) -> bool:
    """Whether a parser's type makes anything of a word."""
    try:
        parse(word)
    except (ValueError, TypeError, argparse.ArgumentTypeError, KeyError, AttributeError, AssertionError):
        return False
    return True


def problem(parser: argparse.ArgumentParser, module: ModuleType, arguments: list[str]) -> str:
    """The parser's own last words, or what the engine's configuration says of what was parsed; "" for none."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            flags = parser.parse_args(arguments)
            if hasattr(module, "check"):
                module.check(flags)
    except SystemExit:
        return (said.getvalue().strip().splitlines() or ["the parser ended"])[-1]
    except Exception as error:  # whatever the engine raises is its answer to this command
        return f"{type(error).__name__}: {error}"
    return ""


def main() -> None:
    """The answer goes where the first standard output was, whatever the engine prints."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module = load(sys.argv[1])
    parser = module.parser()
    if sys.argv[2] == "dump":
        said: Any = dump(parser)
    else:
        said = [problem(parser, module, arguments) for arguments in json.load(sys.stdin)]
    answer.write(MARK + json.dumps(said) + "\n")
    answer.flush()


if __name__ == "__main__":
    main()
