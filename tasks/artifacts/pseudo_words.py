"""A byte-level BPE tokenizer trained on made-up words, equal on every machine for equal arguments.

Randomness comes as raw bits of PCG64, which numpy promises never to change, and only whole numbers are made from them:
no distribution, logarithm or hash order that a version or a processor could do otherwise.
"""

import numpy as np
import numpy.typing as npt

from experiments.errors import DownloadError

SPECIAL_TOKENS = ("<|bos|>", "<|eos|>", "<|pad|>", "<|im_start|>", "<|im_end|>")
"""Their ids are their places."""

BOS, EOS, PAD, IM_START, IM_END = range(len(SPECIAL_TOKENS))

SYLLABLES = tuple(c + v + end for c in "bcdfghjklmnpqrstvwxz" for v in "aeiouy" for end in ("", "n", "r", "s"))
WORDS_A_LINE = 20
DRAWN_WORDS = 400_000


def trained_tokenizer(*, seed: int, vocab_size: int) -> str:
    """The content of tokenizer.json, with exactly `vocab_size` tokens. Raises DownloadError without `tokenizers`."""
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    except ImportError as error:
        raise DownloadError(
            missing_package("tokenizers", "a synthetic model's tokenizer is trained with it")
        ) from error
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_lines(seed, vocab_size), trainer)
    bos = SPECIAL_TOKENS[BOS]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, BOS)]
    )
    if tokenizer.get_vocab_size() != vocab_size:
        raise DownloadError(f"the tokenizer has {tokenizer.get_vocab_size()} tokens, not {vocab_size}: report this")
    return str(tokenizer.to_str(pretty=True))


def missing_package(package: str, why: str) -> str:
    """What to do when the extra is not installed."""
    return f"the package {package} is not installed ({why}): pip install 'llm-dyno[llama-cpp]'"


def _lines(seed: int, vocab_size: int) -> list[str]:
    """Each word once, so that any vocabulary can be reached; then words by a law in which the rank is log-uniform."""
    bits = np.random.PCG64(seed % 2**64)
    words = _lexicon(bits, max(4000, vocab_size * 3 // 2))
    octaves = _below(bits, DRAWN_WORDS, len(words).bit_length())
    ranks = _below(bits, DRAWN_WORDS, 2**32) & ((np.uint64(1) << octaves) - np.uint64(1))
    drawn = [words[rank] for rank in np.minimum(ranks, len(words) - 1).tolist()]
    spoken = words + drawn
    return [" ".join(spoken[at : at + WORDS_A_LINE]) + "." for at in range(0, len(spoken), WORDS_A_LINE)]


def _lexicon(bits: np.random.PCG64, count: int) -> list[str]:
    """Distinct words of one to four syllables; a dict keeps the order in which they were drawn."""
    words: dict[str, None] = {}
    while len(words) < count:
        lengths = (_below(bits, count, 4) + 1).tolist()
        syllables = _below(bits, 4 * count, len(SYLLABLES)).reshape(count, 4).tolist()
        for length, chosen in zip(lengths, syllables, strict=True):
            words["".join(SYLLABLES[index] for index in chosen[:length])] = None
    return list(words)[:count]


def _below(bits: np.random.PCG64, count: int, bound: int) -> npt.NDArray[np.uint64]:
    raw: npt.NDArray[np.uint64] = np.asarray(bits.random_raw(count), dtype=np.uint64)
    return (raw >> np.uint64(11)) % np.uint64(bound)
