"""The stage: which recipe follows from a variant and from what its weights are, and what is told to the server."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine_adapters import ADAPTERS
from engine_adapters.base import CheckpointSpec, LaunchSpec
from experiments.errors import QuantizationError
from experiments.schema.model import LocalSource, Model
from experiments.schema.variant import Quantization, Variant
from tasks import quantize as stage
from tasks import serve as serving
from tasks.artifacts.manifest import Artifact
from tasks.artifacts.sources import fetch_model
from tasks.artifacts.store import ArtifactStore, silent
from tasks.serving.environment import Environment
from tasks.serving.server import Server
from tests.conftest import TINY

AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm", "zero_point": True}
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic"}
NOWHERE = Environment(Path("/nonexistent/bin/python"), (), 0.0)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    return ArtifactStore(tmp_path_factory.mktemp("store"))


def published(store: ArtifactStore, folder: Path, said: dict[str, Any]) -> Artifact:
    """The synthetic model's files with another account of what they are."""
    folder.mkdir()
    for path in fetch_model(TINY, store, progress=silent).path.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": said}))
    return fetch_model(LocalSource(kind="local", path=str(folder)), store, progress=silent)


def vllm(quantization: Quantization) -> Variant:
    return Variant(
        engine="vllm_cpu",
        engine_version="0.32.0",
        model=Model(name="m", source=TINY),
        quantization=quantization,
    )


def quantized(variant: Variant, model: Artifact, store: ArtifactStore) -> Artifact:
    found: Artifact = stage.quantize.fn(variant, model, store.root, NOWHERE, store.root / "environments")
    return found


def test_published_weights_are_used_as_they_come(store: ArtifactStore, tmp_path: Path) -> None:
    model = published(store, tmp_path / "awq", AWQ)
    assert quantized(vllm(Quantization.INT4_AWQ), model, store) is model


def test_a_contradiction_ends_the_stage(store: ArtifactStore, tmp_path: Path) -> None:
    model = published(store, tmp_path / "awq", AWQ)
    with pytest.raises(QuantizationError, match="m: the variant says quantization: fp8, and its weights are published"):
        quantized(vllm(Quantization.FP8), model, store)


def test_weights_in_16_bits_that_the_engine_quantizes_itself_are_given_to_it(store: ArtifactStore) -> None:
    model = fetch_model(TINY, store, progress=silent)
    assert quantized(vllm(Quantization.FP8), model, store) is model


def test_one_word_is_another_recipe_for_each_engine() -> None:
    """int8: made while loading, or bitsandbytes."""
    asked = vllm(Quantization.INT8)
    other = asked.model_copy(update={"engine": "transformers_serve", "engine_version": "5.23.0"})
    assert ADAPTERS["vllm_cpu"].checkpoint(asked) == CheckpointSpec("safetensors", "as_is")
    assert ADAPTERS["transformers_serve"].checkpoint(other) == CheckpointSpec("bitsandbytes", "int8")


@contextlib.contextmanager
def _no_server(spec: LaunchSpec, *_: object, **__: object) -> Iterator[Server]:
    yield Server("http://127.0.0.1:1", "m", spec.argv, None, {"first_token_s": 0.1}, "")


@pytest.mark.parametrize(("said", "flag"), [(FP8, False), (None, True)], ids=["published", "in 16 bits"])
def test_only_weights_in_16_bits_are_quantized_while_they_are_loaded(
    said: dict[str, Any] | None, flag: bool, store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = published(store, tmp_path / "fp8", said) if said else fetch_model(TINY, store, progress=silent)
    monkeypatch.setattr(serving, "running_server", _no_server)
    checkpoint = quantized(vllm(Quantization.FP8), model, store)
    loadable = serving.Loadable(NOWHERE, checkpoint.entry)
    with serving.serve(vllm(Quantization.FP8), loadable=loadable, log_file=tmp_path / "log", leases=tmp_path) as server:
        assert ("--quantization" in server.argv) is flag
        assert ("fp8_per_channel" in server.argv) is flag
        assert "--model" in server.argv


def test_a_calibration_has_a_name_and_is_the_same_everywhere(tmp_path: Path) -> None:
    english = stage.calibration_of(Model(name="m", source=TINY))
    assert english.name == "dyno english, seeds 0 to 7"
    assert english.identity()["sha256"] == "5199e360683ddfc7db671e45571f85a49ff7643ee8fe3bd450750fbb6f5f764d"
    assert len(english.text) / 6 > english.sequences * english.tokens, "too short for any tokenizer"
    (tmp_path / "ours.txt").write_text("Their own words.")
    theirs = stage.calibration_of(Model(name="m", source=TINY, calibration=str(tmp_path / "ours.txt")))
    assert (theirs.name, theirs.text) == ("ours.txt", "Their own words.")


def test_calibration_data_is_part_of_what_a_variant_is() -> None:
    plain = vllm(Quantization.W8A8)
    other = plain.model_copy(update={"model": Model(name="m", source=TINY, calibration="prose.txt")})
    renamed = plain.model_copy(update={"model": Model(name="other", source=TINY)})
    assert len({plain.id, other.id}) == 2
    assert plain.id == renamed.id


@pytest.mark.parametrize(("hidden", "there", "device"), [(None, True, "cuda"), ("", True, "cpu"), (None, False, "cpu")])
def test_a_gpu_is_used_where_there_is_one_that_is_not_hidden(
    hidden: str | None, there: bool, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = tmp_path / "nvidiactl"
    if there:
        node.touch()
    monkeypatch.setattr(stage, "GPU_NODE", node)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert stage.device() == device
