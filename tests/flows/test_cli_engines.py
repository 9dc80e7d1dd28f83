"""`dyno engines`: what can be measured, and what differs between two releases."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from engine_adapters import ADAPTERS
from experiments.errors import EXIT_INPUT, InputError
from flows import check_flags
from flows.check_flags import lines_of, releases_of, transcribed_releases
from flows.cli import app
from flows.cli_engines import change_rows
from tasks.flags.report import FlagCheck


def said(*words: str) -> Any:
    done = CliRunner().invoke(app, ["engines", *words, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def test_every_engine_is_listed_with_its_runtimes_and_the_releases_that_were_checked() -> None:
    rows = {row["engine"]: row for row in said()["engines"]}
    assert set(rows) == set(ADAPTERS)
    assert rows["vllm"]["runtimes"] == "environment, container"
    assert "0.33.0" in rows["vllm"]["checked"]


def test_a_difference_says_which_options_are_ours() -> None:
    found = said("--diff", "vllm", "0.32.0", "0.33.0")
    assert (found["engine"], found["old"], found["new"]) == ("vllm", "0.32.0", "0.33.0")
    assert {row["kind"] for row in found["changes"]} <= {"added", "removed", "default", "choices", "aliases"}
    assert all(row["emitted"] == (row["option"] in found["used"]) for row in found["changes"])


def test_ours_come_first_and_of_two_lists_only_what_differs() -> None:
    def row(option: str, kind: str, before: object, after: object, emitted: bool) -> dict[str, object]:
        return {"option": option, "kind": kind, "before": before, "after": after, "emitted": emitted}

    changes = [row("--a", "added", None, 1, False), row("--z", "choices", ["x", "y"], ["y", "w"], True)]
    assert change_rows({"changes": changes}) == [
        {"kind": "choices", "option": "--z", "before": "x", "after": "w", "ours": "yes"},
        {"kind": "added", "option": "--a", "before": "", "after": "1", "ours": ""},
    ]


@pytest.mark.parametrize("words", [("vllm", "0.1.0", "0.33.0"), ("no_engine", "1", "2")])
def test_a_release_or_an_engine_that_is_not_there_is_an_input_error(words: tuple[str, str, str]) -> None:
    done = CliRunner().invoke(app, ["engines", "--diff", *words])
    assert isinstance(done.exception, InputError)
    assert done.exception.exit_code == EXIT_INPUT


def test_the_releases_to_check_are_those_on_file_unless_named() -> None:
    assert ("sglang", "0.5.23") in releases_of([])
    assert not {"tgi", "tensorrt_llm"} & {engine for engine, _ in releases_of([])}
    assert releases_of(["vllm==0.34.0"]) == [("vllm", "0.34.0")]
    with pytest.raises(InputError, match="write engine==version"):
        releases_of(["vllm"])


def test_releases_whose_parser_no_wheel_holds_are_held_against_their_tables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {engine for engine, _ in transcribed_releases()} == {"tensorrt_llm", "mlc_llm", "tgi"}
    monkeypatch.setattr(check_flags, "releases_of", lambda words: [])  # the others need the package index
    assert check_flags.main([]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == ["tensorrt_llm", "mlc_llm", "tgi"]
    assert all(line.endswith("all taken (table)") for line in said)


def test_a_check_is_one_line_where_all_is_well() -> None:
    fine = FlagCheck("vllm", "0.33.0", "real parser", 480, 28, ())
    assert lines_of(fine) == ["vllm 0.33.0: 480 commands with 28 options, all taken (real parser)"]
    bad = FlagCheck("vllm", "0.33.0", "table", 480, 28, (("seed=0", "no option --seed"),))
    assert lines_of(bad)[1:] == ["  seed=0: no option --seed"]
