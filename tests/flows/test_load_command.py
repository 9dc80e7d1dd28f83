"""`dyno load` as a contract: the document it prints, the files it leaves, its exit codes."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.fake_engine import FakeEngine

DYNO = str(Path(sys.executable).with_name("dyno"))
SMALL = ("--prompt-tokens", "16", "--output-tokens", "4")
LATENCIES = ("ttft_ms", "ttft_response_ms", "tpot_ms", "itl_ms", "icl_ms", "e2e_ms", "longest_stall_ms")
OUTCOMES = {"completed", "failed", "timed_out", "cancelled", "never_sent"}


@pytest.fixture(scope="module")
def engine() -> Any:
    with FakeEngine() as running:
        yield running


def dyno_load(url: str, *args: str, model: str = "fake", **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [DYNO, "load", url, "--model", model, *args],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def document(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert done.returncode in (0, 4), done.stderr
    return dict(json.loads(done.stdout))


def test_the_document_of_a_closed_loop(engine: FakeEngine, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    done = dyno_load(engine.url + "/v1", "--concurrency", "3", "--requests", "30", *SMALL, "--json", "--out", str(out))
    body = document(done)
    assert done.returncode == 0
    assert body["requests"] == 30
    assert set(body["outcomes"]) == OUTCOMES
    assert sum(body["outcomes"].values()) == 30
    assert body["outcomes"]["completed"] == 30
    assert body["offered_rps"] is None
    assert body["offered_rps_reason"]
    assert body["output_tokens_per_s"] > 0
    for name in LATENCIES:
        assert {"n", "mean", "p50", "p90", "p95", "p99", "p99_reason"} <= set(body[name]), name
        for figure in ("mean", "p50", "p90", "p95", "p99"):
            assert (body[name][figure] is None) == bool(body[name].get(f"{figure}_reason")), (name, figure)
    assert body["ttft_ms"]["n"] == 30
    assert "459" in body["ttft_ms"]["p99_reason"]
    assert body["client"]["stamp"] in ("kernel", "user")
    assert {"lateness_ms", "cpu_us_per_event", "events_sharing_a_stamp"} <= set(body["client"])
    rows = pq.read_table(out / "requests.parquet").to_pylist()
    assert [row["index"] for row in rows] == list(range(30))
    assert json.loads((out / "trial.json").read_text())["summary"]["requests"] == 30


def test_an_open_loop_offers_what_it_was_asked_to(engine: FakeEngine) -> None:
    args = ("--rate", "50", "--arrivals", "constant", "--seconds", "1", *SMALL, "--slo", "ttft:p90<5s", "--json")
    body = document(dyno_load(engine.url, *args))
    assert body["requests"] == 50
    assert body["offered_rps"] == pytest.approx(50)
    (slo,) = body["slos"]
    assert slo["slo"] == "ttft:p90<5000ms"
    assert slo["attainment"] == 1.0


def test_what_fails_is_an_outcome_and_the_exit_code_stays_0_unless_asked(engine: FakeEngine) -> None:
    args = ("--concurrency", "2", "--requests", "12", *SMALL, "--json")
    done = dyno_load(engine.url, *args, model="fake:error-middle")
    body = document(done)
    assert done.returncode == 0
    assert body["outcomes"]["failed"] == 12
    assert not body["valid"]
    assert body["invalid_reasons"]
    assert body["ttft_ms"]["p50"] is None or body["ttft_ms"]["n"] <= 12
    assert dyno_load(engine.url, *args, "--fail-if-invalid", model="fake:error-middle").returncode == 4


def test_a_trace_brings_its_own_times_and_lengths(engine: FakeEngine, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    rows = [{"timestamp": 100 * i, "input_length": 8 + i, "output_length": 2 + i} for i in range(5)]
    trace.write_text("".join(json.dumps(row) + "\n" for row in rows))
    body = document(dyno_load(engine.url, "--trace", str(trace), "--out", str(tmp_path / "out"), "--json"))
    assert body["requests"] == 5
    records = pq.read_table(tmp_path / "out" / "requests.parquet").to_pylist()
    assert [record["prompt_tokens"] for record in records] == [8, 9, 10, 11, 12]
    assert [record["output_tokens"] for record in records] == [2, 3, 4, 5, 6]
    gaps = [(b["due_at_ns"] - a["due_at_ns"]) / 1e6 for a, b in itertools.pairwise(records)]
    assert gaps == [100.0] * 4


def test_an_api_key_is_sent_and_shown_nowhere(engine: FakeEngine, tmp_path: Path) -> None:
    args = ("--concurrency", "1", "--requests", "3", *SMALL, "--api-key-env", "MY_KEY", "--out", str(tmp_path))
    done = dyno_load(engine.url, *args, MY_KEY="sk-hidden")
    assert done.returncode == 0, done.stderr
    assert "sk-hidden" not in done.stdout + done.stderr
    assert all(b"sk-hidden" not in file.read_bytes() for file in tmp_path.iterdir())
    missing = dyno_load(engine.url, *args)
    assert missing.returncode != 0
    assert "MY_KEY" in missing.stderr


@pytest.mark.parametrize("keeps", [True, False])
def test_ctrl_c_leaves_a_document_that_says_so_and_where_the_records_are(
    engine: FakeEngine, tmp_path: Path, keeps: bool
) -> None:
    out = ("--out", str(tmp_path)) if keeps else ()
    args = ("--concurrency", "1", "--seconds", "100", *SMALL, "--json", *out)
    seen = len(engine.generations)
    with subprocess.Popen([DYNO, "load", engine.url, "--model", "fake", *args], stdout=PIPE, stderr=PIPE) as process:
        while len(engine.generations) < seen + 100:  # past the pre-flight's
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    body = json.loads(said)
    assert (process.returncode, body["interrupted"], body["valid"]) == (130, True, False)
    assert body["records"] == (str(tmp_path / "requests.parquet") if keeps else None)
    assert not keeps or pq.read_table(body["records"]).num_rows > 0


def test_nobody_there_is_exit_code_3() -> None:
    done = dyno_load("http://127.0.0.1:9", "--concurrency", "1", "--requests", "1", *SMALL, "--json")
    assert done.returncode == 3
    assert "no connection" in done.stderr
    assert done.stdout == ""


WRONG = {
    "two loads": ("--concurrency", "1", "--rate", "1", "--requests", "1", *SMALL),
    "no load": ("--requests", "1", *SMALL),
    "two ends": ("--concurrency", "1", "--requests", "1", "--seconds", "1", *SMALL),
    "no end": ("--concurrency", "1", *SMALL),
    "no lengths": ("--concurrency", "1", "--requests", "1"),
    "arrivals without a rate": ("--concurrency", "1", "--arrivals", "poisson", "--requests", "1", *SMALL),
    "unknown arrivals": ("--rate", "1", "--arrivals", "weibull", "--requests", "1", *SMALL),
    "gamma without a shape": ("--rate", "1", "--arrivals", "gamma", "--requests", "1", *SMALL),
    "a negative rate": ("--rate", "-1", "--requests", "1", *SMALL),
    "no SLO": ("--concurrency", "1", "--requests", "1", *SMALL, "--slo", "fast"),
    "a ramp that leaves nothing": ("--rate", "1", "--seconds", "1", "--ramp-seconds", "1", *SMALL),
    "a trace that is not there": (
        "--trace",
        "/no/such/file",
    ),
    "an unknown option": ("--concurency", "1"),
    "an unknown endpoint": ("--concurrency", "1", "--requests", "1", *SMALL, "--endpoint", "embeddings"),
}


@pytest.mark.parametrize("case", WRONG, ids=str)
def test_wrong_arguments_are_exit_code_2_without_a_traceback(case: str) -> None:
    done = dyno_load("http://127.0.0.1:9", *WRONG[case])
    assert done.returncode == 2, done.stderr
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("url", ["127.0.0.1:9", "ftp://127.0.0.1", "http://"])
def test_what_is_no_url_is_exit_code_2(url: str) -> None:
    done = dyno_load(url, "--concurrency", "1", "--requests", "1", *SMALL)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
