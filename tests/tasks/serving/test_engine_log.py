"""What engines say, at a bearable rate."""

import contextvars
from pathlib import Path

from tasks.serving.engine_log import engine_logs_told

RUN: contextvars.ContextVar[str] = contextvars.ContextVar("run", default="none")


def test_only_the_last_lines_of_a_flood_are_told_and_the_rest_is_counted(tmp_path: Path) -> None:
    said: list[str] = []
    with engine_logs_told(tmp_path, "*.log", said.append, every_s=60, most_lines=3):
        (tmp_path / "v-1.log").write_text("".join(f"line {n}\n" for n in range(10)))
    assert said == ["… 7 lines more in v-1.log", "line 7", "line 8", "line 9"]


def test_what_was_there_before_is_not_told_nor_is_another_variants_log(tmp_path: Path) -> None:
    said: list[str] = []
    old = tmp_path / "v-1.log"
    old.write_text("of an earlier launch\n")
    with engine_logs_told(tmp_path, "v-*.log", said.append, every_s=60):
        old.write_text("of an earlier launch\nloading\nhalf a li")
        (tmp_path / "w-1.log").write_text("another's\n")
    assert said == ["loading"]


def test_secrets_are_not_told_and_long_lines_are_cut(tmp_path: Path) -> None:
    said: list[str] = []
    with engine_logs_told(tmp_path, "*.log", said.append, every_s=60):
        (tmp_path / "v-1.log").write_text("api_key='s3cret-word'\n" + 9999 * "x" + "\n")
    assert "s3cret" not in " ".join(said)
    assert len(said[1]) < 1000


def test_a_line_is_told_in_the_context_of_the_run_that_it_belongs_to(tmp_path: Path) -> None:
    runs: list[str] = []
    token = RUN.set("mine")
    with engine_logs_told(tmp_path, "*.log", lambda _line: runs.append(RUN.get()), every_s=60):
        (tmp_path / "v-1.log").write_text("loading\n")
    RUN.reset(token)
    assert runs == ["mine"]
