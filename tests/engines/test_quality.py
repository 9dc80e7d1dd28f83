"""Quality of the real llama.cpp: its log-probabilities against numpy's, and what quantizing does to them."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine_adapters import ADAPTERS
from engine_adapters.base import RequestDialect
from experiments.schema.model import Model
from experiments.schema.quality import QualityComparison, QualityPlan
from experiments.schema.variant import Quantization, Variant
from tasks.artifacts.manifest import Artifact
from tasks.artifacts.sources import fetch_model
from tasks.artifacts.store import ArtifactStore, silent
from tasks.quality.figures import compared, figures_of
from tasks.quality.material import Material, read_material
from tasks.quality.record import Scored
from tasks.quality.score import score
from tasks.quality.tokens import token_ids
from tasks.quantization.checkpoint import make_checkpoint
from tasks.quantization.ggml import find_ggml_library
from tasks.serving.environment import Environment
from tasks.serving.server import Server, running_server
from tests.engines.launching import SOURCE
from tests.tasks.quality.numpy_llama import log_probabilities

pytestmark = pytest.mark.engines

Folders = pytest.TempPathFactory
PLAN = QualityPlan(tokens_per_text=24, answer_tokens=16)
PRECISIONS = (Quantization.BF16, Quantization.F16, Quantization.Q8_0, Quantization.Q4_K_M, Quantization.Q4_0)


@pytest.fixture(scope="module")
def material() -> Material:
    return read_material(PLAN)


@pytest.fixture(scope="module")
def tiny(store: ArtifactStore) -> Artifact:
    return fetch_model(SOURCE, store, progress=silent)


@pytest.fixture(scope="module")
def scored(
    xllamacpp: Environment, store: ArtifactStore, tiny: Artifact, material: Material, tmp_path_factory: Folders
) -> dict[Quantization, Scored]:
    folder = tmp_path_factory.mktemp("quality")
    found = {}
    for one in PRECISIONS:
        with _served(one, tiny, store, xllamacpp, folder) as (server, dialect):
            found[one] = score(
                PLAN, material, url=server.url, model=server.model, dialect=dialect, tokenizer=tiny.path, launch=1,
                say=silent,
            )  # fmt: skip
    return found


@contextlib.contextmanager
def _served(
    quantization: Quantization, tiny: Artifact, store: ArtifactStore, environment: Environment, folder: Path
) -> Iterator[tuple[Server, RequestDialect]]:
    adapter = ADAPTERS["llama_cpp"]
    variant = Variant(
        engine="llama_cpp",
        engine_version="2026.10.11549",
        model=Model(name="tiny", source=SOURCE),
        quantization=quantization,
        max_model_len=256,
        max_num_seqs=2,
        cpu_threads=1,
    )
    spec, dialect, wanted = adapter.launch_spec(variant), adapter.request_dialect(variant), adapter.checkpoint(variant)
    assert wanted is not None
    library = find_ggml_library(environment.site_packages)
    checkpoint = make_checkpoint(tiny, wanted, store, progress=silent, ggml_library=library)
    with running_server(
        spec, dialect, python=environment.python, model=checkpoint.entry, log=folder / f"{quantization}.log",
        leases=folder / "leases", what="a test's server", say=silent,
    ) as server:  # fmt: skip
        yield server, dialect


def against_bf16(scored: dict[Quantization, Scored], one: Quantization) -> QualityComparison:
    return compared(scored[one], scored[Quantization.BF16], label="bf16", variant_id="b", kinship="same engine")


def test_the_perplexity_of_bf16_is_that_of_a_forward_pass_in_numpy(
    scored: dict[Quantization, Scored], material: Material, tiny: Artifact
) -> None:
    expected = []
    for number, tokens in enumerate(token_ids(material.texts, tiny.path, most=PLAN.tokens_per_text)):
        rows = log_probabilities(tiny.path, tokens)
        own = [one for one in scored[Quantization.BF16].positions if one.text == number]
        assert [one.token for one in own] == [tokens[one.position] for one in own]
        assert len(own) >= len(tokens) - 4  # but for parts of characters
        expected += [float(rows[one.position - 1, one.token]) for one in own]
    found = figures_of(scored[Quantization.BF16])
    assert found.tokens == len(expected)
    assert found.perplexity == pytest.approx(math.exp(-sum(expected) / len(expected)), rel=0.01)


def test_the_fewer_bits_the_fewer_agreements(scored: dict[Quantization, Scored]) -> None:
    agreement = {one: against_bf16(scored, one).agreement or 0.0 for one in PRECISIONS}
    assert agreement[Quantization.BF16] == 1.0
    assert agreement[Quantization.F16] >= agreement[Quantization.Q8_0] > agreement[Quantization.Q4_K_M]
    assert agreement[Quantization.Q4_K_M] >= agreement[Quantization.Q4_0]
    assert agreement[Quantization.Q8_0] > 0.9
