"""The process that watches: on the trial's clock, beside the trial, gone after it, and never the trial's undoing."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pyarrow.parquet as pq
import pynvml
import pytest

from tasks.telemetry.record import GPU_SCHEMA, THROTTLE_REASONS, Telemetry, read_telemetry
from tasks.telemetry.scrape import NoMetrics, Scraped, Scraper
from tasks.telemetry.watch import Watched, watching
from tests.fake_engine import FakeEngine

GpuLines = Callable[..., None]
BUSY = (98, 60 << 30, 640_000, 66, 1755, 2619, 0x4, 1)
NAMES = {"prompt_tokens": "fake:prompt_tokens_total", "cached_prompt_tokens": "fake:cached_total"}


def seen_during(watched: Watched, folder: Path, block: Callable[[], None] = lambda: time.sleep(0.5)) -> Telemetry:
    with watching(watched, folder) as watch:
        block()
    return watch.telemetry


def test_gpus_are_sampled_through_the_real_pynvml(stand_in_gpus: GpuLines, tmp_path: Path) -> None:
    stand_in_gpus(BUSY, (*BUSY[:2], 300_000, *BUSY[3:]))
    before = time.monotonic_ns()
    telemetry = seen_during(Watched(gpus=("1",)), tmp_path / "t")
    after = time.monotonic_ns()
    table = pq.read_table(tmp_path / "t" / "gpu_telemetry.parquet")
    assert table.schema.equals(GPU_SCHEMA)
    assert table.equals(telemetry.gpu)
    rows = table.to_pylist()
    assert len(rows) >= 2  # one before, one after the block
    assert all(before < row["at_ns"] < after for row in rows)
    told = {name: rows[0][name] for name in table.column_names if name not in ("at_ns", "energy_j")}
    assert told == {
        "gpu": 1, "utilisation_percent": 98, "memory_used_bytes": 60 << 30, "power_w": 300, "temperature_c": 66,
        "sm_clock_mhz": 1755, "memory_clock_mhz": 2619, "throttle_reasons": 4,
    }  # fmt: skip
    taken_j = rows[-1]["energy_j"] - rows[0]["energy_j"]
    assert taken_j == pytest.approx(300 * (rows[-1]["at_ns"] - rows[0]["at_ns"]) / 1e9, abs=15)
    assert list((tmp_path / "t").iterdir()) == [tmp_path / "t" / "gpu_telemetry.parquet"]


def test_a_gpu_is_found_by_its_uuid(stand_in_gpus: GpuLines, tmp_path: Path) -> None:
    stand_in_gpus(BUSY, BUSY, BUSY)
    gpu = seen_during(Watched(gpus=("GPU-222", "GPU-000")), tmp_path).gpu
    assert gpu is not None
    assert set(gpu["gpu"].to_pylist()) == {0, 2}


def test_what_a_gpu_does_not_know_is_null(stand_in_gpus: GpuLines, tmp_path: Path) -> None:
    stand_in_gpus((-1, 1, -1, -1, -1, -1, -1, -1))
    gpu = seen_during(Watched(gpus=("0",)), tmp_path).gpu
    assert gpu is not None
    row = gpu.to_pylist()[0]
    assert [name for name, value in row.items() if value is not None] == ["at_ns", "gpu", "memory_used_bytes"]


def test_a_gpu_that_is_lost_keeps_the_samples_until_then(stand_in_gpus: GpuLines, tmp_path: Path) -> None:
    stand_in_gpus(BUSY)
    with watching(Watched(gpus=("0",)), tmp_path) as watch:
        stand_in_gpus()
    telemetry = watch.telemetry
    assert telemetry.gpu is not None
    assert telemetry.gpu_reason == "a GPU stopped answering: GPU is lost"


def test_a_gpu_that_is_not_there_is_a_reason(stand_in_gpus: GpuLines, tmp_path: Path) -> None:
    stand_in_gpus(BUSY)
    telemetry = seen_during(Watched(gpus=("3",)), tmp_path)
    assert telemetry.gpu is None
    assert telemetry.gpu_reason == "NVML does not give GPU 3: Not Found"


def test_without_a_driver_there_is_a_reason(tmp_path: Path) -> None:
    telemetry = seen_during(Watched(gpus=("0",)), tmp_path)
    assert telemetry.gpu is None
    assert "NVML Shared Library Not Found" in telemetry.gpu_reason


def test_throttle_reasons_are_nvmls_own_bits() -> None:
    theirs = ("GpuIdle", "ApplicationsClocksSetting", "SwPowerCap", "HwSlowdown", "SyncBoost", "SwThermalSlowdown",
              "HwThermalSlowdown", "HwPowerBrakeSlowdown", "DisplayClockSetting")  # fmt: skip
    assert list(THROTTLE_REASONS) == [getattr(pynvml, f"nvmlClocksEventReason{name}") for name in theirs]


def test_metrics_are_read_over_one_connection_before_and_after(engine: FakeEngine, tmp_path: Path) -> None:
    telemetry = seen_during(Watched(engine=Scraped(engine.url, "/metrics", NAMES)), tmp_path, lambda: time.sleep(1.2))
    asked = [seen for seen in engine.seen if seen.path == "/metrics"]
    assert len(asked) >= 3
    assert engine.connections == 1
    assert telemetry.engine is not None
    rows = pq.read_table(tmp_path / "engine_metrics.parquet").to_pylist()
    assert {row["name"] for row in rows} == set(NAMES)
    assert len({row["at_ns"] for row in rows}) == len(asked)
    assert telemetry.engine.equals(read_telemetry(tmp_path).engine)


@pytest.mark.parametrize(
    ("path", "names", "reason"),
    [
        ("/nowhere", NAMES, "/nowhere answered 404"),
        ("/metrics", {"requests_running": "fake:none"}, "/metrics has none of fake:none"),
    ],
)
def test_absent_metrics_have_a_reason(
    engine: FakeEngine, tmp_path: Path, path: str, names: dict[str, str], reason: str
) -> None:
    telemetry = seen_during(Watched(engine=Scraped(engine.url, path, names)), tmp_path)
    assert (telemetry.engine, telemetry.engine_reason) == (None, reason)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_gone_is_a_reason(engine: FakeEngine, tmp_path: Path) -> None:
    engine.stop()
    telemetry = seen_during(Watched(engine=Scraped("http://127.0.0.1:9", "/metrics", NAMES)), tmp_path)
    assert telemetry.engine_reason == "/metrics gave no answer (ConnectionRefusedError)"


def test_a_connection_that_the_server_closed_meanwhile_is_made_anew() -> None:
    class ClosesUnannounced(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = f"a {len(self.path)}\n".encode() + self.headers.get("Authorization", "").encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), ClosesUnannounced) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        scraper = Scraper(Scraped(f"http://127.0.0.1:{server.server_port}/root/", "/m", {"ours": "a"}))
        told = [scraper.sample(), scraper.sample()]
        server.shutdown()
        thread.join()
    assert told == [{"ours": len("/root/m")}] * 2
    with pytest.raises(NoMetrics):
        scraper.sample()


def test_nothing_to_watch_starts_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.Popen", None)
    telemetry = seen_during(Watched(), tmp_path / "t", lambda: None)
    assert telemetry.gpu_reason == "no GPU: this launch takes none"
    assert not (tmp_path / "t").exists()


def test_a_process_that_cannot_start_is_a_reason_and_not_an_error(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/no/such/python")
    telemetry = seen_during(Watched(engine=Scraped(engine.url, "/metrics", NAMES)), tmp_path)
    assert "could not be started" in telemetry.engine_reason
    assert telemetry.engine is None


def test_what_was_seen_is_kept_where_the_trial_is_interrupted(engine: FakeEngine, tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        watching(Watched(engine=Scraped(engine.url, "/metrics", NAMES)), tmp_path),
    ):
        raise KeyboardInterrupt
    assert read_telemetry(tmp_path).engine is not None


OWNER = """
import os, sys
from pathlib import Path
from tasks.telemetry.scrape import Scraped
from tasks.telemetry.watch import Watched, watching
with watching(Watched(engine=Scraped(sys.argv[1], "/metrics", {"ours": "a"})), Path(sys.argv[2])):
    print(Path(f"/proc/self/task/{os.getpid()}/children").read_text(), flush=True)
    os.kill(os.getpid(), 9)
"""


def test_the_process_ends_with_its_owner(engine: FakeEngine, tmp_path: Path) -> None:
    """Killed outright, an owner can tell nobody: what it held open is closed."""
    owner = subprocess.run([sys.executable, "-c", OWNER, engine.url, tmp_path], capture_output=True, check=False)
    assert owner.returncode == -9, owner.stderr
    process = Path("/proc", owner.stdout.decode().strip())
    assert process.name.isdigit()
    deadline = time.monotonic() + 20
    while process.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not process.exists()
