"""Fixtures that several rooms share."""

import os
from pathlib import Path

import pytest

from experiments.schema.model import Model, SyntheticSource
from experiments.schema.variant import Quantization, Variant
from tasks.serving.environment import Environment, engine_environment

XLLAMACPP = "xllamacpp==2026.10.11549"
TINY = SyntheticSource(
    kind="synthetic", vocab_size=2048, hidden_size=256, intermediate_size=512, layers=2, context_length=1024
)


@pytest.fixture
def variant() -> Variant:
    """A small one that llama.cpp can be."""
    return Variant(
        engine="llama_cpp",
        engine_version="2026.10.11549",
        model=Model(name="tiny", source=TINY),
        quantization=Quantization.Q8_0,
        max_model_len=256,
        max_num_seqs=4,
        cpu_threads=1,
    )


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where engine environments are made: DYNO_TEST_ENVIRONMENTS keeps them between runs."""
    kept = os.environ.get("DYNO_TEST_ENVIRONMENTS")
    return Path(kept) if kept else tmp_path_factory.mktemp("environments")


@pytest.fixture(scope="session")
def xllamacpp(environments: Path) -> Environment:
    """The real engine, from the package index, in an environment of its own."""
    return engine_environment(environments, [XLLAMACPP], print)
