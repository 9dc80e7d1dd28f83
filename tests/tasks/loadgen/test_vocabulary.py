"""Ordinary tokens from a tokenizer's files."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.errors import InputError
from tasks.loadgen.vocabulary import (
    LETTERS,
    ORDINARY_IDS,
    WORDS,
    counter_of,
    end_tokens,
    pool_of_ids,
    read_tokenizer,
    words_of,
)

BPE: dict[str, Any] = {
    "added_tokens": [{"id": 0, "content": "<s>"}, {"id": 1, "content": "</s>"}, {"id": 9, "content": "<|im_end|>"}],
    "model": {
        "type": "BPE",
        "vocab": {"<s>": 0, "</s>": 1, "a": 2, "Ġhello": 3, "<0x0A>": 4, "Ġ42": 5, "<|im_end|>": 9},
    },
}
UNIGRAM: dict[str, Any] = {
    "added_tokens": [{"id": 0, "content": "<pad>"}],
    "model": {"type": "Unigram", "vocab": [["<pad>", 0], ["▁bay", -1.5], ["<0x41>", -2], ["x", -3]]},
}


def folder(tmp_path: Path, **files: object) -> Path:
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return tmp_path


def test_special_tokens_and_raw_bytes_are_left_out(tmp_path: Path) -> None:
    assert read_tokenizer(folder(tmp_path, tokenizer=BPE)) == {"a": 2, "Ġhello": 3, "Ġ42": 5}
    assert read_tokenizer(folder(tmp_path, tokenizer=UNIGRAM)) == {"▁bay": 1, "x": 3}


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"model": {"vocab": 7}}', '{"added_tokens": [7], "model": {"vocab": {}}}']
)
def test_what_is_no_tokenizer_is_told_with_its_path(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        read_tokenizer(folder(tmp_path, tokenizer=content))


def test_a_folder_without_a_tokenizer_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names a folder that holds"):
        read_tokenizer(tmp_path)


def test_the_ends_of_answers_are_found_wherever_they_are_said(tmp_path: Path) -> None:
    config = {"eos_token_id": 1}
    generation = {"eos_token_id": [1, 9]}
    assert end_tokens(folder(tmp_path, config=config)) == (1,)
    assert end_tokens(folder(tmp_path, generation_config=generation)) == (1, 9)
    for said in ("<|im_end|>", {"content": "<|im_end|>"}):
        tmp = tmp_path / str(type(said).__name__)
        tmp.mkdir()
        assert end_tokens(folder(tmp, tokenizer=BPE, tokenizer_config={"eos_token": said})) == (9,)


def test_no_ends_are_known_of_an_empty_folder(tmp_path: Path) -> None:
    assert end_tokens(folder(tmp_path, config="nonsense", tokenizer_config=[1])) == ()


def test_a_pool_is_spread_over_its_source_and_always_the_same() -> None:
    pool = pool_of_ids(range(100_000))
    assert pool == pool_of_ids(reversed(range(100_000)))
    assert len(set(pool)) == 4096
    assert pool[0] < 1000
    assert pool[-1] > 99_000


def test_words_of_a_vocabulary_are_those_with_a_space_before_them() -> None:
    assert words_of(["Ġhello", "▁bay", "hello", "Ġ42", "Ġa", "ĠHi"]) == ("bay", "hello")


def test_words_that_are_a_token_without_the_space_too_are_preferred() -> None:
    words = [f"{a}{b}" for a in "abcdefgh" for b in "abcdefgh"]
    assert words_of(["Ġother", *words, *(f"Ġ{word}" for word in words)]) == tuple(sorted(words))


def test_the_built_in_words_are_unlike_each_other_and_equally_long() -> None:
    assert len(set(WORDS)) == len(WORDS) > 64
    assert {len(word) for word in WORDS} == {4}
    assert len(set(LETTERS)) == 26
    assert len(ORDINARY_IDS) == 4096


def test_a_tokenizer_counts_text_without_special_tokens(tmp_path: Path) -> None:
    start = [{"SpecialToken": {"id": "a", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    special = {"a": {"id": "a", "ids": [1], "tokens": ["a"]}}
    content = {
        "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1, "b": 2}, "unk_token": "[UNK]"},
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {"type": "TemplateProcessing", "single": start, "pair": [], "special_tokens": special},
        "added_tokens": [],
    }
    count = counter_of(folder(tmp_path, tokenizer=content))
    assert count is not None
    assert count("a b b") == 3
