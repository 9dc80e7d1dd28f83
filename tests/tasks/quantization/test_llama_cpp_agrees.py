"""The real server on files that were made here, against the model computed in numpy from the safetensors.

The numpy model has the Hugging Face layout: rotary halves, norms, grouped queries. It shares no code with the
converter, so a wrong permutation, a swapped norm, a lost RoPE scaling or a shifted token would show.
"""

import json
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engine_adapters.base import CheckpointSpec
from tasks.artifacts.manifest import Artifact
from tasks.artifacts.store import ArtifactStore, silent
from tasks.quantization.checkpoint import make_checkpoint
from tasks.quantization.ggml import find_ggml_library

pytestmark = pytest.mark.engine

Floats = npt.NDArray[np.floating[Any]]
Tensors = dict[str, npt.NDArray[np.float32]]

PROMPT = [0, *range(300, 348)]
NEW_TOKENS = 16

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}

SERVER = """
import os, sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.hostnames = ["127.0.0.1"]
params.port = 0
params.n_ctx, params.n_parallel = 256, 1
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.ui = False
server = xllamacpp.Server(params)
print("AT", server.listening_address, flush=True)
sys.stdin.read()
os._exit(0)
"""
"""Ends when its stdin closes."""


@contextmanager
def served(python: Path, model: Path) -> Iterator[str]:
    server = subprocess.Popen(
        [python, "-c", SERVER, model],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with server:
        assert server.stdout is not None
        address = next(line.split()[1] for line in server.stdout if line.startswith("AT "))
        yield address


def asked(url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return dict(json.loads(response.read()))


def greedy(url: str) -> list[int]:
    body = {"prompt": PROMPT, "n_predict": NEW_TOKENS, "temperature": 0, "return_tokens": True, "ignore_eos": True}
    return list(asked(url, "/completion", body)["tokens"])


def logits(tensors: Tensors, config: dict[str, Any], tokens: list[int]) -> Floats:
    """(tokens, vocabulary), in float64. Llama as published: RMSNorm, rotate-half RoPE, grouped queries, SwiGLU."""
    weights = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    x = weights["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        part = {name.split(".", 3)[3]: w for name, w in weights.items() if name.startswith(f"model.layers.{layer}.")}
        x = x + attention(norm(x, part["input_layernorm.weight"]), part, config)
        h = norm(x, part["post_attention_layernorm.weight"])
        gate = h @ part["mlp.gate_proj.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ part["mlp.up_proj.weight"].T)) @ part["mlp.down_proj.weight"].T
    head = weights["model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"]
    return np.asarray(norm(x, weights["model.norm.weight"]) @ head.T)


def norm(x: Floats, weight: Floats) -> Floats:
    return np.asarray(x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * weight)


def attention(h: Floats, part: Mapping[str, Floats], config: dict[str, Any]) -> Floats:
    count, heads, kv_heads, width = len(h), config["num_attention_heads"], config["num_key_value_heads"], 64
    cosine, sine = rotation(count, width, config)

    def projected(name: str, of: int) -> Floats:
        return np.asarray((h @ part[f"self_attn.{name}_proj.weight"].T).reshape(count, of, width).swapaxes(0, 1))

    def rotated(x: Floats) -> Floats:
        halves = np.concatenate([-x[..., width // 2 :], x[..., : width // 2]], axis=-1)
        return np.asarray(x * cosine + halves * sine)

    query = rotated(projected("q", heads))
    key, value = rotated(projected("k", kv_heads)), projected("v", kv_heads)
    key, value = (np.repeat(each, heads // kv_heads, axis=0) for each in (key, value))
    scores = query @ key.swapaxes(1, 2) / np.sqrt(width) + np.triu(np.full((count, count), -np.inf), 1)
    share = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = (share / share.sum(-1, keepdims=True)) @ value
    return np.asarray(mixed.swapaxes(0, 1).reshape(count, -1) @ part["self_attn.o_proj.weight"].T)


def rotation(count: int, width: int, config: dict[str, Any]) -> tuple[Floats, Floats]:
    frequencies = config["rope_theta"] ** -(np.arange(0, width, 2) / width)
    scaling = config["rope_scaling"] or {"rope_type": "default"}
    if scaling["rope_type"] == "linear":
        frequencies = frequencies / scaling["factor"]
    if scaling["rope_type"] == "llama3":
        frequencies = np.array([stretched(frequency, scaling) for frequency in frequencies])
    angles = np.outer(np.arange(count), np.concatenate([frequencies, frequencies]))
    return np.cos(angles), np.sin(angles)


def stretched(frequency: float, scaling: dict[str, Any]) -> float:
    turns = scaling["original_max_position_embeddings"] * frequency / (2 * np.pi)
    if turns > scaling["high_freq_factor"]:
        return frequency
    if turns < scaling["low_freq_factor"]:
        return float(frequency / scaling["factor"])
    smooth = (turns - scaling["low_freq_factor"]) / (scaling["high_freq_factor"] - scaling["low_freq_factor"])
    return float((1 - smooth) * frequency / scaling["factor"] + smooth * frequency)


def shortfalls(tensors: Tensors, config: dict[str, Any], answered: list[int]) -> Floats:
    """How far the logit of each token that the server chose is below the best one, in the numpy model."""
    found = logits(tensors, config, PROMPT + answered)[len(PROMPT) - 1 : -1]
    return np.asarray(found.max(-1) - found[np.arange(len(answered)), answered])


@pytest.mark.parametrize(
    ("recipe", "most"), [("F16", 0.02), ("BF16", 0.05), ("Q8_0", 0.1), ("Q6_K", 0.4), ("Q4_K_M", 1.0)]
)
def test_the_server_says_what_the_weights_say(
    engine_environment: Path,
    site_packages: Path,
    model: Artifact,
    tensors: Tensors,
    store: ArtifactStore,
    recipe: str,
    most: float,
) -> None:
    """Logits have a deviation of about 1; a token at random falls short by about 3."""
    library = find_ggml_library(site_packages)
    spec = CheckpointSpec("gguf", recipe)
    checkpoint = make_checkpoint(model, spec, store, progress=silent, ggml_library=library)
    config = json.loads((model.path / "config.json").read_text())
    with served(engine_environment / "bin" / "python", checkpoint.entry) as url:
        answered = greedy(url)
    assert len(answered) == NEW_TOKENS
    short = shortfalls(tensors, config, answered)
    assert short.max() < most, short


@pytest.mark.parametrize(
    "change",
    [
        {"rope_scaling": LLAMA3_ROPE},
        {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
        {"tie_word_embeddings": True},
        {"rope_theta": 500.0},
    ],
)
def test_what_the_config_changes_the_server_does(
    engine_environment: Path, tensors: Tensors, store: ArtifactStore, vary: Any, change: dict[str, Any]
) -> None:
    varied = vary(config=change)
    config = json.loads((varied.path / "config.json").read_text())
    checkpoint = make_checkpoint(varied, CheckpointSpec("gguf", "F16"), store, progress=silent)
    with served(engine_environment / "bin" / "python", checkpoint.entry) as url:
        answered = greedy(url)
    assert shortfalls(tensors, config, answered).max() < 0.02
    unchanged = config | {"rope_scaling": None, "tie_word_embeddings": False, "rope_theta": 10000.0}
    assert shortfalls(tensors, unchanged, answered).max() > 0.5, "the change makes no difference here"


TEXTS = (
    "don't STOP'LL  here, 12345 times!\n\n  x",
    "bypevis ryrkes, kesbinjinter.",
    "Größe 東京 🙂 \t x",
    "<|im_end|>\n",
)

LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""As tokenizer.json of Llama 3 has it."""


def like_llama3(model: Artifact) -> dict[str, Any]:
    tokenizer = json.loads((model.path / "tokenizer.json").read_text())
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": LLAMA3_SPLIT}, "behavior": "Isolated", "invert": False}
    template = tokenizer["post_processor"]
    return {
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
        "post_processor": {"type": "Sequence", "processors": [{**level, "use_regex": True}, template]},
        "model": tokenizer["model"] | {"ignore_merges": True},
    }


@pytest.mark.parametrize("kind", ["gpt-2", "llama-bpe"])
def test_the_server_splits_text_as_the_models_tokenizer_does(
    engine_environment: Path, model: Artifact, store: ArtifactStore, vary: Any, kind: str
) -> None:
    from tokenizers import Tokenizer

    varied = vary(tokenizer=like_llama3(model)) if kind == "llama-bpe" else model
    tokenizer = Tokenizer.from_file(str(varied.path / "tokenizer.json"))
    checkpoint = make_checkpoint(varied, CheckpointSpec("gguf", "F16"), store, progress=silent)
    with served(engine_environment / "bin" / "python", checkpoint.entry) as url:
        body = {"add_special": True, "parse_special": True}
        found = [asked(url, "/tokenize", {"content": text, **body})["tokens"] for text in TEXTS]
    assert found == [tokenizer.encode(text).ids for text in TEXTS]


def test_a_chat_begins_with_one_bos(engine_environment: Path, model: Artifact, store: ArtifactStore) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model.path / "tokenizer.json"))
    expected = tokenizer.encode("<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n").ids
    assert expected.count(0) == 1
    checkpoint = make_checkpoint(model, CheckpointSpec("gguf", "F16"), store, progress=silent)
    with served(engine_environment / "bin" / "python", checkpoint.entry) as url:
        body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 1}
        usage = asked(url, "/v1/chat/completions", body)["usage"]
    assert usage["prompt_tokens"] == len(expected)
