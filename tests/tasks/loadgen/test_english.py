"""Synthetic English costs what prose costs: held against prose that lies on every machine with Python, by a BPE that is
trained on other prose of the same kind."""

import json
import re
from collections import Counter
from pydoc_data.topics import topics

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from tasks.loadgen.body import EnglishPrompts, Sharing
from tasks.loadgen.english import OPENINGS, sentences
from tasks.loadgen.lengths import _counted_english


def paragraphs() -> list[str]:
    """Of Python's own language reference: what is mostly words, without its code and tables."""
    blocks = [" ".join(block.split()) for block in re.split(r"\n\s*\n", "\n\n".join(topics.values()))]
    prose = [b for b in blocks if len(b) > 150 and sum(c.isalpha() or c == " " for c in b) > 0.9 * len(b)]
    return list(dict.fromkeys(prose))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    made = Tokenizer(BPE())
    made.pre_tokenizer = ByteLevel(add_prefix_space=False)
    trainer = BpeTrainer(vocab_size=6000, initial_alphabet=ByteLevel.alphabet(), show_progress=False)
    made.train_from_iterator(paragraphs()[::2], trainer)
    return made


def tokens_per_word(tokenizer: Tokenizer, texts: list[str]) -> float:
    return sum(len(tokenizer.encode(text).ids) for text in texts) / sum(len(text.split()) for text in texts)


def test_english_has_about_as_many_tokens_a_word_as_prose_and_noise_has_many_more(tokenizer: Tokenizer) -> None:
    prose = tokens_per_word(tokenizer, paragraphs()[1::2])
    ours = tokens_per_word(tokenizer, list(sentences(0)))
    # The vocabulary is that of a manual, so that words of other walks of life cost it more.
    assert 0.85 * prose < ours < 1.45 * prose
    noise = " ".join("".join(chr(97 + (i * j * 7 + j) % 26) for j in range(1, 6)) for i in range(1, 500))
    assert tokens_per_word(tokenizer, [noise]) > 1.5 * ours


def test_words_are_as_unevenly_frequent_as_in_prose() -> None:
    """The ten most frequent words are a fifth to two fifths of all, and half of the different words are rare."""
    words = re.findall(r"[a-z']+", " ".join(sentences(0)).lower())
    counts = Counter(words)
    assert 0.2 < sum(count for _, count in counts.most_common(10)) / len(words) < 0.4
    assert sum(count < len(words) / 2000 for count in counts.values()) > len(counts) / 2


def test_sentences_look_like_sentences_and_repeat_for_a_seed_only() -> None:
    for sentence in sentences(1):
        assert re.fullmatch(r'["A-Z0-9].*[.?!]', sentence), sentence
        assert "  " not in sentence
    assert sentences(1) == sentences(1)
    assert not set(sentences(1)) & set(sentences(2)) or len(set(sentences(1)) & set(sentences(2))) < 100
    assert len(set(OPENINGS)) == len(OPENINGS)


@pytest.fixture(scope="module")
def prompts(tokenizer: Tokenizer) -> EnglishPrompts:
    made = _counted_english(3, lambda text: len(tokenizer.encode(text).ids))
    assert made is not None
    return made


@pytest.mark.parametrize("tokens", [5, 64, 500])
def test_prompts_have_the_tokens_asked_as_the_whole_text_is_counted(
    tokenizer: Tokenizer, prompts: EnglishPrompts, tokens: int
) -> None:
    for index in range(20):
        text = json.loads(prompts.render(1, 7, index, tokens))
        # The first word has no space before it, which may cost a token more or less.
        assert abs(len(tokenizer.encode(text).ids) - tokens) <= 2


def test_neighbours_begin_with_different_words(prompts: EnglishPrompts) -> None:
    first = [json.loads(prompts.render(1, 7, index, 100)).split()[0] for index in range(len(OPENINGS))]
    assert len(set(first)) == len(OPENINGS)


def test_a_shared_beginning_is_the_same_text(prompts: EnglishPrompts) -> None:
    sharing = Sharing(seed=5, tokens=60, share_millionths=1_000_000, groups=1)
    texts = [json.loads(prompts.render(1, 7, index, 200, sharing.prefix(index))) for index in range(10)]
    prefix = json.loads(prompts.render(5, 5, 0, 60))
    assert all(text.startswith(prefix + " ") for text in texts)
    assert len({text[len(prefix) :][:30] for text in texts}) == 10
