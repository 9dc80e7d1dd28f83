"""Exact prompt lengths: prompts that come out at the asked length by the server's own count.

Token ids are off by what the server adds (a BOS). Words are fitted: a chat template adds a constant, each word costs
the same, and at the length that the trial asks for the number of words is corrected until the server's count agrees.
"""

from collections.abc import Callable
from dataclasses import replace

import orjson

from experiments.schema.length import shortest
from experiments.schema.prompts import English
from tasks.loadgen.body import EnglishPrompts, TextPrompts, TokenPrompts, WordPrompts, salt_start, salted
from tasks.loadgen.english import FILLERS, OPENINGS, sentences
from tasks.loadgen.material import Material, material_of
from tasks.loadgen.probe import FIRST_INDEX, Probe
from tasks.loadgen.vocabulary import LETTERS, WORDS, counter_of

TOLERANCE = 0.01
"""measurement.md: a trial whose realised tokens differ by more from those asked is invalid."""

FEW, MANY = 16, 64
MOST_CORRECTIONS = 4
LARGEST_CONSTANT = 8
"""A server that counts so many ids more than it was sent adds special tokens; one that counts others, retokenises."""

FEWEST_WORDS = 4
LONG = 400
"""Tokens, by estimate, of the longer of two English texts."""

TOKENS_PER_WORD = 1.3
"""Of English prose in the vocabularies in use, before the server has counted any."""

OUTPUT_TOKENS = 2


class NotCounted(Exception):
    """The server does not say how long a prompt is; the message is what it said instead."""


def examine_lengths(probe: Probe, own_words: tuple[str, ...]) -> None:
    """Fits probe.prompts to the server's count; a finding where the count stays off or unknown.

    `own_words` are words of the model's own vocabulary, where a tokenizer was given."""
    material = material_of(probe.plan)
    try:
        if material is not None and material.texts:
            _examine_texts(probe, material)
            return
        lengths = _lengths(probe, material)
        _fit(probe, own_words, lengths)
        counted = {asked: _count(probe, asked) for asked in lengths}
    except NotCounted as reason:
        probe.honoured["prompt_length"] = None
        probe.findings.append(f"prompt lengths cannot be verified: {reason}")
        return
    if isinstance(probe.prompts, EnglishPrompts) and not probe.prompts.exact:
        probe.honoured["prompt_length"] = "in the mean"
        return
    off = {asked: count for asked, count in counted.items() if abs(count - asked) > TOLERANCE * asked}
    probe.honoured["prompt_length"] = not off
    for asked, count in off.items():
        probe.findings.append(f"prompt length: the server counts {count} tokens where {asked} were asked")


def _lengths(probe: Probe, material: Material | None) -> list[int]:
    """At which lengths prompts are verified: the one there is, else the longest and the shortest that may come."""
    if material is not None:
        return sorted({max(material.prompt_tokens), min(material.prompt_tokens)}, reverse=True)
    workload = probe.plan.workload
    if workload.conversation is not None and workload.conversation.first_prompt_tokens is not None:
        return [workload.conversation.first_prompt_tokens]
    least = shortest(workload.prompt_tokens)
    if least < workload.longest_prompt_tokens:
        # Shorter ones than the template of a chat cannot be: what the middle shows holds for those that can.
        least = max(least, min(MANY, workload.longest_prompt_tokens))
    return sorted({workload.longest_prompt_tokens, least}, reverse=True)


def _fit(probe: Probe, own_words: tuple[str, ...], lengths: list[int]) -> None:
    prompts = probe.plan.workload.prompts
    if isinstance(prompts, English):
        _fit_english(probe, prompts.seed, lengths[0])
    elif isinstance(probe.prompts, TokenPrompts):
        _fit_ids(probe, probe.prompts, lengths[0])
    else:
        lists = [words for words in (own_words, WORDS, LETTERS) if len(words) >= len(LETTERS)]
        _fit_words(probe, lists, lengths)


def _examine_texts(probe: Probe, material: Material) -> None:
    """What the server adds to a text that a tokenizer has counted. Without it lengths are what the server says."""
    probe.honoured["prompt_length"] = None
    text, salt = material.texts[0], salt_start(probe.plan.seed)
    sent = TextPrompts((text,), material.salt_words)
    counted = _count(probe, prompt=sent.render(0, salt, FIRST_INDEX, 0))
    if not material.prompt_tokens[0] or probe.plan.tokenizer is None:
        return
    count = counter_of(probe.plan.tokenizer)
    own = count(salted(text, material.salt_words, salt + FIRST_INDEX)) if count else 0
    short = _count(probe, prompt=orjson.dumps("A")) - (count("A") if count else 0)
    agrees = abs(counted - own - short) <= max(1, TOLERANCE * counted)
    probe.honoured["prompt_length"] = agrees
    if agrees:
        probe.text_overhead = short


def _fit_english(probe: Probe, seed: int, asked: int) -> None:
    """Sentences with their costs: by the tokenizer where there is one that agrees with the server, else by the
    server's count of two long texts."""
    count = counter_of(probe.plan.tokenizer) if probe.plan.tokenizer else None
    exact = _counted_english(seed, count) if count is not None else None
    if exact is not None:
        exact = replace(exact, overhead_tokens=float(_count_english(probe, exact, asked) - asked))
        if all(abs(_count_english(probe, exact, asked) - asked) <= TOLERANCE * asked for _ in range(2)):
            probe.prompts = exact
            return
    rough = _english(seed, lambda text: TOKENS_PER_WORD * len(text.split()), FILLERS)
    few, many = (_count_english(probe, rough, length) for length in (MANY, LONG))
    slope = max((many - few) / (LONG - MANY), 0.1)
    probe.prompts = replace(rough.scaled(slope), overhead_tokens=many - slope * LONG)


def _counted_english(seed: int, count: Callable[[str], int]) -> EnglishPrompts | None:
    """None where the vocabulary has no cheap words to fill prompts up with."""
    before = count("So.")
    cheap = tuple(word for word in FILLERS if count(f"So. {word}") - before == 1)
    return replace(_english(seed, lambda text: count(f"So. {text}") - before, cheap), exact=True) if cheap else None


def _english(seed: int, cost: Callable[[str], float], fillers: tuple[str, ...]) -> EnglishPrompts:
    texts = sentences(seed)
    return EnglishPrompts(OPENINGS, tuple(map(cost, OPENINGS)), texts, tuple(map(cost, texts)), fillers)


def _count_english(probe: Probe, prompts: EnglishPrompts, tokens: int) -> int:
    seed = probe.plan.seed
    return _count(probe, prompt=prompts.render(seed, salt_start(seed), FIRST_INDEX + probe.asked, tokens))


def _count(probe: Probe, tokens: int = 1, prompt: bytes | None = None) -> int:
    reply = probe.ask(OUTPUT_TOKENS, prompt_tokens=tokens, prompt=prompt)
    counted: int | None = reply.answer.prompt_tokens
    if counted is None:
        raise NotCounted(reply.reason or "no usage in the stream")
    return counted


def _fit_ids(probe: Probe, prompts: TokenPrompts, asked: int) -> None:
    added = _count(probe, asked) - asked
    if 0 < added <= LARGEST_CONSTANT:
        probe.prompts = replace(prompts, overhead_tokens=added)


def _fit_words(probe: Probe, lists: list[tuple[str, ...]], lengths: list[int]) -> None:
    """The first list whose words cost alike; where none is, single words that do."""
    for words in lists:
        fitted = _line(probe, words)
        if fitted is not None:
            break
    else:
        alike = _alike(probe)
        fitted = (_line(probe, alike) if len(alike) >= FEWEST_WORDS else None) or WordPrompts(WORDS)
    probe.prompts = replace(fitted, words_for={asked: _converged(probe, fitted, asked) for asked in lengths})


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
