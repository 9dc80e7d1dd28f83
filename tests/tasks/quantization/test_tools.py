"""Checkpoints of tools, with a stand-in for the tool's Python: keys, refusals, data on record. The real ones run in
tests/engines/test_quantization.py."""

import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from engine_adapters.base import CheckpointSpec
from experiments.errors import QuantizationError
from tasks.artifacts.manifest import Artifact
from tasks.artifacts.store import ArtifactStore, silent
from tasks.quantization.calibration import Calibration, read_calibration
from tasks.quantization.checkpoint import make_checkpoint
from tasks.quantization.recipes import TOOL_RECIPES

STAND_IN = """
import json, sys
from pathlib import Path
job = json.loads(sys.stdin.readline())
out = Path(job["output"])
(out / "job.txt").write_text(json.dumps(job))
quant = {"fp8": {"quant_method": "modelopt", "quant_algo": "FP8"},
         "w8a8": {"quant_method": "compressed-tensors", "format": "int-quantized", "config_groups": {"group_0": {
             "targets": ["Linear"], "weights": {"num_bits": 8, "type": "int", "strategy": "channel"}}}}}
name = job["what"].split("/")[1]
(out / "config.json").write_text(json.dumps({"quantization_config": quant[name]}))
(out / "hf_quant_config.json").write_text('{"quantization": {"quant_algo": "FP8"}}')
(out / "tokenizer.json").write_text('{"truncation": {"max_length": 4}}')
header = b'{"a.weight_scale": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}'
(out / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\\x80\\x3f")
print(" 50%|##   |", end="", flush=True)
print("\\n" + json.dumps({"progress": "half"}) + "\\n" + json.dumps({"done": {"quantize_peak_bytes": 7}}))
"""

DATA = Calibration("prose.txt", "It was the best of times.", sequences=2, tokens=3)
W8A8, FP8 = CheckpointSpec("compressed_tensors", "w8a8"), CheckpointSpec("modelopt", "fp8")


@dataclass
class StandIn:
    """A tool's environment whose Python is a script; it counts how often it was asked for."""

    python: Path
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def version(self, package: str) -> str:
        return f"of {package}"

    def __call__(self, requirements: tuple[str, ...]) -> "StandIn":
        self.asked.append(requirements)
        return self


@pytest.fixture
def tool(tmp_path: Path) -> StandIn:
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path}/stand_in.py"\n')
    python.chmod(0o755)
    return StandIn(python)


@pytest.fixture
def fresh(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


def make(
    model: Artifact,
    spec: CheckpointSpec,
    store: ArtifactStore,
    tool: StandIn | None,
    *,
    calibration: Calibration | None = DATA,
    device: str = "cpu",
) -> Artifact:
    return make_checkpoint(
        model, spec, store, progress=silent, environment=tool, calibration=calibration, device=device
    )


def test_a_checkpoint_records_the_tool_what_it_took_and_the_data(
    model: Artifact, fresh: ArtifactStore, tool: StandIn
) -> None:
    found = make(model, FP8, fresh, tool)
    digest = "4bd90e39fc50b9ac0ba0ced173d7b4a4f1eb42dc67d71f30377d2e6081ed384c"
    assert found.facts["calibration"] == {"name": "prose.txt", "sha256": digest, "sequences": 2, "tokens": 3}
    assert found.manifest.made_from["calibration"] == found.facts["calibration"]
    assert found.manifest.made_from["tool"][0] == "nvidia-modelopt==0.47.0"
    assert found.facts["tools"]["transformers"] == "of transformers"
    assert found.facts["quantize_peak_bytes"] == 7
    assert found.facts["quantize_seconds"] > 0
    assert (found.path / "tokenizer.json").read_bytes() == (model.path / "tokenizer.json").read_bytes()


def test_a_hit_needs_no_environment(model: Artifact, fresh: ArtifactStore, tool: StandIn) -> None:
    first = make(model, W8A8, fresh, tool)
    second = make(model, W8A8, fresh, None)
    assert (first.was_made, second.was_made) == (True, False)
    assert tool.asked == [TOOL_RECIPES["compressed_tensors", "w8a8"].tool.requirements]


def test_other_data_is_another_checkpoint_where_it_is_looked_at(
    model: Artifact, fresh: ArtifactStore, tool: StandIn
) -> None:
    others = [DATA, replace(DATA, text="It was the worst of times."), replace(DATA, sequences=1)]
    assert len({make(model, FP8, fresh, tool, calibration=data).key for data in others}) == 3
    assert len({make(model, W8A8, fresh, tool, calibration=data).key for data in [*others, None]}) == 1


def test_what_a_gpu_makes_is_another_checkpoint(model: Artifact, fresh: ArtifactStore, tool: StandIn) -> None:
    """The sums that a calibration takes are not the same there to the last bit."""
    assert make(model, FP8, fresh, tool).key != make(model, FP8, fresh, tool, device="cuda").key


def test_awq_without_a_gpu_is_refused_with_the_reason_before_anything_is_installed(
    model: Artifact, fresh: ArtifactStore, tool: StandIn
) -> None:
    with pytest.raises(QuantizationError, match=r"w4a16_awq cannot be made on a machine without a GPU: .*pins memory"):
        make(model, CheckpointSpec("compressed_tensors", "w4a16_awq"), fresh, tool)
    assert tool.asked == []


def test_a_recipe_that_calibrates_says_that_it_has_no_data(
    model: Artifact, fresh: ArtifactStore, tool: StandIn
) -> None:
    with pytest.raises(QuantizationError, match="modelopt/fp8 looks at activations: it needs calibration data"):
        make(model, FP8, fresh, tool, calibration=None)


def test_a_bad_checkpoint_never_stands_in_the_store(model: Artifact, fresh: ArtifactStore, tool: StandIn) -> None:
    script = tool.python.with_name("stand_in.py")
    script.write_text(script.read_text().replace('"group_0"', '"W8A8"'))
    with pytest.raises(QuantizationError, match="not group_0"):
        make(model, W8A8, fresh, tool)
    assert list(fresh.artifacts()) == []


def test_every_tools_pins_name_what_its_numbers_depend_on() -> None:
    for recipe in TOOL_RECIPES.values():
        names = {requirement.partition("==")[0] for requirement in recipe.tool.requirements}
        assert all("==" in requirement for requirement in recipe.tool.requirements)
        assert {"torch", "transformers"} < names <= set(recipe.tool.records)


def test_tensorrt_llm_checkpoints_are_made_under_a_transformers_that_keeps_rope() -> None:
    for recipe in TOOL_RECIPES.values():
        if recipe.format in ("tensorrt_llm", "modelopt"):
            assert any(pin.startswith("transformers==4.57.") for pin in recipe.tool.requirements)


def test_calibration_data_is_a_text_or_the_texts_of_lines(tmp_path: Path) -> None:
    (tmp_path / "prose.txt").write_text("One.\nTwo.")
    (tmp_path / "rows.jsonl").write_text('{"text": "One."}\n\n{"text": "Two.", "id": 2}\n')
    assert read_calibration(tmp_path / "prose.txt").text == "One.\nTwo."
    assert read_calibration(tmp_path / "rows.jsonl").text == "One.\n\nTwo."
    assert read_calibration(tmp_path / "rows.jsonl").name == "rows.jsonl"


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot be read"), ('{"txt": 1}', "line 1 is no JSON object with a `text`")]
)
def test_calibration_data_that_is_none_says_why(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "rows.jsonl").write_text(content)
    with pytest.raises(QuantizationError, match=message):
        read_calibration(tmp_path / "rows.jsonl")


def test_the_job_says_what_is_looked_at_and_where(model: Artifact, fresh: ArtifactStore, tool: StandIn) -> None:
    script = tool.python.with_name("stand_in.py")
    script.write_text(script.read_text().replace('(out / "job.txt")', f'Path("{tool.python.parent}/job.json")'))
    make(model, FP8, fresh, tool)
    job = json.loads((tool.python.parent / "job.json").read_text())
    assert job["calibration"] == {"name": "prose.txt", "text": DATA.text, "sequences": 2, "tokens": 3}
    assert (job["device"], job["scheme"], job["folder"]) == ("cpu", "FP8_DEFAULT_CFG", str(model.path))
