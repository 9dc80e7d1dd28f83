"""Traces keep their timestamps and lengths, whichever of the known column names they bear."""

from pathlib import Path

import pytest

from engine_adapters.base import RequestDialect
from experiments.errors import InputError
from experiments.schema.load import OpenLoop, StopRule, Trace
from experiments.schema.workload import Workload
from tasks.loadgen.plan import Endpoint, TrialPlan
from tasks.loadgen.schedule import Schedule, make_schedule
from tasks.loadgen.trace import read_trace

MOONCAKE = """\
{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]}
{"timestamp": 30535, "input_length": 6472, "output_length": 26, "hash_ids": [46]}

{"timestamp": 30535, "input_length": 1, "output_length": 3, "hash_ids": []}
"""
AZURE = """\
TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,3180,8
2023-11-16 18:17:13.0,110,27
"""


def write(folder: Path, text: str) -> str:
    path = folder / "trace"
    path.write_text(text)
    return str(path)


def schedule(path: str, stop: StopRule) -> Schedule:
    load = OpenLoop(arrivals=Trace(path=path), rate_rps=None)
    workload = Workload(name="w", prompt_tokens=5, output_tokens=6)
    return make_schedule(TrialPlan(Endpoint("http://h", "m"), RequestDialect(), workload, load, stop))


def columns(text: str, folder: Path) -> tuple[list[int], list[int] | None, list[int] | None]:
    trace = read_trace(write(folder, text))
    prompt, output = trace.prompt_tokens, trace.output_tokens
    return (
        trace.due_ns.tolist(),
        None if prompt is None else prompt.tolist(),
        None if output is None else output.tolist(),
    )


def test_mooncake_traces_count_milliseconds(tmp_path: Path) -> None:
    assert columns(MOONCAKE, tmp_path) == ([0, 3_053_000_000, 3_053_000_000], [6955, 6472, 1], [52, 26, 3])


def test_azure_traces_have_dates_of_seven_decimals(tmp_path: Path) -> None:
    assert columns(AZURE, tmp_path) == ([0, 52_000_000, 9_020_040_000], [4808, 3180, 110], [10, 8, 27])


def test_a_byte_order_mark_and_seconds_are_read(tmp_path: Path) -> None:
    text = "\ufefftimestamp_s,prompt_tokens,output_tokens\n10.5,1,2\n10,3,4\n"
    assert columns(text, tmp_path) == ([0, 500_000_000], [3, 1], [4, 2])


def test_a_trace_without_lengths_takes_the_workloads(tmp_path: Path) -> None:
    path = write(tmp_path, '{"timestamp": 0}\n{"timestamp": 5}\n')
    made = schedule(path, StopRule(requests=2))
    assert (made.prompt_tokens.tolist(), made.output_tokens.tolist()) == ([5, 5], [6, 6])


def test_a_trace_is_cut_by_requests_or_seconds_and_never_stretched(tmp_path: Path) -> None:
    path = write(tmp_path, MOONCAKE)
    assert [schedule(path, stop).count for stop in (StopRule(requests=1), StopRule(seconds=3.0))] == [1, 1]
    assert schedule(path, StopRule(seconds=100)).count == 3
    with pytest.raises(InputError, match="3 requests, 4 were asked for"):
        schedule(path, StopRule(requests=4))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no requests"),
        ("a,b\n1,2\n", "no column of timestamps; there are a, b"),
        ('{"timestamp": 1}\n{"timestamp"\n', "line 2: not JSON"),
        ('{"timestamp": 1}\n[1]\n', "line 2: a JSON object"),
        ('{"timestamp": "soon"}\n', "request 1: timestamp: 'soon' cannot be read"),
        ("timestamp,input_length\n1,5\n2,0\n", "request 2: input_length: '0' cannot be read"),
        ("timestamp,input_length\n1\n", "request 1: input_length: None cannot be read"),
        ("TIMESTAMP\nyesterday\n", "request 1: TIMESTAMP: 'yesterday' cannot be read"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        read_trace(write(tmp_path, text))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(InputError, match="no-such-file"):
        read_trace("no-such-file")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"timestamp": 1e400}\n', "timestamp: inf cannot be read"),
        ('{"timestamp": 1e30}\n', "a timestamp lies within a century"),
        ('{"timestamp": 1, "input_length": 1e400}\n', "input_length: inf cannot be read"),
        ('[{"timestamp": 1}]\n', "is one JSON array; a trace has one object a line"),
    ],
)
def test_numbers_that_no_clock_has_are_told_with_their_place(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        read_trace(write(tmp_path, text))
