"""GuideLLM 0.8.1 itself reads our report and computes every metric anew. It needs an environment of its own:

DYNO_TEST_GUIDELLM_PYTHON=/path/to/python pytest tests/tasks/interchange    with guidellm==0.8.1 importable there
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments.schema.load import ClosedLoop, Constant, Gamma, Load, OpenLoop, Poisson
from tasks.interchange.measured import read_measured
from tasks.interchange.write_guidellm import guidellm_text

PYTHON = os.environ.get("DYNO_TEST_GUIDELLM_PYTHON", "")
SCRIPT = Path(__file__).parent / "recompute_guidellm.py"
LOADS: list[Load] = [
    ClosedLoop(concurrency=1),
    ClosedLoop(concurrency=4),
    OpenLoop(arrivals=Constant(), rate_rps=9.5),
    OpenLoop(arrivals=Poisson(), rate_rps=9.5),
    OpenLoop(arrivals=Gamma(shape=0.3), rate_rps=9.5),
]
STRATEGIES = ["synchronous", "concurrent", "constant", "poisson", "trace"]
NOT_FILLED = {"text", "image", "video", "audio", "tool_call"}

pytestmark = pytest.mark.skipif(not PYTHON, reason="DYNO_TEST_GUIDELLM_PYTHON names no Python with guidellm 0.8.1")


@pytest.fixture
def recomputed(trial: Callable[..., Path], tmp_path: Path) -> list[dict[str, Any]]:
    folders = [trial(load, name=str(i)) for i, load in enumerate(LOADS)]
    report = tmp_path / "benchmarks.json"
    report.write_text(guidellm_text([read_measured(folder) for folder in folders]))
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([PYTHON, str(SCRIPT), str(report)], capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}")
    else:
        yield path, value


def test_guidellm_reads_the_report_and_computes_the_same(recomputed: list[dict[str, Any]]) -> None:
    assert [each["strategy"]["type_"] for each in recomputed] == STRATEGIES
    for each in recomputed:
        written = {key: value for key, value in each["written"].items() if key not in NOT_FILLED}
        anew = dict(leaves({key: value for key, value in each["anew"].items() if key not in NOT_FILLED}))
        for path, value in leaves(written):
            assert value == (pytest.approx(anew[path], rel=1e-6, abs=1e-6) if anew[path] is not None else None), path
        assert {path for path, _ in leaves(written)} == set(anew)


def test_guidellm_computes_the_same_of_each_request(recomputed: list[dict[str, Any]], tmp_path: Path) -> None:
    report = json.loads((tmp_path / "benchmarks.json").read_text())
    for benchmark, each in zip(report["benchmarks"], recomputed, strict=True):
        groups = [benchmark["requests"][status] for status in ("successful", "incomplete", "errored")]
        for written, anew in zip([r for group in groups for r in group], each["requests"], strict=True):
            for figure, value in written.items():
                if not isinstance(value, dict | list):
                    wanted = pytest.approx(anew[figure]) if isinstance(anew[figure], float) else anew[figure]
                    assert value == wanted, figure
