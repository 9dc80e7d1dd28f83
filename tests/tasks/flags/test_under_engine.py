"""What runs under an engine's Python: a parser's options as a table, its words against a command."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engine_adapters import ADAPTERS
from engine_adapters.base import OptionSource
from experiments.errors import BuildError
from tasks.flags import parsers
from tasks.flags.parsers import RealParser

TOY = """
import argparse, enum, json

class Level(enum.IntEnum):
    LOW = 1

def parser():
    print("an engine says much while it is imported")
    built = argparse.ArgumentParser(prog="toy", allow_abbrev=False)
    built.add_argument("model")
    built.add_argument("--port", "-p", type=int, default=8000)
    built.add_argument("--share", type=float)
    built.add_argument("--level", type=Level, default=Level.LOW)
    built.add_argument("--config", type=json.loads)
    built.add_argument("--names", nargs="+", choices=["a", "b"])
    built.add_argument("--eager", action=argparse.BooleanOptionalAction)
    return built

def check(flags):
    if flags.port == 1:
        raise ValueError("port: 1 is the system's")
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RealParser:
    monkeypatch.setattr(parsers, "PARSERS", tmp_path)
    (tmp_path / "mlx_lm.py").write_text(TOY)
    adapter = ADAPTERS["mlx_lm"]
    source = OptionSource(("{python}", "-m", "toy"), "toy", ())
    return RealParser(replace(adapter, option_source=source), "1.0", Path(sys.executable), tmp_path, "toy.whl", "00")


def test_a_table_holds_what_the_parser_takes(toy: RealParser) -> None:
    table = toy.table()
    assert (table.program, table.positionals, table.source["wheel"]) == ("-m toy", 1, "toy.whl")
    port, eager = table.options["--port"], table.options["--eager"]
    assert (port.aliases, port.default, port.type) == (("-p",), 8000, "int")
    assert (eager.aliases, eager.takes_value) == (("--no-eager",), False)
    assert (table.options["--share"].type, table.options["--config"].type) == ("float", "json")
    assert (table.options["--names"].many, table.options["--names"].choices) == (True, ("a", "b"))
    assert table.options["--level"].default == 1


def test_the_parser_and_then_the_configuration_have_their_say(toy: RealParser) -> None:
    commands = [["{model}", "--port", "{port}"], ["m", "--what"], ["m", "-p", "1"]]
    fine, unknown, refused = toy.problems(commands)
    assert fine == ""
    assert "unrecognized arguments: --what" in unknown
    assert refused == "ValueError: port: 1 is the system's"


def test_a_parser_that_cannot_be_built_says_why(toy: RealParser, tmp_path: Path) -> None:
    (tmp_path / "mlx_lm.py").write_text("import no_such_engine")
    with pytest.raises(BuildError) as raised:
        toy.table()
    assert "no_such_engine" in raised.value.log_excerpt
