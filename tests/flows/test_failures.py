"""Engines that go wrong in the middle of a sweep: one run of dyno over all of them, really broken while it measures."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tasks.serving.environment import Environment
from tasks.serving.lease import leases
from tests.fake_engine import FakeEngine
from tests.flows.test_end_to_end import Store, is_engine, new_store, processes_of, until

pytestmark = [pytest.mark.engine, pytest.mark.engines]

EXPERIMENT = """
models: [{name: tiny, source: {kind: synthetic, vocab_size: 2048, intermediate_size: 512, layers: 2}}]
variants:
  - {engine: endpoint, engine_version: "1", quantization: bf16, runtime: endpoint, model: tiny, endpoint_url: "GARBAGE"}
  - {engine: endpoint, engine_version: "1", quantization: bf16, runtime: endpoint, model: tiny, endpoint_url: "SILENT"}
  - {engine: llama_cpp, engine_version: "2026.10.11549", model: tiny, quantization: q8_0, max_model_len: 256,
     max_num_seqs: 4, cpu_threads: 1}
workloads: [{name: short, prompt_tokens: 8, output_tokens: 8}]
load_plan: {requests_per_point: 40, min_seconds: 0.5, max_seconds: 2, saturation: {max_concurrency: 2},
            open_loop: {fractions: [0.5, 0.7]}, request_timeout_s: 1.5}
"""


SLOWEST_S = 240.0
"""Of a machine that does much else meanwhile, until the first load point is there."""


def cells_with_a_trial(store: Store) -> int:
    return len({file.parents[2] for file in (store.folder / "home/campaigns").glob("broken/1/*/launch-*/*/trial.json")})


def broken(store: Store, garbage: FakeEngine, silent: FakeEngine) -> dict[str, Any]:
    """What the run says, each engine having been broken after the first load point on it."""
    store.write("broken.yaml", EXPERIMENT.replace("GARBAGE", garbage.url).replace("SILENT", silent.url))
    process = store.start("run", "broken.yaml", "--json")
    until(lambda: cells_with_a_trial(store) == 1, SLOWEST_S)
    garbage.turned_into = "html"
    until(lambda: cells_with_a_trial(store) == 2, SLOWEST_S)
    silent.turned_into = "silent"
    until(lambda: cells_with_a_trial(store) == 3, SLOWEST_S)
    (engine,) = [pid for pid in map(int, (p.name for p in Path("/proc").glob("[0-9]*"))) if is_engine(pid, store)]
    os.kill(engine, signal.SIGSTOP)
    said, log = process.communicate(timeout=SLOWEST_S)
    assert process.returncode == 4, log
    body: dict[str, Any] = json.loads(said)
    return body


def test_an_engine_that_goes_wrong_while_it_is_measured_comes_out_with_its_class_and_nothing_stays_behind(
    tmp_path: Path, xllamacpp: Environment, environments: Path
) -> None:
    store = new_store(tmp_path, environments)
    with FakeEngine() as garbage, FakeEngine() as silent:
        cells = broken(store, garbage, silent)["cells"]
    told = [(cell["state"], cell["failure_class"], cell["stage"]) for cell in cells]
    assert told == [
        ("failed", "wrong_output", "load sweep"),
        ("failed", "timeout", "load sweep"),
        ("failed", "timeout", "load sweep"),
    ]
    assert "no request of" in cells[0]["cause"]
    assert all("no token came for" in cell["cause"] or "no request of" in cell["cause"] for cell in cells[1:])
    assert processes_of(store) == []
    assert list(leases(store.folder / "home/leases")) == []
    left = json.loads(store.dyno("plan", "broken.yaml", "--json").stdout)["cells"]
    assert [row["failure_class"] for row in left] == ["wrong_output", "timeout", "timeout"]
