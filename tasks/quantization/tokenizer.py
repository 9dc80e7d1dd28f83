"""The tokenizer of a Hugging Face folder in GGUF's words: byte-level BPE, which llama.cpp calls gpt2."""

import json
from pathlib import Path
from typing import Any

from experiments.errors import QuantizationError

Metadata = dict[str, Any]

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""Token types of GGUF."""

GPT2_REGEX = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3_REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PRE_TOKENIZERS = {(GPT2_REGEX, False): "gpt-2", (LLAMA3_REGEX, True): "llama-bpe"}
"""llama.cpp knows a pre-tokenizer by name. The name follows from the expression that splits the text, and from whether
a piece that is a token is taken whole, without merging (`ignore_merges`)."""


def tokenizer_metadata(folder: Path, *, vocab_size: int) -> Metadata:
    """Raises QuantizationError for every tokenizer that is not byte-level BPE of a known kind."""
    tokenizer = _read_json(folder / "tokenizer.json")
    config = _read_json(folder / "tokenizer_config.json", missing_ok=True)
    model = tokenizer.get("model") or {}
    _refuse_other_kinds(folder, tokenizer, model)
    tokens, types = _tokens(folder, tokenizer, vocab_size)
    metadata: Metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": _pre_tokenizer(folder, tokenizer),
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]],
    }
    metadata |= _special_ids(folder, config, tokens)
    bos = metadata.get("tokenizer.ggml.bos_token_id")
    metadata["tokenizer.ggml.add_bos_token"] = bos is not None and _adds_bos(tokenizer, config, tokens[bos])
    template = _chat_template(folder, config)
    return metadata | ({"tokenizer.chat_template": template} if template else {})


def _read_json(path: Path, *, missing_ok: bool = False) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except FileNotFoundError as error:
        if missing_ok:
            return {}
        raise QuantizationError(f"{path} is missing: a GGUF file carries the tokenizer") from error
    except ValueError as error:
        raise QuantizationError(f"{path} is no JSON: {error}") from error


def _refuse_other_kinds(folder: Path, tokenizer: dict[str, Any], model: dict[str, Any]) -> None:
    kind = model.get("type")
    problem = ""
    if kind != "BPE":
        problem = f"its model is {kind}"
    elif model.get("byte_fallback"):
        problem = "it is SentencePiece BPE with byte fallback"
    elif tokenizer.get("normalizer"):
        problem = f"it normalizes text ({tokenizer['normalizer'].get('type')})"
    if problem:
        raise QuantizationError(
            f"{folder / 'tokenizer.json'}: {problem}; GGUF files are made with byte-level BPE tokenizers (gpt2) only"
        )


def _pre_tokenizer(folder: Path, tokenizer: dict[str, Any]) -> str:
    kind = _split_expression(tokenizer.get("pre_tokenizer") or {}), bool(tokenizer["model"].get("ignore_merges"))
    if kind not in PRE_TOKENIZERS:
        known = ", ".join(PRE_TOKENIZERS.values())
        raise QuantizationError(
            f"{folder / 'tokenizer.json'}: its pre-tokenizer is none of those known here ({known}): llama.cpp would "
            "split text in another way than the model was trained with"
        )
    return PRE_TOKENIZERS[kind]


def _split_expression(pre: dict[str, Any]) -> str:
    """The regular expression that splits the text, "" where there is none or where something else is done too."""
    if pre.get("type") == "ByteLevel":
        return GPT2_REGEX if pre.get("use_regex", True) and not pre.get("add_prefix_space") else ""
    steps = pre.get("pretokenizers", []) if pre.get("type") == "Sequence" else []
    if [step.get("type") for step in steps] != ["Split", "ByteLevel"]:
        return ""
    split, level = steps
    plain = split.get("behavior") == "Isolated" and not split.get("invert")
    plain = plain and not level.get("use_regex", True) and not level.get("add_prefix_space")
    return str(split.get("pattern", {}).get("Regex", "")) if plain else ""


def _tokens(folder: Path, tokenizer: dict[str, Any], vocab_size: int) -> tuple[list[str], list[int]]:
    """By id. Rows of the embedding that no token has are filled, as every id needs a text of its own."""
    tokens = [f"[PAD{index}]" for index in range(vocab_size)]
    types = [UNUSED] * vocab_size
    named = [(index, text, NORMAL) for text, index in tokenizer["model"]["vocab"].items()]
    for added in tokenizer.get("added_tokens") or []:
        named.append((added["id"], added["content"], CONTROL if added.get("special") else USER_DEFINED))
    for index, text, kind in named:
        if index >= vocab_size:
            raise QuantizationError(
                f"{folder / 'tokenizer.json'}: token {index} {text!r} is beyond the vocab_size of config.json"
            )
        tokens[index], types[index] = text, kind
    return tokens, types


def _special_ids(folder: Path, config: dict[str, Any], tokens: list[str]) -> Metadata:
    """tokenizer_config.json names them by text; config.json by number, where the first of a list is the main one."""
    ids = {text: index for index, text in enumerate(tokens)}
    numbers = _read_json(folder / "config.json")
    names = {"bos": "bos", "eos": "eos", "pad": "padding"}
    found: Metadata = {}
    for name, word in names.items():
        text = config.get(f"{name}_token")
        text = text["content"] if isinstance(text, dict) else text
        number = numbers.get(f"{name}_token_id")
        number = number[0] if isinstance(number, list) else number
        index = ids.get(text, number) if isinstance(text, str) else number
        if index is not None:
            found[f"tokenizer.ggml.{word}_token_id"] = int(index)
    return found


def _adds_bos(tokenizer: dict[str, Any], config: dict[str, Any], bos: str) -> bool:
    """What the Hugging Face tokenizer does: its post-processor decides, else tokenizer_config.json."""
    post = tokenizer.get("post_processor") or {}
    for step in [post, *post.get("processors", [])]:
        if step.get("type") == "TemplateProcessing":
            first = step["single"][0]
            return bool(first.get("SpecialToken", {}).get("id") == bos)
    return bool(config.get("add_bos_token", False))


def _chat_template(folder: Path, config: dict[str, Any]) -> str:
    """chat_template.jinja is the newer place; an older one holds a text or a list of named ones."""
    path = folder / "chat_template.jinja"
    if path.exists():
        return path.read_text(encoding="utf-8")
    template = config.get("chat_template") or ""
    if isinstance(template, str):
        return template
    return next((str(each["template"]) for each in template if each["name"] == "default"), "")
