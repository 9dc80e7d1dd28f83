"""Exact prompt lengths: prompts that come out at the asked length by the server's own count.

Token ids are off by what the server adds (a BOS). Words are fitted: a chat template adds a constant, each word costs
the same, and at the length that the trial asks for the number of words is corrected until the server's count agrees.
"""

from dataclasses import replace

import orjson

from tasks.loadgen.body import TokenPrompts, WordPrompts, salt_start
from tasks.loadgen.probe import FIRST_INDEX, Probe
from tasks.loadgen.vocabulary import LETTERS, WORDS

TOLERANCE = 0.01
"""measurement.md: a trial whose realised tokens differ by more from those asked is invalid."""

FEW, MANY = 16, 64
MOST_CORRECTIONS = 4
LARGEST_CONSTANT = 8
"""A server that counts so many ids more than it was sent adds special tokens; one that counts others, retokenises."""

FEWEST_WORDS = 4
OUTPUT_TOKENS = 2


class NotCounted(Exception):
    """The server does not say how long a prompt is; the message is what it said instead."""


def examine_lengths(probe: Probe, own_words: tuple[str, ...]) -> None:
    """Fits probe.prompts to the server's count; a finding where the count stays off or unknown.

    `own_words` are words of the model's own vocabulary, where a tokenizer was given."""
    workload = probe.plan.workload
    first = workload.conversation.first_prompt_tokens if workload.conversation else None
    asked = first or workload.prompt_tokens
    try:
        if isinstance(probe.prompts, TokenPrompts):
            _fit_ids(probe, probe.prompts, asked)
        else:
            lists = [words for words in (own_words, WORDS, LETTERS) if len(words) >= len(LETTERS)]
            _fit_words(probe, lists, asked)
        counted = _count(probe, asked)
    except NotCounted as reason:
        probe.honoured["prompt_length"] = None
        probe.findings.append(f"prompt lengths cannot be verified: {reason}")
        return
    exact = abs(counted - asked) <= TOLERANCE * asked
    probe.honoured["prompt_length"] = exact
    if not exact:
        probe.findings.append(f"prompt length: the server counts {counted} tokens where {asked} were asked")


def _count(probe: Probe, tokens: int = 1, prompt: bytes | None = None) -> int:
    reply = probe.ask(OUTPUT_TOKENS, prompt_tokens=tokens, prompt=prompt)
    counted = reply.answer.prompt_tokens
    if counted is None:
        raise NotCounted(reply.reason or "no usage in the stream")
    return counted


def _fit_ids(probe: Probe, prompts: TokenPrompts, asked: int) -> None:
    added = _count(probe, asked) - asked
    if 0 < added <= LARGEST_CONSTANT:
        probe.prompts = replace(prompts, overhead_tokens=added)


def _fit_words(probe: Probe, lists: list[tuple[str, ...]], asked: int) -> None:
    """The first list whose words cost alike; where none is, single words that do."""
    for words in lists:
        fitted = _line(probe, words)
        if fitted is not None:
            break
    else:
        alike = _alike(probe)
        fitted = (_line(probe, alike) if len(alike) >= FEWEST_WORDS else None) or WordPrompts(WORDS)
    probe.prompts = replace(fitted, words_for={asked: _converged(probe, fitted, asked)})


def _count_words(probe: Probe, prompts: WordPrompts, words: int) -> int:
    text = prompts.text(probe.plan.seed, salt_start(probe.plan.seed), FIRST_INDEX + probe.asked, words)
    return _count(probe, prompt=orjson.dumps(text))


def _line(probe: Probe, words: tuple[str, ...]) -> WordPrompts | None:
    """Tokens as a straight line of words; None where texts of as many words are counted differently.

    A whole number of tokens a word is hardly chance; any other slope is held against two more texts."""
    prompts = WordPrompts(words)
    few, many = _count_words(probe, prompts, FEW), _count_words(probe, prompts, MANY)
    per_word = (many - few) / (MANY - FEW)
    looks = 1 if per_word.is_integer() else 3
    if per_word <= 0 or any(_count_words(probe, prompts, MANY) != many for _ in range(looks)):
        return None
    return replace(prompts, tokens_per_word=per_word, overhead_tokens=few - FEW * per_word)


def _alike(probe: Probe) -> tuple[str, ...]:
    """Letters that cost what most of them cost."""
    costs = {letter: _count(probe, prompt=orjson.dumps(" ".join([letter] * FEW))) for letter in LETTERS[1:13]}
    usual = max(costs.values(), key=[*costs.values()].count)
    return tuple(letter for letter, cost in costs.items() if cost == usual)


def _converged(probe: Probe, prompts: WordPrompts, asked: int) -> int:
    """The number of words whose count is nearest to what was asked."""
    words = prompts.count(asked)
    tried: dict[int, int] = {}
    while words not in tried and len(tried) < MOST_CORRECTIONS:
        missing = asked - _count_words(probe, prompts, words)
        tried[words] = abs(missing)
        words = max(1, words + round(missing / prompts.tokens_per_word))
    return min(tried, key=lambda words: tried[words])
