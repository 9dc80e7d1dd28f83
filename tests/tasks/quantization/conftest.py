"""A small synthetic model, variations of it, and the real engine's library, made once a session."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from experiments.schema.model import LocalSource, SyntheticSource
from tasks.artifacts.manifest import Artifact
from tasks.artifacts.sources import fetch_model
from tasks.artifacts.store import ArtifactStore, silent
from tasks.serving.environment import Environment

Tensors = dict[str, npt.NDArray[np.float32]]
Vary = Callable[..., Artifact]


@pytest.fixture(scope="session")
def engine_environment(xllamacpp: Environment) -> Path:
    """The folder of the engine's virtual environment."""
    return xllamacpp.python.parents[1]


@pytest.fixture(scope="session")
def site_packages(engine_environment: Path) -> Path:
    return next((engine_environment / "lib").glob("python*/site-packages"))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    return ArtifactStore(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def model(store: ArtifactStore) -> Artifact:
    """Four layers, as the rule of mixed types has something to choose there."""
    source = SyntheticSource(kind="synthetic", vocab_size=768, intermediate_size=512, context_length=512)
    return fetch_model(source, store, progress=silent)


@pytest.fixture(scope="session")
def tensors(model: Artifact) -> Tensors:
    """Read by another route than the code's: the whole file, and BF16 put into the upper half of words of zeros."""
    content = (model.path / "model.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    found: Tensors = {}
    for name, entry in json.loads(content[8 : 8 + length]).items():
        if name != "__metadata__":
            first, last = (8 + length + offset for offset in entry["data_offsets"])
            words = np.zeros((last - first) // 2, dtype=[("low", "<u2"), ("high", "<u2")])
            words["high"] = np.frombuffer(content[first:last], dtype="<u2")
            found[name] = words.view("<f4").reshape(entry["shape"])
    return found


def write_safetensors(path: Path, tensors: Tensors, dtype: str) -> None:
    header: dict[str, Any] = {}
    parts, at = [], 0
    for name, tensor in tensors.items():
        if dtype == "BF16":
            part = tensor.astype("<f4").view("<u2")[..., 1::2].tobytes()
        else:
            part = tensor.astype({"F16": "<f2", "F32": "<f4", "F64": "<f8"}[dtype]).tobytes()
        header[name] = {"dtype": dtype, "shape": tensor.shape, "data_offsets": [at, at + len(part)]}
        parts.append(part)
        at += len(part)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(parts))


@pytest.fixture
def vary(model: Artifact, tensors: Tensors, store: ArtifactStore, tmp_path: Path) -> Vary:
    """A copy of the model with another config, tokenizer, tensors, dtype or number of shards."""

    def varied(
        *,
        config: dict[str, Any] | None = None,
        tokenizer: dict[str, Any] | None = None,
        replace: Tensors | None = None,
        drop: tuple[str, ...] = (),
        dtype: str = "BF16",
        shards: int = 1,
    ) -> Artifact:
        folder = tmp_path / f"varied-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(model.path, folder)
        (folder / "model.safetensors").unlink()
        _update_json(folder / "config.json", config or {})
        _update_json(folder / "tokenizer.json", tokenizer or {})
        kept = {name: tensor for name, tensor in (tensors | (replace or {})).items() if name not in drop}
        _write_shards(folder, kept, dtype, shards)
        return fetch_model(LocalSource(kind="local", path=str(folder)), store, progress=silent)

    return varied


def _update_json(path: Path, change: dict[str, Any]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def _write_shards(folder: Path, tensors: Tensors, dtype: str, shards: int) -> None:
    if shards == 1:
        write_safetensors(folder / "model.safetensors", tensors, dtype)
        return
    weight_map: dict[str, str] = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = dict(list(tensors.items())[number::shards])
        write_safetensors(folder / file, part, dtype)
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


assert sys.byteorder == "little", "the tensors are viewed as little-endian words"
