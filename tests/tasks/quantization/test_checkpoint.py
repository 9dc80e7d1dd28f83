"""Checkpoints: what is in the file, when it is made again, and what is refused."""

import json
import os
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import pytest

from engine_adapters.base import CheckpointSpec
from experiments.errors import QuantizationError, SetupError
from experiments.schema.model import LocalSource
from tasks.artifacts.manifest import Artifact, sha256_of
from tasks.artifacts.sources import fetch_model
from tasks.artifacts.store import ArtifactStore, silent
from tasks.quantization.checkpoint import RECIPES, make_checkpoint
from tasks.quantization.ggml import find_ggml_library

Tensors = dict[str, npt.NDArray[np.float32]]
Vary = Any

F16 = CheckpointSpec("gguf", "F16")


def made(model: Artifact, recipe: str, store: ArtifactStore, site_packages: Path | None = None) -> Artifact:
    library = None if site_packages is None else find_ggml_library(site_packages)
    return make_checkpoint(model, CheckpointSpec("gguf", recipe), store, progress=silent, ggml_library=library)


def weights_in(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    reader = gguf.GGUFReader(path)
    return {
        tensor.name: gguf.quants.dequantize(np.array(tensor.data), tensor.tensor_type).astype(np.float32)
        for tensor in reader.tensors
    }


def types_in(path: Path) -> dict[str, str]:
    return {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors}


def test_safetensors_as_they_are_are_the_models_own_artifact(model: Artifact, store: ArtifactStore) -> None:
    assert make_checkpoint(model, CheckpointSpec("safetensors", "as_is"), store, progress=silent) is model


def test_an_unknown_recipe_names_those_that_there_are(model: Artifact, store: ArtifactStore) -> None:
    with pytest.raises(QuantizationError, match=r"no recipe makes gguf/IQ1_S; there are safetensors/as_is, gguf/F16"):
        make_checkpoint(model, CheckpointSpec("gguf", "IQ1_S"), store, progress=silent)


@pytest.mark.parametrize("recipe", ["F16", "BF16"])
def test_sixteen_bits_hold_the_weights_themselves(
    model: Artifact, tensors: Tensors, store: ArtifactStore, recipe: str
) -> None:
    """Small BF16 weights below F16's normal range lose bits there, and only there."""
    found = weights_in(made(model, recipe, store).entry)
    assert len(found) == len(tensors)
    for ours, theirs in {
        "model.embed_tokens.weight": "token_embd.weight",
        "lm_head.weight": "output.weight",
        "model.layers.2.mlp.down_proj.weight": "blk.2.ffn_down.weight",
        "model.layers.3.self_attn.v_proj.weight": "blk.3.attn_v.weight",
        "model.layers.1.post_attention_layernorm.weight": "blk.1.ffn_norm.weight",
    }.items():
        expected = tensors[ours]
        tolerance = 2.0**-25 if recipe == "F16" else 0.0
        assert np.abs(found[theirs] - expected).max() <= tolerance


def test_query_and_key_rows_are_paired_as_llama_cpp_rotates_them(
    model: Artifact, tensors: Tensors, store: ArtifactStore
) -> None:
    """Row i of a head's first half goes to 2i, row i of its second half to 2i + 1."""
    found = weights_in(made(model, "BF16", store).entry)
    for ours, theirs, heads in (("q_proj", "attn_q", 4), ("k_proj", "attn_k", 2)):
        expected = tensors[f"model.layers.1.self_attn.{ours}.weight"]
        for head in range(heads):
            for row in range(32):
                first, second = expected[64 * head + row], expected[64 * head + 32 + row]
                assert (found[f"blk.1.{theirs}.weight"][64 * head + 2 * row] == first).all()
                assert (found[f"blk.1.{theirs}.weight"][64 * head + 2 * row + 1] == second).all()


def test_the_file_says_what_the_model_and_its_tokenizer_are(model: Artifact, store: ArtifactStore) -> None:
    reader = gguf.GGUFReader(made(model, "F16", store).entry)
    tokenizer = json.loads((model.path / "tokenizer.json").read_text())
    fields = {key: field.contents() for key, field in reader.fields.items()}
    expected = {
        "general.architecture": "llama",
        "general.file_type": 1,
        "llama.block_count": 4,
        "llama.context_length": 512,
        "llama.embedding_length": 256,
        "llama.feed_forward_length": 512,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.rope.dimension_count": 64,
        "llama.rope.freq_base": 10000.0,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.padding_token_id": 2,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.chat_template": (model.path / "chat_template.jinja").read_text(),
    }
    assert {key: fields[key] for key in expected} == expected
    assert fields["tokenizer.ggml.tokens"] == sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    assert fields["tokenizer.ggml.token_type"] == [3] * 5 + [1] * (768 - 5)
    assert len(fields["tokenizer.ggml.merges"]) == len(tokenizer["model"]["merges"])


@pytest.mark.engine
def test_a_q4_k_m_file_mixes_types_as_llama_cpp_does(
    model: Artifact, store: ArtifactStore, site_packages: Path
) -> None:
    """Of four layers the third (every third) and the fourth (the last eighth, rounded down) get more bits."""
    checkpoint = made(model, "Q4_K_M", store, site_packages)
    six_bits = {"output.weight", *(f"blk.{layer}.{name}.weight" for layer in (2, 3) for name in ("attn_v", "ffn_down"))}
    types = types_in(checkpoint.entry)
    assert {name for name, kind in types.items() if kind == "Q6_K"} == six_bits
    assert {kind for name, kind in types.items() if "norm" in name} == {"F32"}
    assert checkpoint.facts["tensor_types"] == {"F32": 9, "Q4_K": 25, "Q6_K": 5}
    assert set(checkpoint.facts["relative_rmse"]) == {"F32", "Q4_K", "Q6_K"}
    assert checkpoint.facts["tools"]["ggml"]["version"] == "2026.10.11549"


@pytest.mark.engine
def test_fewer_bits_make_smaller_files_and_larger_errors(
    model: Artifact, store: ArtifactStore, site_packages: Path
) -> None:
    recipes = ["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0"]
    checkpoints = [made(model, recipe, store, site_packages) for recipe in recipes]
    true = weights_in(checkpoints[0].entry)["blk.0.ffn_up.weight"]
    errors = [np.abs(weights_in(each.entry)["blk.0.ffn_up.weight"] - true).mean() for each in checkpoints]
    bits = [each.facts["bits_per_weight"] for each in checkpoints]
    assert bits == sorted(bits, reverse=True)
    assert errors == sorted(errors)


@pytest.mark.engine
def test_the_library_and_the_gguf_package_make_the_same_q8_0_weights(
    model: Artifact, store: ArtifactStore, site_packages: Path
) -> None:
    with_library = made(model, "Q8_0", store, site_packages)
    without = made(model, "Q8_0", store)
    assert with_library.key != without.key
    assert sha256_of(with_library.entry) == sha256_of(without.entry)


def test_k_quants_without_the_library_say_what_to_do(model: Artifact, store: ArtifactStore) -> None:
    with pytest.raises(QuantizationError, match="make the environment of the engine first"):
        made(model, "Q4_K_M", store)


def test_a_checkpoint_is_made_once_and_is_the_same_bytes_elsewhere(
    model: Artifact, store: ArtifactStore, tmp_path: Path
) -> None:
    first, again = made(model, "F16", store), made(model, "F16", store)
    elsewhere = made(model, "F16", ArtifactStore(tmp_path))
    assert not again.was_made
    assert elsewhere.was_made
    assert (elsewhere.key, sha256_of(elsewhere.entry)) == (first.key, sha256_of(first.entry))


@pytest.mark.parametrize("change", [{"shards": 3}, {"dtype": "F32"}])
def test_shards_and_wider_weights_make_the_same_file(
    model: Artifact, store: ArtifactStore, vary: Vary, change: dict[str, Any]
) -> None:
    varied = made(vary(**change), "BF16", store)
    assert sha256_of(varied.entry) == sha256_of(made(model, "BF16", store).entry)


def test_half_precision_weights_are_read(store: ArtifactStore, vary: Vary, tensors: Tensors) -> None:
    found = weights_in(made(vary(dtype="F16"), "F16", store).entry)
    assert (found["blk.0.ffn_up.weight"] == tensors["model.layers.0.mlp.up_proj.weight"].astype(np.float16)).all()


@pytest.mark.engine
def test_a_tied_head_is_the_embedding_and_has_its_bits(store: ArtifactStore, vary: Vary, site_packages: Path) -> None:
    tied = vary(config={"tie_word_embeddings": True}, drop=("lm_head.weight",))
    types = types_in(made(tied, "Q4_K_M", store, site_packages).entry)
    assert "output.weight" not in types
    assert types["token_embd.weight"] == "Q6_K"


def test_rows_without_a_token_get_a_text_of_their_own(store: ArtifactStore, vary: Vary, tensors: Tensors) -> None:
    wide = np.vstack([tensors["model.embed_tokens.weight"], np.ones((32, 256), dtype=np.float32)])
    model = vary(config={"vocab_size": 800}, replace={"model.embed_tokens.weight": wide, "lm_head.weight": wide})
    fields = gguf.GGUFReader(made(model, "F16", store).entry).fields
    assert fields["tokenizer.ggml.tokens"].contents()[768:770] == ["[PAD768]", "[PAD769]"]
    assert fields["tokenizer.ggml.token_type"].contents()[768:] == [5] * 32


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"config": {"architectures": ["Qwen3ForCausalLM"]}},
            r"architecture is \['Qwen3ForCausalLM'\].*LlamaForCausalLM",
        ),
        ({"config": {"quantization_config": {"quant_method": "awq"}}}, "already quantized"),
        ({"config": {"attention_bias": True}}, "attention has biases"),
        ({"config": {"hidden_act": "gelu"}}, "activation is gelu"),
        ({"config": {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}}, "scaled by yarn"),
        ({"tokenizer": {"model": {"type": "Unigram"}}}, "its model is Unigram.*byte-level BPE"),
        ({"tokenizer": {"model": {"type": "BPE", "byte_fallback": True}}}, "SentencePiece"),
        (
            {"tokenizer": {"pre_tokenizer": {"type": "Whitespace"}}},
            "pre-tokenizer is none of those known.*gpt-2, llama-bpe",
        ),
        ({"tokenizer": {"normalizer": {"type": "NFC"}}}, "normalizes text"),
        ({"config": {"rms_norm_eps": None}}, r"config\.json: it lacks rms_norm_eps"),
        ({"config": {"vocab_size": 700}}, "token 7.. .* is beyond the vocab_size"),
        ({"drop": ("model.layers.2.mlp.up_proj.weight",)}, r"missing model\.layers\.2\.mlp\.up_proj\.weight"),
        ({"config": {"num_hidden_layers": 3}}, r"not understood model\.layers\.3\..* and 6 more"),
        ({"dtype": "F64"}, "is F64; a checkpoint is made from BF16, F16, F32"),
    ],
)
def test_what_cannot_be_converted_is_refused_by_name(
    store: ArtifactStore, vary: Vary, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(QuantizationError, match=said):
        made(vary(**change), "F16", store)
    assert list(store.root.glob(".partial-*")) == []


@pytest.mark.parametrize(("value", "said"), [(np.nan, "NaN or infinite"), (1e30, "beyond ±65504.*use bf16")])
def test_weights_that_the_file_cannot_hold_are_refused(
    store: ArtifactStore, vary: Vary, tensors: Tensors, value: float, said: str
) -> None:
    name = "model.layers.1.mlp.down_proj.weight"
    broken = tensors[name].copy()
    broken[3, 5] = value
    with pytest.raises(QuantizationError, match=said):
        made(vary(replace={name: broken}), "F16", store)


def test_a_file_cut_short_is_refused(store: ArtifactStore, vary: Vary) -> None:
    folder = vary().path
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(1_000_000)
    model = fetch_model(LocalSource(kind="local", path=str(folder)), store, progress=silent)
    with pytest.raises(QuantizationError, match=r"does not lie whole in the file\. Download it again"):
        made(model, "F16", store)


def test_weights_that_changed_since_they_were_fetched_are_noticed(store: ArtifactStore, vary: Vary) -> None:
    model = vary()
    path = model.path / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(0, 0))
    with pytest.raises(SetupError, match="changed while it was in use"):
        made(model, "F16", store)


def test_every_type_that_an_adapter_asks_for_has_a_recipe() -> None:
    from engine_adapters.llama_cpp import GGUF_TYPES

    assert {("gguf", name) for name in GGUF_TYPES.values()} <= set(RECIPES)
