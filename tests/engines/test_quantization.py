"""The real quantizers, each in an environment of its own: what they made is loaded again, and held against BF16.

On a machine without a GPU. A calibration of eight short sequences is enough for weights without a meaning.
"""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engine_adapters.base import CheckpointSpec
from experiments.errors import QuantizationError
from experiments.schema.model import LocalSource, Model, SyntheticSource
from tasks.artifacts.manifest import Artifact
from tasks.artifacts.sources import fetch_model
from tasks.artifacts.store import ArtifactStore, silent
from tasks.quantization.checkpoint import make_checkpoint
from tasks.quantization.recipes import TOOL_RECIPES
from tasks.quantize import calibration_of
from tasks.serving.environment import Environment, engine_environment

pytestmark = pytest.mark.engines

Logits = npt.NDArray[np.float32]
Make = Callable[[str, str], Artifact]
Reload = Callable[..., Logits]

TINY = SyntheticSource(
    kind="synthetic", vocab_size=2048, hidden_size=256, intermediate_size=512, layers=2, context_length=1024
)
LLAMA3 = {
    "factor": 8.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 256,
    "rope_type": "llama3",
}
RELOADED = {
    ("compressed_tensors", "fp8_dynamic"): ("transformers", 0.12),
    ("compressed_tensors", "fp8_block"): ("transformers", 0.12),
    ("compressed_tensors", "w8a8"): ("transformers", 0.06),
    ("compressed_tensors", "w4a16"): ("transformers", 0.40),
    ("bitsandbytes", "nf4"): ("transformers", 0.30),
    ("bitsandbytes", "int8"): ("transformers", 0.06),
    ("modelopt", "fp8"): ("modelopt", 0.12),
    ("modelopt", "int4_awq"): ("modelopt", 0.30),
    ("tensorrt_llm", "bf16"): ("tensorrt_llm", 0.0),
    ("tensorrt_llm", "fp8"): ("tensorrt_llm", 0.12),
    ("tensorrt_llm", "int4_awq"): ("tensorrt_llm", 0.30),
}
"""How each is loaded, and the most that its logits may be off: about twice what rounding random weights costs. Wrong
scales, a wrong order of rows or lost rotary embeddings are off by 1 or more."""


@pytest.fixture(scope="session")
def llama3(store: ArtifactStore, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Small, with rotary embeddings that no default would be right for."""
    return varied(store, tmp_path_factory.mktemp("llama3") / "m", rope_theta=500000.0, rope_scaling=LLAMA3)


def varied(store: ArtifactStore, folder: Path, **config: Any) -> Artifact:
    folder.mkdir()
    for path in fetch_model(TINY, store, progress=silent).path.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    said = json.loads((folder / "config.json").read_text()) | config
    said = {name: value for name, value in said.items() if value != "absent"}
    (folder / "config.json").write_text(json.dumps(said))
    return fetch_model(LocalSource(kind="local", path=str(folder)), store, progress=silent)


@pytest.fixture(scope="session")
def tool(environments: Path) -> Callable[[tuple[str, ...]], Environment]:
    return lambda requirements: engine_environment(environments, requirements, print)


@pytest.fixture(scope="session")
def make(store: ArtifactStore, llama3: Artifact, tool: Callable[[tuple[str, ...]], Environment]) -> Make:
    return lambda form, recipe: made(llama3, form, recipe, store, tool)


def made(
    model: Artifact,
    form: str,
    recipe: str,
    store: ArtifactStore,
    tool: Callable[[tuple[str, ...]], Environment],
) -> Artifact:
    data = replace(calibration_of(Model(name="tiny", source=TINY)), sequences=8, tokens=64)
    spec = CheckpointSpec(TOOL_RECIPES[form, recipe].format, recipe)
    return make_checkpoint(model, spec, store, progress=silent, environment=tool, calibration=data)


@pytest.fixture(scope="session")
def reload(
    llama3: Artifact, tool: Callable[[tuple[str, ...]], Environment], tmp_path_factory: pytest.TempPathFactory
) -> Reload:
    """The logits of a folder under a tool's own Python, each computed once."""
    known: dict[tuple[str, ...], Logits] = {}

    def reloaded(form: str, recipe: str, how: str, folder: Path) -> Logits:
        python = tool(TOOL_RECIPES[form, recipe].tool.requirements).python
        key = (str(python), how, str(folder))
        if key not in known:
            out = tmp_path_factory.mktemp("logits") / "logits.npy"
            program = Path(__file__).with_name("reload.py")
            environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            command = [str(word) for word in (python, "-P", program, how, llama3.path, folder, out)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[-3000:]
            known[key] = np.load(out)
        return known[key]

    return reloaded


def error(found: Logits, true: Logits) -> float:
    """Of the differences to the logits themselves, root mean squares."""
    return float(np.linalg.norm(found - true) / np.linalg.norm(true))


@pytest.mark.parametrize("kind", RELOADED, ids="/".join)
def test_a_checkpoint_reloads_as_the_model_that_it_was_made_from(
    kind: tuple[str, str], make: Make, reload: Reload, llama3: Artifact
) -> None:
    how, bound = RELOADED[kind]
    checkpoint = make(*kind)
    true = reload(*kind, "transformers", llama3.path)
    off = error(reload(*kind, how, checkpoint.path), true)
    assert off <= bound
    assert (off == 0.0) is (kind[1] == "bf16"), "nothing was quantized"


@pytest.mark.parametrize("kind", [kind for kind in RELOADED if kind[1] != "bf16"], ids="/".join)
def test_what_it_took_and_what_it_is_are_on_record(kind: tuple[str, str], make: Make, llama3: Artifact) -> None:
    checkpoint = make(*kind)
    facts = checkpoint.facts
    assert 100e6 < facts["quantize_peak_bytes"] < 20e9
    assert facts["quantize_seconds"] > 0
    assert all(facts["tools"].values())
    assert checkpoint.bytes < 0.8 * llama3.bytes
    calibrated = TOOL_RECIPES[kind].calibrated
    assert (facts["calibration"] is not None) is calibrated
    if calibrated:
        assert 0.0 < facts["fake_quantized_logits_error"] <= RELOADED[kind][1]


@pytest.mark.parametrize("kind", RELOADED, ids="/".join)
def test_tokenizer_and_rotary_embeddings_survive_every_tool(
    kind: tuple[str, str], make: Make, llama3: Artifact
) -> None:
    checkpoint = make(*kind)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        assert (checkpoint.path / name).read_bytes() == (llama3.path / name).read_bytes()
    config = json.loads((checkpoint.path / "config.json").read_text())
    words = ("rotary_base", "rotary_scaling") if kind[0] == "tensorrt_llm" else ("rope_theta", "rope_scaling")
    assert [config[word] for word in words] == [500000.0, LLAMA3]


def test_rotary_embeddings_in_new_words_reach_a_tool_that_reads_the_old(
    store: ArtifactStore, tool: Callable[[tuple[str, ...]], Environment], tmp_path: Path
) -> None:
    """As transformers 5 saves a config: the tool's transformers 4 would take 10000 for the base."""
    new = {"rope_parameters": {"rope_theta": 500000.0, **LLAMA3}, "rope_theta": "absent", "rope_scaling": "absent"}
    checkpoint = made(varied(store, tmp_path / "new", **new), "tensorrt_llm", "bf16", store, tool)
    config = json.loads((checkpoint.path / "config.json").read_text())
    assert (config["rotary_base"], config["rotary_scaling"]) == (500000.0, LLAMA3)


def test_a_tensorrt_llm_checkpoint_is_cut_for_its_ranks(make: Make) -> None:
    whole, cut = make("tensorrt_llm", "bf16"), make("tensorrt_llm", "bf16_tp2")
    assert json.loads((cut.path / "config.json").read_text())["mapping"]["world_size"] == 2
    sizes = [path.stat().st_size for path in sorted(cut.path.glob("rank*.safetensors"))]
    assert len(sizes) == 2
    assert sum(sizes) == pytest.approx((whole.path / "rank0.safetensors").stat().st_size, rel=0.02)


def test_nf4_is_saved_before_any_forward_pass(make: Make, reload: Reload, tmp_path: Path) -> None:
    """The control shows what a pass before it does to the numbers."""
    kind = ("bitsandbytes", "nf4")
    fresh = reload(*kind, "fresh_nf4", tmp_path)
    assert error(reload(*kind, "transformers", make(*kind).path), fresh) < 1e-3
    assert error(reload(*kind, "nf4_after_a_forward_pass", tmp_path / "late"), fresh) > 1e-2


def test_awq_by_llm_compressor_is_refused_where_there_is_no_gpu(make: Make) -> None:
    with pytest.raises(QuantizationError, match="cannot be made on a machine without a GPU"):
        make("compressed_tensors", "w4a16_awq")
