"""A difference between two releases says what changed, and which of it is ours."""

from pathlib import Path

import pytest

from engine_adapters import ADAPTERS
from experiments.errors import InputError
from tasks.flags.emitted import emitted_commands
from tasks.flags.report import check_by_parser, check_by_table, difference
from tasks.flags.table import Option, OptionTable, read_table, write_table

VLLM = ADAPTERS["vllm"]


def test_what_we_emit_is_marked_by_any_of_its_spellings() -> None:
    found = difference(VLLM, "0.32.0", "0.33.0")
    rows = {(row["option"], row["kind"]): row for row in found["changes"]}
    spelled = rows["--enable-prefix-caching", "aliases"]
    assert spelled["emitted"]
    assert "--disable-prefix-caching" in set(spelled["after"]) - set(spelled["before"])
    assert "--enable-prefix-caching" in found["used"]
    assert found["sources"]["before"]["wheel"].startswith("vllm-0.32.0")


def test_a_release_without_a_table_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"no option table of vllm 0\.1\.0; there are: .*0\.33\.0"):
        difference(VLLM, "0.1.0", "0.33.0")


def test_an_option_that_went_away_is_a_problem_of_each_command_that_says_it(tmp_path: Path) -> None:
    table = read_table("vllm", "0.33.0")
    left = {name: option for name, option in table.options.items() if name != "--gpu-memory-utilization"}
    write_table(OptionTable("vllm", "0.34.0", table.program, table.source, left, table.positionals), tmp_path)
    found = check_by_table(VLLM, "0.34.0", tmp_path)
    assert {said for _, said in found.problems} == {f"{table.program} 0.34.0 has no option --gpu-memory-utilization"}
    assert all("gpu_memory_fraction" in changed for changed, _ in found.problems)


def test_a_value_that_is_no_longer_a_choice_is_a_problem(tmp_path: Path) -> None:
    table = read_table("sglang", "0.5.23")
    changed = table.options | {"--load-format": Option(choices=("auto", "bitsandbytes"))}
    write_table(OptionTable("sglang", "0.6.0", table.program, table.source, changed), tmp_path)
    (said,) = {said for _, said in check_by_table(ADAPTERS["sglang"], "0.6.0", tmp_path).problems}
    assert said.endswith("--load-format takes auto, bitsandbytes, not dummy")


def test_the_real_parsers_words_are_kept_beside_what_was_changed() -> None:
    commands = emitted_commands(VLLM, "0.33.0")
    found = check_by_parser(VLLM, "0.33.0", ["", "unrecognized", *[""] * (len(commands) - 2)])
    assert found.problems == ((commands[1].changed, "unrecognized"),)
