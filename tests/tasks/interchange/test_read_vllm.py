"""Results of `vllm bench serve` as trials. Expected values are worked out by hand from the fixture."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.errors import InputError
from experiments.schema.load import ClosedLoop, Constant, Gamma, OpenLoop, Poisson, Trace
from tasks.interchange.read_vllm import ARRAYS, read_vllm
from tasks.interchange.reading import detect, read_trials

File = Callable[..., Path]
S = 1_000_000_000


def rows(path: Path) -> list[dict[str, Any]]:
    return list(read_vllm(path)[0].table.to_pylist())


def test_a_result_is_known_by_its_keys(vllm_file: File) -> None:
    assert detect(vllm_file()) == "vllm"


def test_chunks_come_at_start_ttft_and_gaps(vllm_file: File) -> None:
    first = rows(vllm_file())[0]
    assert first["sent_at_ns"] == 1000 * S
    wanted = [1000 * S + ms * 1_000_000 for ms in (50, 60, 72, 83)]
    assert [abs(at - want) <= 1000 for at, want in zip(first["chunk_at_ns"], wanted, strict=True)] == [True] * 4
    assert first["last_token_at_ns"] == first["chunk_at_ns"][-1]


def test_what_the_file_does_not_tell_is_null(vllm_file: File) -> None:
    for row in rows(vllm_file()):
        for name in ("due_at_ns", "first_byte_at_ns", "cached_tokens", "finish_reason", "status", "stamp"):
            assert row[name] is None, name
        assert row["prompt_tokens_asked"] is None
        assert row["output_tokens_source"] == "unknown"


def test_tokens_of_chunks_are_known_only_where_there_are_as_many_as_chunks(vllm_file: File) -> None:
    four, six, *_ = rows(vllm_file())
    assert (four["output_tokens"], four["chunk_tokens"]) == (4, [1, 1, 1, 1])
    assert (six["output_tokens"], six["chunk_tokens"]) == (6, [None, None, None])


def test_a_role_chunk_may_be_among_those_of_chat(vllm_file: File) -> None:
    trial = read_vllm(vllm_file(backend="openai-chat", endpoint_type="openai-chat"))[0]
    assert trial.workload.endpoint == "chat"
    assert trial.table.to_pylist()[0]["chunk_tokens"] == [None] * 4


def test_an_error_or_no_chunk_is_a_failure(vllm_file: File) -> None:
    found = rows(vllm_file(errors=["", "", "", "", "broken off"]))
    assert [row["outcome"] for row in found] == ["completed"] * 3 + ["failed"] * 2
    assert [len(row["chunk_at_ns"]) for row in found] == [4, 3, 1, 0, 2]
    assert found[3]["error"]
    assert found[4]["error"] == "broken off"
    assert found[4]["end_at_ns"] is None
    assert found[4]["output_tokens"] is None


def test_the_window_is_as_long_as_the_duration(vllm_file: File) -> None:
    assert read_vllm(vllm_file())[0].window == (1000 * S, 1000 * S + 1_500_000_000)
    longest = read_vllm(vllm_file(duration=None))[0].window
    assert longest[1] == pytest.approx(1001.065 * S, abs=1000)


@pytest.mark.parametrize(
    ("changes", "load", "said"),
    [
        ({"max_concurrency": None}, OpenLoop(arrivals=Poisson(), rate_rps=4.0), ""),
        ({}, OpenLoop(arrivals=Poisson(), rate_rps=4.0), "at most 2 requests at once"),
        ({"burstiness": 0.5}, OpenLoop(arrivals=Gamma(shape=0.5), rate_rps=4.0), ""),
        ({"burstiness": math.inf}, OpenLoop(arrivals=Constant(), rate_rps=4.0), ""),
        ({"request_rate": "inf"}, ClosedLoop(concurrency=2), ""),
        (
            {"request_rate": "inf", "max_concurrency": None},
            ClosedLoop(concurrency=5),
            "all requests were let go",
        ),
        (
            {"request_rate": "inf", "ramp_up_strategy": "linear", "ramp_up_start_rps": 1, "ramp_up_end_rps": 9},
            OpenLoop(arrivals=Trace(path="result.json"), rate_rps=None),
            "the rate rose",
        ),
    ],
)
def test_the_load_is_what_was_asked_for(vllm_file: File, changes: dict[str, Any], load: Any, said: str) -> None:
    trial = read_vllm(vllm_file(**changes))[0]
    assert trial.load == load
    assert any(said in unknown for unknown in trial.unknown)


def test_an_appended_file_holds_several_trials(vllm_file: File, tmp_path: Path) -> None:
    one = json.loads(vllm_file().read_text())
    path = tmp_path / "appended.json"
    path.write_text("\n".join(json.dumps(one | {"request_rate": rate}) for rate in (1.0, 2.0, 3.0)))
    loads = [trial.load for trial in read_trials(path)]
    assert loads == [OpenLoop(arrivals=Poisson(), rate_rps=rate) for rate in (1.0, 2.0, 3.0)]


@pytest.mark.parametrize("lost", [ARRAYS, ("ttfts",), ("itls", "latencies")])
def test_a_file_of_summaries_says_what_is_missing_and_what_to_do(vllm_file: File, lost: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=f"lacks {lost[0]}.*--save-detailed"):
        read_vllm(vllm_file(**dict.fromkeys(lost, ...)))


def test_embeddings_have_no_tokens_to_time(vllm_file: File) -> None:
    path = vllm_file(**dict.fromkeys(("ttfts", "itls", "output_lens", "start_times"), ...), total_input_sequences=5)
    with pytest.raises(InputError, match="embeddings"):
        read_vllm(path)


def test_without_gaps_the_last_chunk_comes_from_the_latency(vllm_file: File) -> None:
    trial = read_vllm(vllm_file(itls=...))[0]
    first = trial.table.to_pylist()[0]
    assert first["chunk_at_ns"][1] == pytest.approx(1000.083 * S, abs=1000)
    assert first["chunk_tokens"] == [None, None]
    assert {"itl_ms", "icl_ms", "longest_stall_ms"} <= set(trial.absent)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("{", "line 1 column 2: not JSON"),
        ("[1]", "a JSON object is wanted"),
        ('{"a": 1}', "neither a report of GuideLLM"),
        ('{"model_id": "m", "request_throughput": 1} oops', "line 1 column 44: not JSON"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_trials(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ttfts": [0.1]}, "ttfts: 1 entries, where start_times has 5"),
        ({"itls": [[0.1], None, [], [], [math.nan]]}, r"itls\[4\]: a gap is null"),
        ({"ttfts": [0.1, "x", 0, 0, 0]}, r"ttfts\[1\]: a number is wanted, not 'x'"),
        ({"model_id": 3}, "model_id: a text is wanted"),
        ({"ttfts": [0.1, -0.2, 0, 0, 0]}, r"ttfts\[1\]: -0.2 s is no duration"),
        ({"output_lens": [1, 1, -1, 0, 0]}, r"output_lens\[2\]: -1 is no count"),
        ({"start_times": [1e10, 0, 0, 0, 0]}, r"start_times\[0\]: no time and no count is so large"),
    ],
)
def test_a_field_that_cannot_be_is_named(vllm_file: File, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_vllm(vllm_file(**changes))


def test_fields_of_a_later_vllm_are_let_be(vllm_file: File) -> None:
    assert rows(vllm_file(something_new={"a": [1]}, spec_decode_acceptance_rate=math.nan)) == rows(vllm_file())
