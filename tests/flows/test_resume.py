"""A run that is killed between two load points: the next one measures what is missing, and nothing twice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fake_engine import FakeEngine

DYNO = str(Path(sys.executable).with_name("dyno"))
EXPERIMENT = """
variants: [{{engine: endpoint, engine_version: "1", model: tiny-llama-8m, quantization: f16, runtime: endpoint,
            endpoint_url: "{url}"}}]
workloads: [{{name: w, prompt_tokens: 8, output_tokens: 4}}]
slos: ["{slo}"]
load_plan: {{launches: {launches}, requests_per_point: 40, min_seconds: 0.5, max_seconds: 1.5, open_loop: {{points: 3}},
            saturation: {{max_concurrency: 4}}, warm_up: {{max_seconds: 2, window_seconds: 0.5}}}}
"""


def start(folder: Path, url: str, *, slo: str = "ttft:p95<1s", launches: int = 1) -> "subprocess.Popen[str]":
    (folder / "e.yaml").write_text(EXPERIMENT.format(url=url, slo=slo, launches=launches))
    return subprocess.Popen(
        [DYNO, "run", "e.yaml", "--json"],
        cwd=folder,
        env={**os.environ, "DYNO_HOME": str(folder / "home")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: "subprocess.Popen[str]") -> dict[str, Any]:
    said, log = process.communicate(timeout=240)
    assert process.returncode == 0, log
    (cell,) = json.loads(said)["cells"]
    return dict(cell)


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "home/campaigns/e/1").glob("*/launch-*/*/point.json"))


def points(folder: Path) -> list[dict[str, Any]]:
    (file,) = (folder / "home/campaigns/e/1").glob("*/cell.json")
    return list(json.loads(file.read_text())["points"])


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    with FakeEngine() as engine:
        yield engine


@pytest.mark.engine
def test_a_run_killed_between_points_goes_on_with_the_missing_ones(tmp_path: Path, engine: FakeEngine) -> None:
    first = start(tmp_path, engine.url)
    limit = time.monotonic() + 120
    while len(kept(tmp_path)) < 3:
        assert time.monotonic() < limit, "no three points in two minutes"
        assert first.poll() is None, first.communicate()
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    before = {file: file.read_text() for file in kept(tmp_path)}
    sent = len(engine.generations)
    finished(start(tmp_path, engine.url))
    found = points(tmp_path)
    assert [point["point"]["step"] for point in found] == list(range(len(found)))
    assert all(file.read_text() == text for file, text in before.items())
    assert [point["launch"] for point in found] == [1] * len(before) + [2] * (len(found) - len(before))
    missing = sum(point["summary"]["requests"] for point in found[len(before) :])
    (warm_up,) = (tmp_path / "home/campaigns/e/1").glob("*/launch-2/warm-up/warm-up.json")
    words = json.loads(warm_up.read_text())["tokens_per_window"]
    # What came beside the missing points: the pre-flight, and the warm-up's requests of four tokens.
    assert missing <= len(engine.generations) - sent <= missing + sum(words) / 4 + 40
    (file,) = (tmp_path / "home/campaigns/e/1").glob("*/cell.json")
    assert any("launches 1, 2" in reason for reason in json.loads(file.read_text())["reasons"])


@pytest.mark.engines
def test_every_launch_measures_the_plan_and_other_slos_measure_nothing(tmp_path: Path, engine: FakeEngine) -> None:
    finished(start(tmp_path, engine.url, launches=2))
    once, sent = points(tmp_path), len(engine.generations)
    assert {(point["launch"], point["round"]) for point in once} == {(1, 1), (2, 2)}
    for number in (1, 2):
        roles = {point["point"]["role"] for point in once if point["launch"] == number}
        assert roles == {"synchronous", "saturation", "open_loop", "overloaded"}
    judged = finished(start(tmp_path, engine.url, slo="e2e:p90<2s", launches=2))
    assert len(engine.generations) == sent
    assert [capacity["slo"] for capacity in judged["capacities"]] == ["e2e:p90<2000ms"]
    assert {seen["slo"] for point in points(tmp_path) for seen in point["summary"]["slos"]} == {"e2e:p90<2000ms"}
    assert judged["launches"] == [1, 2]
