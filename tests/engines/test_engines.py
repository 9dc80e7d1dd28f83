"""What holds of every real engine: the instrument asks exactly, its workarounds are proved, failures have names."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from experiments.errors import ServerDied
from experiments.schema.load import ClosedLoop, StopRule
from tasks.loadgen.plan import Progress, TrialPlan
from tasks.loadgen.preflight import run_preflight
from tasks.loadgen.record import read_records
from tasks.loadgen.trial import run_trial
from tasks.serving.lease import session_members
from tests.engines.launching import SHORT_PROMPT, Running, Spoken

Row = dict[str, Any]

ENDINGS: dict[str, Row] = {
    "llama_cpp": {"ignore_eos": True, "min_tokens": False, "exact_output_by": None},
    "mlx_lm": {"ignore_eos": False, "min_tokens": False, "exact_output_by": "logit_bias"},
    "transformers_serve": {"ignore_eos": True, "min_tokens": False, "exact_output_by": None},
    "vllm_cpu": {"ignore_eos": True, "min_tokens": True, "exact_output_by": None},
}
"""What each honours; nothing is only claimed, since the control of each probe ends early."""

STREAMS: dict[str, Row] = {
    "llama_cpp": {"done": True, "usage_in_stream": True, "keep_alive": False, "token_id_prompts": True},
    "mlx_lm": {"done": True, "usage_in_stream": True, "keep_alive": False, "token_id_prompts": None},
    "transformers_serve": {"done": False, "usage_in_stream": True, "keep_alive": True, "token_id_prompts": None},
    "vllm_cpu": {"done": True, "usage_in_stream": True, "keep_alive": True, "token_id_prompts": True},
}

REFUSES_TOO_LONG = {"llama_cpp": "context", "vllm_cpu": "context"}
"""The others check no length: the plan refuses what the model's context cannot hold."""

REFUSES_ANOTHER_MODEL = {
    "mlx_lm": "http 404",
    "transformers_serve": "http 400",
    "vllm_cpu": "http 404",
}
"""llama.cpp answers to any name."""


def measured(plan: TrialPlan, folder: Path) -> list[Row]:
    """The records of a trial after its pre-flight, which is to have found nothing."""
    preflight = run_preflight(plan)
    assert preflight.findings == ()
    found: list[Row] = read_records(run_trial(plan, preflight, out_dir=folder).parquet).to_pylist()
    return found


@pytest.mark.parametrize("endpoint", ["completions", "chat"])
def test_every_answer_has_the_lengths_that_were_asked(running: Running, endpoint: str, tmp_path: Path) -> None:
    rows = measured(running.plan(endpoint=endpoint, prompt_tokens=48, output_tokens=24), tmp_path)
    assert {(row["outcome"], row["error"]) for row in rows} == {("completed", None)}
    assert {(row["prompt_tokens"], row["output_tokens"]) for row in rows} == {(48, 24)}
    assert {row["cached_tokens"] for row in rows} <= {0, None}
    assert len(rows) == 12


def test_an_answer_ends_where_the_model_ends_it_and_goes_on_where_the_dialect_says_so(running: Running) -> None:
    plain = running.ask(SHORT_PROMPT, 32).json()
    assert plain["choices"][0]["finish_reason"] == "stop"
    assert plain["usage"]["completion_tokens"] < 8
    found = run_preflight(running.plan())
    assert {key: found.honoured.get(key) for key in ENDINGS[running.engine]} == ENDINGS[running.engine]
    assert {key: found.honoured.get(key) for key in STREAMS[running.engine]} == STREAMS[running.engine]
    assert (found.findings, found.refused) == ((), ())


def test_the_dialect_says_beforehand_what_the_preflight_finds(running: Running) -> None:
    stream = STREAMS[running.engine]
    assert running.dialect.sends_done is stream["done"]
    assert running.dialect.token_id_prompts is (stream["token_id_prompts"] is True)


def test_the_same_weights_say_the_same(running: Running, spoken: Spoken) -> None:
    """BF16 in every engine. mlx-lm leaves out the space before the first word."""
    text = running.ask(SHORT_PROMPT, 5).json()["choices"][0]["text"]
    assert len(text.strip()) > 8
    assert spoken.text.strip().startswith(text.strip())


def test_a_prompt_that_is_too_long_fails_by_name_or_is_no_concern_of_the_engine(
    running: Running, tmp_path: Path
) -> None:
    plan = running.plan(prompt_tokens=1100, output_tokens=4, stop=StopRule(requests=2), load=ClosedLoop(concurrency=1))
    preflight = run_preflight(plan)
    rows = read_records(run_trial(plan, preflight, out_dir=tmp_path).parquet).to_pylist()
    word = REFUSES_TOO_LONG.get(running.engine)
    if word is None:
        assert {row["outcome"] for row in rows} == {"completed"}
        return
    assert {row["outcome"] for row in rows} == {"failed"}
    for row in rows:
        assert row["error"].startswith("http 400")
        assert word in row["error"]
    assert preflight.findings != ()


def test_another_models_name_fails_by_name_and_spoils_nothing(running: Running, tmp_path: Path) -> None:
    plan = running.plan(served_model="nobody/knows-me", stop=StopRule(requests=2))
    rows = read_records(run_trial(plan, run_preflight(plan), out_dir=tmp_path).parquet).to_pylist()
    refusal = REFUSES_ANOTHER_MODEL.get(running.engine)
    if refusal is None:
        assert {row["outcome"] for row in rows} == {"completed"}
    else:
        assert {row["outcome"] for row in rows} == {"failed"}
        assert all(row["error"].startswith(refusal) for row in rows)
    assert running.ask(SHORT_PROMPT, 3).json()["usage"]["completion_tokens"] == 3


def test_token_ids_are_said_to_those_only_that_take_them(running: Running) -> None:
    """Why some dialects have none."""
    status = running.ask([300, 301, 302], 3).status_code
    assert (status == 200) is running.dialect.token_id_prompts
    assert status == 200 or 400 <= status < 500
    assert running.ask(SHORT_PROMPT, 3).status_code == 200


def test_an_engine_that_is_killed_while_it_answers_is_in_the_records_and_nothing_hangs(
    another: Running, tmp_path: Path
) -> None:
    assert another.server.process is not None
    session = another.server.process.learn_session()
    assert session is not None

    shared: set[Path] = set()

    def kill(progress: Progress) -> None:
        if progress.in_flight and progress.chunks_per_s:
            pids = session_members(session)
            shared.update(*(shared_memory(pid) for pid in pids))
            for pid in pids:
                os.kill(pid, signal.SIGKILL)

    plan = another.plan(prompt_tokens=16, output_tokens=900, stop=StopRule(requests=8))
    preflight = run_preflight(plan)
    rows = read_records(run_trial(plan, preflight, out_dir=tmp_path, on_progress=kill).parquet).to_pylist()
    for file in shared:
        file.unlink(missing_ok=True)  # vLLM's: nobody else removes what a killed process shared
    assert len(rows) == 8
    assert {row["outcome"] for row in rows} <= {"completed", "failed"}
    cut = [row for row in rows if row["outcome"] == "failed" and row["chunk_at_ns"]]
    assert cut, "none was killed in the middle of its answer"
    assert all(row["error"].startswith(("truncated", "reset")) for row in cut)
    with pytest.raises(ServerDied, match="was killed by a signal"):
        another.server.check_alive()


def shared_memory(pid: int) -> set[Path]:
    """The files of /dev/shm that a process has mapped."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {Path(line.split()[5]) for line in lines if " /dev/shm/" in line and not line.endswith("(deleted)")}
