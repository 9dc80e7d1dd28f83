"""The synthetic model: the same bytes everywhere, in a layout that engines and tokenizers read."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from experiments.errors import DownloadError
from experiments.schema.model import SyntheticSource
from tasks.artifacts import synthetic
from tasks.artifacts.manifest import Artifact
from tasks.artifacts.sources import fetch_model
from tasks.artifacts.store import ArtifactStore, silent
from tasks.artifacts.synthetic import bf16

SOURCE = SyntheticSource(kind="synthetic", vocab_size=600, intermediate_size=512, layers=2, context_length=256)

GOLDEN = {
    "chat_template.jinja": "9fe579a2c222698c",
    "config.json": "79740fd8fb62bbfb",
    "generation_config.json": "a66ede9e770e06cc",
    "model.safetensors": "42c9d565dabb7654",
    "tokenizer.json": "7e8d3b67782ce8cc",
    "tokenizer_config.json": "bb1ff50f94dd0be9",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return fetch_model(SOURCE, ArtifactStore(tmp_path_factory.mktemp("store")), progress=silent)


def read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


def hashes(model: Artifact) -> dict[str, str]:
    return {name: entry.sha256 for name, entry in model.manifest.files.items()}


def test_the_files_are_the_bytes_that_they_have_always_been(model: Artifact) -> None:
    """Golden: another numpy, tokenizers or processor must not change them. A wanted change raises RECIPE_VERSION."""
    assert {name: digest[:16] for name, digest in hashes(model).items()} == GOLDEN


def test_another_process_with_other_hashing_and_threads_makes_the_same_bytes(model: Artifact, tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom experiments.schema.model import SyntheticSource\n"
        "from tasks.artifacts.sources import fetch_model\nfrom tasks.artifacts.store import ArtifactStore, silent\n"
        "source = SyntheticSource.model_validate_json(sys.argv[2])\n"
        "artifact = fetch_model(source, ArtifactStore(Path(sys.argv[1])), progress=silent)\n"
        "print({name: entry.sha256 for name, entry in artifact.manifest.files.items()} | {'key': artifact.key})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), SOURCE.model_dump_json()],
        env={**os.environ, "PYTHONHASHSEED": "77", "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(hashes(model) | {"key": model.key})


def test_another_seed_is_another_model(model: Artifact, tmp_path: Path) -> None:
    other = fetch_model(SOURCE.model_copy(update={"seed": -1}), ArtifactStore(tmp_path), progress=silent)
    assert other.key != model.key
    for name in ("model.safetensors", "tokenizer.json"):
        assert hashes(other)[name] != hashes(model)[name]


def test_the_container_holds_the_tensors_of_a_llama(model: Artifact) -> None:
    content = (model.path / "model.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert header.pop("__metadata__") == {"format": "pt"}
    assert (8 + length) % 8 == 0
    assert {entry["dtype"] for entry in header.values()} == {"BF16"}
    assert header["model.layers.1.self_attn.k_proj.weight"]["shape"] == [128, 256]
    assert header["lm_head.weight"]["shape"] == [600, 256]
    ends = [entry["data_offsets"] for entry in header.values()]
    assert [first for first, _ in ends] == [0, *(last for _, last in ends[:-1])], "no gap, no overlap"
    assert ends[-1][1] == len(content) - 8 - length
    parameters = 2 * 600 * 256 + 256 + 2 * (2 * 256**2 + 2 * 128 * 256 + 3 * 256 * 512 + 2 * 256)
    assert model.facts["parameters"] == parameters == (len(content) - 8 - length) // 2


def test_the_weights_have_the_spread_that_keeps_activations_of_order_one(model: Artifact) -> None:
    content = (model.path / "model.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    entry = json.loads(content[8 : 8 + length])["model.layers.0.mlp.down_proj.weight"]
    first, last = (8 + length + at for at in entry["data_offsets"])
    weights = (np.frombuffer(content[first:last], dtype="<u2").astype(np.uint32) << 16).view(np.float32)
    assert weights.std() == pytest.approx(512**-0.5, rel=0.01)
    assert abs(weights.mean()) < 0.001


def test_bf16_rounds_to_nearest_and_ties_to_even() -> None:
    """Steps between 1 and 2 are 1/128: 1 + 1/256 is a tie to the even 1, 1 + 3/256 to the even 1 + 2/128."""
    values = np.array([1.0, 1 + 1 / 256, 1 + 3 / 256, 1 + 1 / 256 + 2**-20, -2.0], dtype=np.float32)
    back = (bf16(values).astype(np.uint32) << 16).view(np.float32)
    assert back.tolist() == [1.0, 1.0, 1 + 2 / 128, 1 + 1 / 128, -2.0]


@pytest.mark.parametrize("vocab_size", [512, 8192, 20000])
def test_the_tokenizer_has_exactly_the_vocabulary_that_was_asked(tmp_path: Path, vocab_size: int) -> None:
    source = SOURCE.model_copy(update={"vocab_size": vocab_size})
    made = fetch_model(source, ArtifactStore(tmp_path), progress=silent)
    tokenizer = Tokenizer.from_file(str(made.path / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == vocab_size
    assert sorted(tokenizer.get_vocab().values()) == list(range(vocab_size))


def test_the_tokenizer_begins_with_bos_and_gives_every_text_back(model: Artifact) -> None:
    tokenizer = Tokenizer.from_file(str(model.path / "tokenizer.json"))
    for text in ("bypevis ryrkes.", "Größe 東京 🙂\n\ttab", "<|not special|>"):
        ids = tokenizer.encode(text).ids
        assert ids[0] == 0
        assert ids.count(0) == 1
        assert tokenizer.decode(ids) == text
    assert tokenizer.encode("<|im_start|>user<|im_end|>", add_special_tokens=False).ids[0] == 3


def test_the_configurations_agree_with_each_other(model: Artifact) -> None:
    config = read_json(model.path / "config.json")
    tokenizer = read_json(model.path / "tokenizer.json")
    settings = read_json(model.path / "tokenizer_config.json")
    generation = read_json(model.path / "generation_config.json")
    ids = tokenizer["model"]["vocab"]
    assert config["vocab_size"] == len(ids)
    assert config["num_attention_heads"] * config["head_dim"] == config["hidden_size"]
    assert [ids[settings[f"{name}_token"]] for name in ("bos", "eos", "pad")] == [0, 1, 2]
    assert [config[f"{name}_token_id"] for name in ("bos", "eos", "pad")] == [0, 1, 2]
    assert generation["eos_token_id"] == [ids["<|eos|>"], ids["<|im_end|>"]]
    assert settings["chat_template"] == (model.path / "chat_template.jinja").read_text()


def test_the_chat_template_says_the_turns_and_no_bos(model: Artifact) -> None:
    from jinja2.sandbox import SandboxedEnvironment

    template = SandboxedEnvironment().from_string((model.path / "chat_template.jinja").read_text())
    messages = [{"role": "user", "content": "hello"}]
    said = template.render(messages=messages, add_generation_prompt=True, bos_token="<|bos|>")
    assert said == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(DownloadError, match=r"pip install 'llm-dyno\[llama-cpp\]'"):
        fetch_model(SOURCE, ArtifactStore(tmp_path), progress=silent)


def test_the_key_names_the_tool_and_the_recipe(model: Artifact) -> None:
    assert model.manifest.made_from["recipe_version"] == synthetic.RECIPE_VERSION
    assert model.manifest.made_from["tokenizers"]
    assert hashlib.sha256((model.path / "config.json").read_bytes()).hexdigest() == hashes(model)["config.json"]
