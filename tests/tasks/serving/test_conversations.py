"""Conversations with the real llama.cpp: its prefix cache knows what was said before."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest

from engine_adapters import ADAPTERS
from experiments.schema.conversation import Conversation
from experiments.schema.load import ClosedLoop, LoadPoint, StopRule
from experiments.schema.model import SyntheticSource
from experiments.schema.result import TrialSummary
from experiments.schema.variant import Variant
from experiments.schema.workload import Workload
from tasks.artifacts.store import ArtifactStore, silent
from tasks.artifacts.synthetic import fetch_synthetic
from tasks.load_point import measure_point
from tasks.loadgen.plan import Endpoint, TrialPlan
from tasks.loadgen.preflight import run_preflight
from tasks.loadgen.record import read_records
from tasks.quantization.checkpoint import make_checkpoint
from tasks.serve import Loadable, serve
from tasks.serving.environment import Environment
from tasks.serving.server import Server

pytestmark = pytest.mark.engine

TURNS, REQUESTS = 4, 24


@pytest.fixture
def server(variant: Variant, xllamacpp: Environment, tmp_path: Path) -> Iterator[tuple[Variant, Server]]:
    """With its prefix cache on, and room for a whole conversation in each slot."""
    caching = variant.model_copy(update={"prefix_cache": True, "max_model_len": 512})
    store, source = ArtifactStore(tmp_path / "artifacts"), variant.model.source
    assert isinstance(source, SyntheticSource)
    model = fetch_synthetic(source, store, progress=silent)
    spec = ADAPTERS["llama_cpp"].checkpoint(caching)
    assert spec is not None
    checkpoint = make_checkpoint(model, spec, store, progress=silent)
    with serve(
        caching,
        loadable=Loadable(xllamacpp, checkpoint.entry),
        log_file=tmp_path / "server.log",
        leases=tmp_path / "leases",
    ) as running:
        yield caching, running


def hold(
    variant: Variant, server: Server, endpoint: Literal["completions", "chat"], folder: Path
) -> tuple[TrialSummary, list[dict[str, Any]]]:
    load, stop = ClosedLoop(concurrency=2), StopRule(requests=REQUESTS)
    plan = TrialPlan(
        endpoint=Endpoint(server.url, server.model),
        dialect=ADAPTERS["llama_cpp"].request_dialect(variant),
        workload=Workload(
            name="talk",
            prompt_tokens=32,
            output_tokens=12,
            endpoint=endpoint,
            conversation=Conversation(turns=TURNS, think_time_s=0.02),
        ),
        load=load,
        stop=stop,
        seed=len(endpoint),
        processes=1,
    )
    point = LoadPoint(step=0, role="saturation", load=load, stop=stop)
    result = measure_point(point, plan, run_preflight(plan), folder, ())
    return result.summary, read_records(folder / "requests.parquet").to_pylist()


@pytest.mark.parametrize("endpoint", ["chat", "completions"])
def test_the_share_of_a_prompt_that_is_cached_grows_with_each_turn(
    server: tuple[Variant, Server], tmp_path: Path, endpoint: Literal["completions", "chat"]
) -> None:
    summary, found = hold(*server, endpoint, tmp_path / "trial")
    assert [row["outcome"] for row in found] == ["completed"] * REQUESTS
    ratios = []
    for turn in range(TURNS):
        these = [row for row in found if row["turn"] == turn]
        assert len(these) == REQUESTS // TURNS
        ratios.append(sum(row["cached_tokens"] for row in these) / sum(row["prompt_tokens"] for row in these))
    assert [turn.cache_hit_ratio for turn in summary.turns] == pytest.approx(ratios)
    assert ratios[0] < 0.2 < ratios[1] < ratios[2] < ratios[3]
    for before, after in pairwise(found):
        if after["turn"]:
            said = before["prompt_tokens"] + before["output_tokens"]
            # Text may be cut into other tokens when it is read again, but not into many fewer.
            assert after["prompt_tokens"] > said
            assert after["cached_tokens"] >= before["prompt_tokens"] - 1
    assert not [reason for reason in summary.invalid_reasons if "history" in reason or "prompt tokens are" in reason]
