"""`dyno load --turns`: conversations from the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from experiments.errors import InputError
from experiments.schema.load import OpenLoop, Trace
from flows.cli import app
from flows.cli_load import conversation_of
from tasks.loadgen.record import read_records
from tests.fake_engine import FakeEngine

ASKED = ("--prompt-tokens", "8", "--output-tokens", "4", "--requests", "10", "--concurrency", "2")


def load(engine: FakeEngine, *options: str) -> str:
    result = CliRunner().invoke(app, ["load", engine.url, "--model", "fake:says-which", *ASKED, *options])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_turns_and_think_time_are_what_the_server_sees(tmp_path: Path) -> None:
    with FakeEngine() as engine:
        out = load(engine, "--turns", "4", "--think-seconds", "0.05", "--json", "--out", str(tmp_path))
    document: dict[str, Any] = json.loads(out)
    assert document["requests"] == 10
    assert [turn["requests"] for turn in document["turns"]] == [3, 3, 2, 2]
    rows = read_records(tmp_path / "requests.parquet").to_pylist()
    ends = {(row["conversation"], row["turn"]): row["end_at_ns"] for row in rows}
    later = [row for row in rows if row["turn"]]
    thought = [row["due_at_ns"] - ends[row["conversation"], row["turn"] - 1] for row in later]
    assert thought == [50_000_000] * 7


def test_without_turns_nothing_is_said_of_them() -> None:
    with FakeEngine() as engine:
        document = json.loads(load(engine, "--json"))
        table = load(engine)
    assert document["turns"] == []
    assert "prompt tokens" not in table


def test_a_trace_has_no_conversations() -> None:
    load = OpenLoop(arrivals=Trace(path="x.csv"), rate_rps=None)
    with pytest.raises(InputError, match="not with --trace"):
        conversation_of(load, 2, None)


def test_a_think_time_without_turns_is_an_input_error() -> None:
    with FakeEngine() as engine, pytest.raises(InputError, match="--think-seconds goes with --turns"):
        load(engine, "--think-seconds", "1")
