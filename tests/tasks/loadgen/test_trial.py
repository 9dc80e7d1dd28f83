"""Whole trials over real sockets, held against what the server says that it did."""

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from experiments.errors import InputError, MeasurementError, SetupError
from experiments.schema.load import ClosedLoop, OpenLoop, Poisson, StopRule
from tasks.loadgen import trial as trial_module
from tasks.loadgen.agenda import PAUSE_AFTER_REFUSAL_NS
from tasks.loadgen.payload import body_source
from tasks.loadgen.plan import Progress
from tasks.loadgen.pool import Pool
from tasks.loadgen.schedule import make_schedule
from tests.reference_server import get, log_by_body, reference_server
from tests.tasks.loadgen.trials import PREFLIGHT, Row, Trial, constant, is_alive, outcomes, rows

MS = 1_000_000


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with reference_server("--ttft-ms", "3", "--itl-ms", "2") as address:
        yield address


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool() as pool:
        yield pool


def entry_of(row: Row, trial: Trial, log: dict[int, Row]) -> Row:
    """The server's account of a request, found by the body that it must have had."""
    body = body_source(trial.plan(), PREFLIGHT).body(
        row["index"], row["prompt_tokens_asked"], row["output_tokens_asked"]
    )
    return log[zlib.crc32(body)]


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_recorded_times_lie_where_the_servers_own_say_they_must(
    url: str, pool: Pool, tmp_path: Path, framing: str
) -> None:
    trial = Trial(url, script={"framing": framing}, output_tokens=12, seed=ord(framing[0]))
    records, found = trial.run(tmp_path, pool)
    log = log_by_body(url)
    assert outcomes(found) == ["completed"] * 6
    assert [row["index"] for row in found] == list(range(6))
    for row in found:
        truth = entry_of(row, trial, log)
        assert row["due_at_ns"] <= row["sent_at_ns"] <= truth["arrived_ns"] <= truth["sent_ns"][0]
        assert len(row["chunk_at_ns"]) == len(truth["sent_ns"]) == 12
        assert all(sent <= came for sent, came in zip(truth["sent_ns"], row["chunk_at_ns"], strict=True))
        assert row["chunk_at_ns"][-1] <= row["end_at_ns"] <= time.monotonic_ns()
        assert row["connection_reused"] is (framing != "close" and row["index"] > 1)
    assert records.client.events == 6 * (12 + 3)
    assert records.findings == ()


@pytest.mark.skipif(sys.platform != "linux", reason="SO_TIMESTAMPNS is Linux's")
def test_the_kernel_stamps_plain_http(url: str, pool: Pool, tmp_path: Path) -> None:
    records, found = Trial(url).run(tmp_path, pool)
    assert records.client.stamp == "kernel"
    assert {row["stamp"] for row in found} == {"kernel"}


@pytest.mark.parametrize("processes", [1, 3])
def test_due_times_are_the_schedules_whatever_the_processes(
    url: str, pool: Pool, tmp_path: Path, processes: int
) -> None:
    load = OpenLoop(arrivals=Poisson(), rate_rps=200)
    trial = Trial(url, load=load, stop=StopRule(requests=40), seed=5, processes=processes)
    records, found = trial.run(tmp_path, pool)
    due = make_schedule(trial.plan()).due_ns
    assert due is not None
    assert [row["due_at_ns"] - found[0]["due_at_ns"] for row in found] == (due - due[0]).tolist()
    assert [row["process"] for row in found] == [index % processes for index in range(40)]
    assert records.window_start_ns == found[0]["due_at_ns"]
    assert records.window_end_ns == max(row["end_at_ns"] for row in found)
    assert records.client.processes == processes


def dispersion_at_the_server(trial: Trial, out_dir: Path, pool: Pool) -> float:
    """Variance over mean of the counts of each 20 ms."""
    get(f"{trial.url}/reset")
    trial.run(out_dir, pool)
    arrived = np.array(sorted(entry["arrived_ns"] for entry in get(f"{trial.url}/log")))
    counts = np.bincount((arrived - arrived[0]) // (20 * MS))[:-1]
    return float(counts.var(ddof=1) / counts.mean())


def test_arrivals_are_poisson_at_the_server_with_several_processes(url: str, pool: Pool, tmp_path: Path) -> None:
    load = OpenLoop(arrivals=Poisson(), rate_rps=400)
    # Some 120 counts: a standard error of √(2/120) = 0.13. Processes that drew alike would show their number, every
    # time; a machine that is busy with something else may stall the server, once or twice.
    for seed in (11, 12, 13):
        trial = Trial(url, load=load, stop=StopRule(seconds=2.5), output_tokens=1, seed=seed, processes=3)
        if 0.45 < (dispersion := dispersion_at_the_server(trial, tmp_path, pool)) < 1.6:
            return
    pytest.fail(f"dispersion {dispersion}")


def test_in_closed_loop_a_request_is_due_a_think_time_after_its_predecessor_ended(
    url: str, pool: Pool, tmp_path: Path
) -> None:
    load = ClosedLoop(concurrency=1, think_time_s=0.01)
    _, found = Trial(url, load=load, stop=StopRule(requests=5)).run(tmp_path, pool)
    ends = [row["end_at_ns"] for row in found]
    assert [row["due_at_ns"] for row in found[1:]] == [end + 10 * MS for end in ends[:-1]]
    assert all(row["sent_at_ns"] >= row["due_at_ns"] for row in found)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_closed_loop_never_has_more_in_flight_than_its_users(
    url: str, pool: Pool, tmp_path: Path, processes: int
) -> None:
    load = ClosedLoop(concurrency=5)
    _, found = Trial(url, load=load, stop=StopRule(requests=33), processes=processes).run(tmp_path, pool)
    assert outcomes(found) == ["completed"] * 33
    changes = sorted([(row["sent_at_ns"], 1) for row in found] + [(row["end_at_ns"], -1) for row in found])
    in_flight = np.cumsum([change for _, change in changes])
    assert in_flight.max() == 5


def test_more_processes_than_users_leave_no_request_unscheduled(url: str, tmp_path: Path) -> None:
    records, rows = Trial(url, ClosedLoop(concurrency=2), StopRule(requests=7), processes=3).run(tmp_path)
    assert outcomes(rows) == ["completed"] * 7
    assert records.client.processes == 2


def test_a_timed_closed_loop_sends_until_its_end_and_leaves_the_ramp_out(url: str, pool: Pool, tmp_path: Path) -> None:
    stop = StopRule(seconds=0.6, ramp_s=0.2)
    records, found = Trial(url, load=ClosedLoop(concurrency=4), stop=stop).run(tmp_path, pool)
    start = records.window_start_ns - 200 * MS
    assert records.window_end_ns == start + 600 * MS
    assert found[0]["due_at_ns"] == start
    assert max(row["due_at_ns"] for row in found) < records.window_end_ns
    assert [row["in_window"] for row in found] == [row["due_at_ns"] >= records.window_start_ns for row in found]
    assert [row["index"] for row in found] == list(range(len(found)))
    assert outcomes(found) == ["completed"] * len(found)


def test_a_server_that_never_answers_times_every_request_out(url: str, pool: Pool, tmp_path: Path) -> None:
    trial = Trial(url, load=constant(50), stop=StopRule(requests=5), script={"fault": "silent"}, timeout_s=0.3)
    _, found = trial.run(tmp_path, pool)
    assert outcomes(found) == ["timed_out"] * 5
    assert all(row["end_at_ns"] == row["sent_at_ns"] + 300 * MS for row in found)
    assert all(row["first_byte_at_ns"] is None for row in found)


def test_a_stream_that_stops_keeps_what_it_brought(url: str, pool: Pool, tmp_path: Path) -> None:
    trial = Trial(url, script={"fault": "hang", "fault_at": 3}, timeout_s=0.3)
    _, found = trial.run(tmp_path, pool)
    assert outcomes(found) == ["timed_out"] * 6
    assert [len(row["chunk_at_ns"]) for row in found] == [3] * 6
    assert not any(row["connection_reused"] for row in found)


@pytest.mark.parametrize("fault", ["close", "reset"])
def test_a_connection_broken_mid_stream_is_a_failure(url: str, pool: Pool, tmp_path: Path, fault: str) -> None:
    _, found = Trial(url, script={"fault": fault, "fault_at": 2}).run(tmp_path, pool)
    assert outcomes(found) == ["failed"] * 6
    assert [len(row["chunk_at_ns"]) for row in found] == [2] * 6


def test_a_server_killed_mid_stream_fails_what_was_in_flight_and_what_came_after(pool: Pool, tmp_path: Path) -> None:
    with reference_server("--itl-ms", "20") as address:
        trial = Trial(address, load=constant(100), stop=StopRule(requests=40), output_tokens=50)
        trial.script = {"fault": "die", "fault_at": 9}
        _, found = trial.run(tmp_path, pool)
    assert outcomes(found) == ["failed"] * 40
    assert any(0 < len(row["chunk_at_ns"]) < 50 for row in found)
    assert "ECONNREFUSED" in found[-1]["error"]
    assert found[-1]["sent_at_ns"] is None


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_a_refused_connection_fails_the_request_that_waited_for_it(pool: Pool, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{closed_port()}"
    _, found = Trial(address, load=constant(100), stop=StopRule(requests=7)).run(tmp_path, pool)
    assert outcomes(found) == ["failed"] * 7
    assert all("ECONNREFUSED" in row["error"] and row["sent_at_ns"] is None for row in found)


def test_a_closed_loop_does_not_storm_a_server_that_refuses(pool: Pool, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{closed_port()}"
    _, found = Trial(address, load=ClosedLoop(concurrency=1), stop=StopRule(seconds=0.35)).run(tmp_path, pool)
    gaps = np.diff([row["due_at_ns"] for row in found])
    assert outcomes(found) == ["failed"] * len(found)
    assert len(found) > 1
    assert (gaps >= PAUSE_AFTER_REFUSAL_NS).all()


def test_an_idle_connection_closed_by_the_server_is_replaced_before_the_next_request(
    url: str, pool: Pool, tmp_path: Path
) -> None:
    load = ClosedLoop(concurrency=2, think_time_s=0.1)
    _, found = Trial(url, load=load, script={"close_idle_ms": 5}).run(tmp_path, pool)
    assert outcomes(found) == ["completed"] * 6
    assert not any(row["connection_reused"] for row in found)


@pytest.mark.parametrize("fresh", [False, True])
def test_no_request_is_left_waiting_where_every_answer_closes_its_connection(
    url: str, pool: Pool, tmp_path: Path, fresh: bool
) -> None:
    script = {"framing": "close", "ttft_ms": 0.0, "together": 4}
    stop = StopRule(requests=600)
    trial = Trial(url, load=ClosedLoop(concurrency=12), stop=stop, script=script, fresh_connections=fresh)
    _, found = trial.run(tmp_path, pool)
    assert outcomes(found) == ["completed"] * 600


def test_fresh_connections_carry_one_request_each(url: str, pool: Pool, tmp_path: Path) -> None:
    get(f"{url}/reset")
    _, found = Trial(url, fresh_connections=True).run(tmp_path, pool)
    assert outcomes(found) == ["completed"] * 6
    assert not any(row["connection_reused"] for row in found)
    assert max(Counter(entry["connection"] for entry in get(f"{url}/log")).values()) == 1


def test_events_that_came_in_one_write_share_their_stamp_and_are_counted(url: str, pool: Pool, tmp_path: Path) -> None:
    records, found = Trial(url, script={"together": 4}, output_tokens=16).run(tmp_path, pool)
    assert outcomes(found) == ["completed"] * 6
    assert all(len(set(row["chunk_at_ns"])) <= 4 for row in found)
    assert records.client.events_sharing_a_stamp == 1.0


def test_a_request_larger_than_the_sockets_buffer_arrives_whole(url: str, pool: Pool, tmp_path: Path) -> None:
    trial = Trial(url, prompt_tokens=1_000_000, stop=StopRule(requests=2))
    _, found = trial.run(tmp_path, pool)
    assert outcomes(found) == ["completed"] * 2
    assert [row["prompt_tokens"] for row in found] == [1_000_000] * 2


def test_bytes_beyond_the_memory_budget_go_to_disk_and_come_back(
    url: str, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = Trial(url, load=ClosedLoop(concurrency=3), script={"together": 20, "itl_ms": 1.0}, output_tokens=600)
    in_memory, _ = trial.run(tmp_path / "memory", pool)
    monkeypatch.setattr(trial_module, "BUDGET_BYTES", 1000)
    on_disk, found = trial.run(tmp_path / "disk", pool)
    assert outcomes(found) == ["completed"] * 6
    assert [len(row["chunk_at_ns"]) for row in found] == [600] * 6
    assert on_disk.client.bytes_received == in_memory.client.bytes_received
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["requests.parquet"]


def test_the_key_reaches_the_server_and_nothing_else(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIRE_TEST_KEY", "sk-very-secret")
    get(f"{url}/reset")
    with Pool() as pool:
        Trial(url, api_key_env="WIRE_TEST_KEY").run(tmp_path, pool)
        argv = Path(f"/proc/{pool.workers(1)[0].pid}/cmdline").read_bytes()
    assert {entry["authorization"] for entry in get(f"{url}/log")} == {"Bearer sk-very-secret"}
    assert b"secret" not in argv
    assert not any(b"sk-very-secret" in path.read_bytes() for path in tmp_path.iterdir())


def test_progress_is_told_while_it_runs(url: str, pool: Pool, tmp_path: Path) -> None:
    told: list[Progress] = []
    trial = Trial(url, load=constant(40), stop=StopRule(seconds=1.7), output_tokens=3)
    trial.run(tmp_path, pool, told.append)
    assert len(told) >= 2
    assert told[-1].scheduled == 68
    assert told[0].finished < told[-1].finished <= 68
    assert told[-1].errors == 0
    assert told[-1].ttft_p50_ms is not None
    assert told[-1].achieved_rps > 0
    assert told[-1].chunks_per_s > 0


def test_an_interruption_keeps_what_was_received_and_names_what_was_not_sent(url: str, tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        raise KeyboardInterrupt

    with Pool() as pool:
        pids = [worker.pid for worker in pool.workers(2)]
        trial = Trial(url, load=constant(20), stop=StopRule(requests=60), processes=2, output_tokens=2000)
        with pytest.raises(KeyboardInterrupt):
            trial.run(tmp_path, pool, interrupt)
        assert not any(is_alive(pid) for pid in pids)
    found = rows(tmp_path / "requests.parquet")
    assert set(outcomes(found)) == {"cancelled", "never_sent"}
    assert len(found) == 60
    assert any(row["chunk_at_ns"] for row in found)
    assert all((row["outcome"] == "never_sent") is (row["sent_at_ns"] is None) for row in found)


def test_an_interrupted_closed_loop_accounts_for_all_its_requests(url: str, tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        raise KeyboardInterrupt

    trial = Trial(url, load=ClosedLoop(concurrency=3), stop=StopRule(requests=10), output_tokens=5000)
    with pytest.raises(KeyboardInterrupt):
        trial.run(tmp_path, None, interrupt)
    assert Counter(outcomes(rows(tmp_path / "requests.parquet"))) == {"cancelled": 3, "never_sent": 7}


def test_a_pool_starts_anew_after_a_worker_died(url: str, tmp_path: Path) -> None:
    with Pool() as pool:
        victim = pool.workers(1)[0].pid
        threading.Timer(0.3, os.kill, (victim, signal.SIGKILL)).start()
        with pytest.raises(MeasurementError, match="ended with -9"):
            Trial(url, output_tokens=2000, stop=StopRule(requests=2)).run(tmp_path, pool)
        _, found = Trial(url).run(tmp_path, pool)
    assert outcomes(found) == ["completed"] * 6


PARENT = """
import sys
from pathlib import Path
from tasks.loadgen.pool import Pool
from tests.tasks.loadgen.trials import Trial
with Pool() as pool:
    print(*[worker.pid for worker in pool.workers(2)], flush=True)
    Trial(sys.argv[1], script={"fault": "silent"}, processes=2, timeout_s=60).run(Path(sys.argv[2]), pool)
"""


def test_no_worker_outlives_a_killed_parent(url: str, tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, url, tmp_path], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    get(f"{url}/reset")
    while len(get(f"{url}/log")) < 2:  # until it measures
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [is_alive(pid) for pid in pids] == [False, False]


def test_a_host_with_several_addresses_is_reached_at_the_one_that_answers(url: str, pool: Pool, tmp_path: Path) -> None:
    _, found = Trial(url.replace("127.0.0.1", "localhost")).run(tmp_path, pool)
    assert outcomes(found) == ["completed"] * 6


@pytest.mark.parametrize("address", ["ftp://127.0.0.1", "127.0.0.1:80", "http://", "http://h:99999"])
def test_a_url_that_is_none_is_an_input_error(pool: Pool, tmp_path: Path, address: str) -> None:
    with pytest.raises(InputError, match=address):
        Trial(address).run(tmp_path, pool)


def test_a_disk_without_room_is_no_defect_of_the_client_and_hangs_nothing(url: str, tmp_path: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, resource.RLIM_INFINITY))
    try:
        with Pool() as pool, pytest.raises(SetupError, match=r"the load generator could not go on: .*large"):
            Trial(url).run(tmp_path, pool)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
