"""A disk that fills up while it is measured: the run ends and says so, and goes on once there is room."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_engine import FakeEngine
from tests.stack.conftest import LIMIT_S, until

pytestmark = pytest.mark.stack
ROOM = "64m"
EXPERIMENT = """
models: [{{name: tiny, source: {{kind: synthetic, vocab_size: 2048, intermediate_size: 512, layers: 2}}}}]
variants: [{{engine: endpoint, engine_version: "1", quantization: bf16, runtime: endpoint, model: tiny,
            endpoint_url: "{url}"}}]
workloads: [{{name: w, prompt_tokens: 8, output_tokens: 4}}]
load_plan: {{requests_per_point: 40, min_seconds: 1.5, max_seconds: 2.5, open_loop: {{points: 3}},
            saturation: {{max_concurrency: 4}}, warm_up: {{max_seconds: 2, window_seconds: 0.5}}}}
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small disk needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """To the last byte."""
    file = disk / "filler"
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as whole:
        while whole.write(bytes(2**16)):
            pass
    return file


def start(folder: Path, disk: Path) -> "subprocess.Popen[str]":
    env = {**os.environ, "DYNO_HOME": str(disk / "home")}
    command = [sys.executable, "-m", "flows.cli", "run", str(folder / "e.yaml"), "--json"]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_disk_that_fills_up_ends_the_run_with_the_reason_and_what_was_measured_is_kept(
    tmp_path: Path, small_disk: Path
) -> None:
    with FakeEngine() as engine:
        (tmp_path / "e.yaml").write_text(EXPERIMENT.format(url=engine.url))
        process = start(tmp_path, small_disk)
        points = small_disk / "home" / "campaigns" / "e" / "1"
        until(lambda: len(list(points.glob("*/launch-*/*/point.json"))) >= 2)
        filler = fill(small_disk)
        _, log = process.communicate(timeout=LIMIT_S)
        assert process.returncode in (3, 4), log
        assert "Traceback" not in log
        assert "No space left" in log or "disk" in log
        kept = {file: file.read_bytes() for file in points.glob("*/launch-*/*/point.json")}
        assert len(kept) >= 2
        filler.unlink()
        again = start(tmp_path, small_disk)
        said, log = again.communicate(timeout=LIMIT_S)
        assert again.returncode == 0, log
        assert all(file.read_bytes() == text for file, text in kept.items())
        (cell,) = json.loads(said)["cells"]
        assert cell["state"] in ("measured", "invalid")
