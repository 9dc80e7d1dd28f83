"""An option table knows what its parser takes."""

import argparse
import contextlib
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.errors import InputError
from tasks.flags.table import TABLES, Change, Option, OptionTable, changes, known_versions, read_table, write_table

OPTIONS = {
    "--port": Option(default=8000, type="int"),
    "--dtype": Option(aliases=("-d",), default="auto", choices=("auto", "half")),
    "--eager": Option(aliases=("--no-eager",), default=False, takes_value=False),
    "--names": Option(many=True),
    "--config": Option(type="json"),
}


def table(version: str = "1.0", **changed: Option) -> OptionTable:
    options = OPTIONS | {f"--{name}": option for name, option in changed.items()}
    return OptionTable("toy", version, "toy serve", {"wheel": "toy.whl"}, options, positionals=1)


def real_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--port", type=int)
    parser.add_argument("--dtype", "-d", choices=("auto", "half"))
    parser.add_argument("--eager", action=argparse.BooleanOptionalAction)
    parser.add_argument("--names", nargs="+")
    return parser


WORDS = ("m", "--port", "80", "x", "--port=9", "--dtype", "half", "-d", "--eager", "--no-eager", "--names", "--what")


@given(st.lists(st.sampled_from(WORDS), max_size=5))
def test_it_takes_what_argparse_takes(words: list[str]) -> None:
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
        real_parser().parse_args(words)
    assert bool(table().problems(words)) == bool(said.getvalue()), said.getvalue()


def test_a_placeholder_is_any_value_and_a_value_is_of_its_type() -> None:
    assert table().problems(["{model}", "--port", "{port}", "--config", '{"a": 1}']) == []
    assert table().problems(["--config", "{a", "--dtype", "int3"]) == [
        "toy serve 1.0: --config takes json, not {a",
        "toy serve 1.0: --dtype takes auto, half, not int3",
    ]


def test_it_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    write_table(table(), tmp_path)
    assert read_table("toy", "1.0", tmp_path) == table()


def test_a_table_that_is_not_there_is_an_input_error_that_names_those_that_are(tmp_path: Path) -> None:
    for version in ("0.10.0", "0.9.0", "0.10.0rc1"):
        write_table(table(version), tmp_path)
    assert known_versions("toy", tmp_path) == ["0.9.0", "0.10.0rc1", "0.10.0"]
    with pytest.raises(InputError, match=r"0\.9\.0, 0\.10\.0rc1, 0\.10\.0\. `make check-flags "):
        read_table("toy", "2.0", tmp_path)


def test_a_file_that_is_no_table_says_so(tmp_path: Path) -> None:
    (tmp_path / "toy-1.0.json").write_text('{"engine": "toy"}')
    with pytest.raises(InputError, match=r"toy-1\.0\.json is no option table"):
        read_table("toy", "1.0", tmp_path)


def test_changes_between_two_releases_are_named() -> None:
    new = table("2.0", port=Option(default=9000, type="int"), fresh=Option(default=1))
    del new.options["--names"]
    assert changes(table(), new) == [
        Change("--fresh", "added", None, 1),
        Change("--names", "removed", None, None),
        Change("--port", "default", 8000, 9000),
    ]


@pytest.mark.parametrize("path", sorted(TABLES.glob("*.json")), ids=lambda path: path.stem)
def test_every_shipped_table_is_read_and_says_where_it_is_from(path: Path) -> None:
    engine, _, version = path.stem.partition("-")
    read = read_table(engine, version)
    assert (read.engine, read.version) == (engine, version)
    assert {"wheel", "sha256"} <= set(read.source) or "transcribed_from" in read.source
    assert read.options
