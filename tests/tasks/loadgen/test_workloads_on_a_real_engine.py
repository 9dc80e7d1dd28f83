"""Workloads on llama.cpp's own server, with its prompt cache on: what its usage and its counters say of each policy."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine_adapters import ADAPTERS
from experiments.schema.load import ClosedLoop, LoadPoint, StopRule
from experiments.schema.result import TrialSummary
from experiments.schema.variant import Variant
from experiments.schema.workload import Workload
from tasks.artifacts.sources import fetch_model
from tasks.artifacts.store import ArtifactStore, silent
from tasks.load_point import measure_point
from tasks.loadgen.plan import Endpoint, TrialPlan
from tasks.loadgen.preflight import run_preflight
from tasks.loadgen.record import read_records
from tasks.quantize import quantize
from tasks.serving.environment import Environment
from tasks.serving.server import running_server
from tests.conftest import TINY

pytestmark = pytest.mark.engine

SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["cat", "dog"]}, "alive": {"type": "boolean"}},
    "required": ["kind", "alive"],
    "additionalProperties": False,
}
POINT = LoadPoint(step=0, role="saturation", load=ClosedLoop(concurrency=1), stop=StopRule(requests=24))


class Bench:
    """A running server, and trials on it."""

    def __init__(self, url: str, variant: Variant, tokenizer: Path, folder: Path) -> None:
        self._url, self._variant, self._tokenizer, self._folder = url, variant, tokenizer, folder
        self._seed = 0

    def measure(self, **workload: Any) -> tuple[TrialSummary, list[dict[str, Any]], Any]:
        self._seed += 1
        adapter = ADAPTERS[self._variant.engine]
        plan = TrialPlan(
            endpoint=Endpoint(self._url, "model"),
            dialect=adapter.request_dialect(self._variant),
            workload=Workload.model_validate({"name": "w", "prompt_tokens": 96, "output_tokens": 4} | workload),
            load=POINT.load,
            stop=POINT.stop,
            seed=self._seed,
            tokenizer=self._tokenizer,
            metric_names=adapter.metric_names,
            processes=1,
        )
        folder = self._folder / str(self._seed)
        preflight = run_preflight(plan)
        summary = measure_point(POINT, plan, preflight, folder, ()).summary
        return summary, read_records(folder / "requests.parquet").to_pylist(), preflight


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, xllamacpp: Environment) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("bench")
    variant = Variant.model_validate(
        {
            "engine": "llama_cpp",
            "engine_version": "2026.10.11549",
            "model": {"name": "tiny", "source": TINY.model_dump()},
            "quantization": "q8_0",
            "max_model_len": 512,
            "max_num_seqs": 4,
            "cpu_threads": 1,
            "prefix_cache": True,
        }
    )
    adapter = ADAPTERS[variant.engine]
    model = fetch_model(TINY, ArtifactStore(folder / "store"), progress=silent)
    checkpoint = quantize.fn(variant, model, folder / "store", xllamacpp)
    with running_server(
        adapter.launch_spec(variant),
        adapter.request_dialect(variant),
        python=xllamacpp.python,
        model=checkpoint.entry,
        log=folder / "server.log",
        leases=folder / "leases",
        what="a test",
        say=print,
    ) as server:
        yield Bench(server.url, variant, model.path, folder)


def test_explore(bench: Bench) -> None:
    for w in (
        {},
        {"endpoint": "chat"},
        {"cache": "hot", "hot_prompts": 4},
        {"cache": "shared", "shared_prefix": {"tokens": 64, "share": 1.0}},
        {"cache": "shared", "shared_prefix": {"tokens": 64, "share": 0.5}},
        {"cache": "shared", "endpoint": "chat", "system_prompt": "You are a helpful assistant."},
        {
            "prompt_tokens": {"kind": "uniform", "min": 40, "max": 120},
            "output_tokens": {"kind": "normal", "mean": 8, "std": 3},
        },
        {"prompts": {"kind": "english"}},
        {"prompts": {"kind": "english"}, "endpoint": "chat"},
        {"json_schema": SCHEMA, "endpoint": "chat", "output_tokens": 64},
        {"json_schema": SCHEMA, "output_tokens": 64},
        {"output_tokens": {"kind": "natural", "max": 32}},
    ):
        s, rows, pre = bench.measure(**w)
        print(
            w,
            s.valid,
            s.invalid_reasons,
            s.cache_hit_ratio,
            s.engine_cache_hit_ratio,
            s.reasons,
            pre.honoured,
            s.outcomes,
        )
        print(
            rows[0]["prompt_tokens_asked"],
            rows[0]["prompt_tokens"],
            rows[0]["output_tokens_asked"],
            rows[0]["output_tokens"],
            rows[0]["finish_reason"],
            rows[0]["error"],
        )
