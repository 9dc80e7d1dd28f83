"""The client's account of itself, summed over its processes; and what is told while a trial runs."""

from array import array
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.schema.load import ClosedLoop, Constant, Load, OpenLoop, StopRule
from tasks.loadgen.assignment import Beat, Share
from tasks.loadgen.clock import MAX_STEP_US
from tasks.loadgen.progress import ProgressMeter
from tasks.loadgen.self_check import client_findings, client_report
from tasks.loadgen.settling import sharing
from tasks.loadgen.trial import processes_for
from tests.tasks.loadgen.trials import Trial

ONE = Share(
    part=Path(),
    last_end_ns=5,
    events=300,
    tokens=200,
    shared=20,
    stamps=frozenset({"kernel"}),
    bytes_received=1000,
    cpu_ns=4_000_000,
    measuring_cpu_ns=2_000_000,
    measuring_wall_ns=8_000_000,
    loop_delay_ns=array("q", [100_000] * 99 + [9_000_000]),
    connect_ns=array("q", [1_000_000, 3_000_000]),
    clock_step_us=0.2,
    scheduling="normal",
)
OTHER = replace(ONE, events=100, tokens=0, shared=0, measuring_cpu_ns=6_000_000, clock_step_us=3.0)


def test_the_report_sums_processes_and_names_the_worst() -> None:
    report = client_report([ONE, OTHER], parent_cpu_ns=2_000_000)
    assert report.processes == 2
    assert report.events == 400
    assert report.cpu_us_per_event == (4_000 + 4_000 + 2_000) / 400
    assert report.cpu_share == 0.75
    assert report.events_sharing_a_stamp == 0.1
    assert report.clock_step_us == 3.0
    assert report.bytes_received == 2000
    assert report.connect_p99_ms == pytest.approx(3.0)


def test_a_report_of_nothing_has_no_figures_for_it() -> None:
    idle = replace(ONE, events=0, tokens=0, stamps=frozenset(), connect_ns=array("q"), loop_delay_ns=array("q"))
    report = client_report([idle], parent_cpu_ns=0)
    assert report.cpu_us_per_event is None
    assert report.connect_p99_ms is None
    assert report.loop_delay_p99_ms is None


@pytest.mark.parametrize(
    ("stamps", "said"),
    [([{"kernel"}, {"kernel"}], "kernel"), ([{"kernel"}, {"user"}], "mixed"), ([{"user"}, set()], "user")],
)
def test_stamps_are_mixed_only_where_they_are(stamps: list[set[str]], said: str) -> None:
    shares = [replace(ONE, stamps=frozenset(kinds)) for kinds in stamps]
    assert client_report(shares, parent_cpu_ns=0).stamp == said


def test_a_clock_that_stepped_is_a_finding_where_the_kernel_stamped() -> None:
    stepped = replace(ONE, clock_step_us=MAX_STEP_US + 1)
    by_user = replace(stepped, stamps=frozenset({"user"}))
    for share, found in ((ONE, 0), (stepped, 1), (by_user, 0)):
        assert len(client_findings([share], client_report([share], parent_cpu_ns=0))) == found


@pytest.mark.parametrize(
    ("times", "count"), [([], 0), ([1], 0), ([1, 2, 3], 0), ([1, 1, 2], 2), ([1, 1, 1], 3), ([1, 1, 2, 3, 3], 4)]
)
def test_events_share_a_stamp_with_a_neighbour(times: list[int], count: int) -> None:
    assert sharing(times) == count


def test_progress_is_over_the_last_seconds_and_all_processes() -> None:
    meter = ProgressMeter(start_ns=0, scheduled=50)
    old = Beat(finished=9, errors=1, sent=10, chunks=1000, in_flight=1, ttft_ms=(999.0,))
    new = Beat(finished=1, errors=0, sent=2, chunks=30, in_flight=3, ttft_ms=(10.0, 20.0))
    meter.add(1, old)
    for _ in range(4):  # two seconds: the old one is out of sight
        meter.add(1, new)
        meter.add(2, new)
    told = meter.progress(5_000_000_000)
    assert (told.elapsed_s, told.scheduled, told.finished, told.errors, told.in_flight) == (5.0, 50, 17, 1, 6)
    assert (told.achieved_rps, told.chunks_per_s) == (8.0, 120.0)
    assert (told.ttft_p50_ms, told.ttft_p95_ms) == (15.0, 20.0)


def test_progress_before_anything_happened_has_no_latencies() -> None:
    told = ProgressMeter(start_ns=0, scheduled=None).progress(1)
    assert (told.ttft_p50_ms, told.ttft_p95_ms, told.scheduled) == (None, None, 0)


@pytest.mark.parametrize(
    ("load", "cores", "processes"),
    [
        (ClosedLoop(concurrency=512), 2, 1),
        (ClosedLoop(concurrency=512), 64, 1),
        (ClosedLoop(concurrency=4096), 64, 7),
        (ClosedLoop(concurrency=4096), 8, 4),
        (OpenLoop(arrivals=Constant(), rate_rps=1000), 64, 5),
        (OpenLoop(arrivals=Constant(), rate_rps=1), 64, 1),
    ],
)
def test_there_are_as_many_processes_as_the_load_needs(
    monkeypatch: pytest.MonkeyPatch, load: Load, cores: int, processes: int
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    plan = Trial("http://h", load=load, stop=StopRule(seconds=1), output_tokens=128).plan()
    assert processes_for(plan) == processes
