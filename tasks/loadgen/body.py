"""Request bodies of exact length: pure functions of seed, index and lengths. Light: a worker unpickles this module."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

OUTPUT_TOKENS = "\0output_tokens"
"""Stands in the skeleton for the output length; no text that a person writes contains it."""

PROMPT = "\0prompt"

OUTPUT_TOKENS_IN_JSON = b'"\\u0000output_tokens"'
PROMPT_IN_JSON = b'"\\u0000prompt"'

SALT_BITS = 48
"""Two trials of 100,000 requests each, with different seeds, share a salt with a probability below 1e-9."""


def mixed(seed: int, index: int) -> random.Random:
    """A stream of its own for each request: the same whichever process makes the body, in whichever order."""
    return random.Random((seed % 2**64) << 64 | index)


def salt_start(seed: int) -> int:
    """Where the salts of a trial start to count."""
    return random.Random(seed).getrandbits(SALT_BITS)


def _salt(value: int, base: int) -> list[int]:
    """The digits of a number, least significant first: neighbours differ in their first token, all in the first few."""
    digits = []
    rest = value % 2**SALT_BITS + 2**SALT_BITS
    while rest:
        rest, digit = divmod(rest, base)
        digits.append(digit)
    return digits


T = TypeVar("T")


def _first(pool: Sequence[T], value: int, count: int) -> list[T]:
    """At most `count` of the pool that say which number this is."""
    return [pool[digit] for digit in _salt(value, len(pool))][: max(0, count)]


@dataclass(frozen=True, slots=True)
class Prefix:
    """What the prompts of a group begin with: the same in each trial, told by the seed and the group."""

    seed: int
    group: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Sharing:
    """Which requests begin with a shared prefix: spread evenly, so that any stretch of them has the share."""

    seed: int
    tokens: int
    share_millionths: int
    groups: int

    def prefix(self, index: int) -> Prefix | None:
        """None for a request that shares nothing; groups take turns."""
        before, after = (at * self.share_millionths // 1_000_000 for at in (index, index + 1))
        return self.of_group(before % self.groups) if after > before else None

    def of_group(self, group: int) -> Prefix:
        return Prefix(self.seed, group, self.tokens)


class Prompts(Protocol):
    """Makes the prompt of any request, as JSON. `exact`: it has the tokens that were asked for."""

    @property
    def exact(self) -> bool: ...

    def render(self, seed: int, salt: int, index: int, tokens: int, prefix: Prefix | None = None) -> bytes: ...


@dataclass(frozen=True, slots=True)
class TokenPrompts:
    """Prompts of token ids from `ids` (decimal text each). `overhead_tokens` is what the server adds: a BOS."""

    ids: tuple[bytes, ...]
    overhead_tokens: int = 0

    @property
    def exact(self) -> bool:
        return True

    def render(self, seed: int, salt: int, index: int, tokens: int, prefix: Prefix | None = None) -> bytes:
        length = max(1, tokens - self.overhead_tokens)
        common = [] if prefix is None else self._some(prefix.seed, prefix.seed, prefix.group, prefix.tokens)
        own = self._some(seed, salt, index, length - len(common))
        return b"[" + b",".join(common + own) + b"]"

    def _some(self, seed: int, salt: int, index: int, count: int) -> list[bytes]:
        first = _first(self.ids, salt + index, count)
        return first + mixed(seed, index).choices(self.ids, k=max(0, count - len(first)))


@dataclass(frozen=True, slots=True)
class WordPrompts:
    """Prompts of words that cost the same everywhere: `tokens_per_word`, beside the `overhead_tokens` of the template.

    `words_for` holds the lengths that were converged on the server's own count: tokens → words.
    """

    words: tuple[str, ...]
    overhead_tokens: float = 0.0
    tokens_per_word: float = 1.0
    words_for: dict[int, int] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        return True

    def count(self, tokens: int) -> int:
        """Words that make so many tokens; at least one."""
        fitted = round((tokens - self.overhead_tokens) / self.tokens_per_word)
        return max(1, self.words_for.get(tokens, fitted))

    def text(self, seed: int, salt: int, index: int, words: int) -> str:
        return " ".join(self._some(seed, salt, index, words))

    def _some(self, seed: int, salt: int, index: int, count: int) -> list[str]:
        first = _first(self.words, salt + index, count)
        return first + mixed(seed, index).choices(self.words, k=max(0, count - len(first)))

    def render(self, seed: int, salt: int, index: int, tokens: int, prefix: Prefix | None = None) -> bytes:
        count = self.count(tokens)
        common: list[str] = []
        if prefix is not None:
            words = round(prefix.tokens / self.tokens_per_word)
            common = self._some(prefix.seed, prefix.seed, prefix.group, min(words, count - 1))
        own = self._some(seed, salt, index, count - len(common))
        return b'"' + " ".join(common + own).encode() + b'"'


@dataclass(frozen=True, slots=True)
class EnglishPrompts:
    """Prompts of an opening, whole sentences, and short words of one token each that fill them up (english.py).

    Costs are in tokens after another sentence: counted by the model's tokenizer where there is one (`exact`), else
    estimated, so that only the mean is as asked. Neighbours have different openings.
    """

    openings: tuple[str, ...]
    opening_costs: tuple[float, ...]
    sentences: tuple[str, ...]
    costs: tuple[float, ...]
    fillers: tuple[str, ...]
    overhead_tokens: float = 0.0
    exact: bool = False

    def render(self, seed: int, salt: int, index: int, tokens: int, prefix: Prefix | None = None) -> bytes:
        length, common = max(1.0, tokens - self.overhead_tokens), list[str]()
        if prefix is not None:
            common = self._some(prefix.seed, prefix.seed, prefix.group, prefix.tokens)
            length -= prefix.tokens
        return json.dumps(" ".join(common + self._some(seed, salt, index, length))).encode()

    def _some(self, seed: int, salt: int, index: int, tokens: float) -> list[str]:
        """Sentences for as long as one of a few at random fits."""
        rng, left, chosen = mixed(seed, index), tokens, list[str]()
        opening = (salt + index) % len(self.openings)
        if self.opening_costs[opening] <= left:
            chosen.append(self.openings[opening])
            left -= self.opening_costs[opening]
        while (number := self._fitting(rng, left)) is not None:
            chosen.append(self.sentences[number])
            left -= self.costs[number]
        return chosen + rng.choices(self.fillers, k=max(0, round(left)))

    def _fitting(self, rng: random.Random, left: float) -> int | None:
        tries = (rng.randrange(len(self.sentences)) for _ in range(_TRIES))
        return next((number for number in tries if self.costs[number] <= left), None)

    def scaled(self, factor: float) -> "EnglishPrompts":
        """With all costs so many times as high."""
        return replace(
            self,
            costs=tuple(factor * cost for cost in self.costs),
            opening_costs=tuple(factor * cost for cost in self.opening_costs),
        )


_TRIES = 8
"""Sentences that are tried for the end of a prompt: with more, the words that fill it up are fewer."""


@dataclass(frozen=True, slots=True)
class TextPrompts:
    """A dataset's own texts, in the order of the trial; a length that is asked changes nothing.

    With `salt_words` a few of them stand before each text, so that no two prompts begin alike."""

    texts: tuple[str, ...]
    salt_words: tuple[str, ...] = ()
    exact: bool = False

    def render(self, seed: int, salt: int, index: int, tokens: int, prefix: Prefix | None = None) -> bytes:
        text = self.texts[index % len(self.texts)]
        return json.dumps(salted(text, self.salt_words, salt + index)).encode()


@dataclass(frozen=True, slots=True)
class TurnTexts:
    """What the human says in a dataset's conversations, turn by turn; the salt stands before the first."""

    turns: tuple[tuple[str, ...], ...]
    most_turns: int
    salt_words: tuple[str, ...] = ()
    exact: bool = False

    def render(self, seed: int, salt: int, index: int, tokens: int, prefix: Prefix | None = None) -> bytes:
        conversation, turn = divmod(index, self.most_turns)
        said = self.turns[conversation % len(self.turns)]
        words = () if turn else self.salt_words
        return json.dumps(salted(said[turn % len(said)], words, salt + conversation)).encode()


def salted(text: str, words: tuple[str, ...], value: int) -> str:
    """The text after the words that say which number this is; the text alone where there are no words."""
    return " ".join(_first(words, value, SALT_BITS)) + "\n\n" + text if words else text


@dataclass(frozen=True, slots=True)
class BodySource:
    """`path` and `headers` go with each request; the authorization header is the sender's to add.

    Requests of one seed never share a prompt, beyond the prefix that `sharing` gives them, unless there are only `hot`
    different ones; a server that is measured twice needs a new seed, or its cache knows them. `head` and `tail` are
    the JSON around the prompt; `in_text` where they are parts of the same string as the prompt.
    """

    path: str
    headers: tuple[tuple[str, str], ...]
    head: bytes
    tail: bytes
    prompts: Prompts
    seed: int
    salt: int
    sharing: Sharing | None = None
    hot: int | None = None
    in_text: bool = False

    def body(self, index: int, prompt_tokens: int, output_tokens: int) -> bytes:
        """JSON; the same bytes for the same arguments in every process."""
        return self.around(self.prompt(index, prompt_tokens), output_tokens)

    def prompt(self, index: int, tokens: int) -> bytes:
        """What a request says, as JSON."""
        prefix = None if self.sharing is None else self.sharing.prefix(index)
        number = index if self.hot is None else index % self.hot
        return self.prompts.render(self.seed, self.salt, number, tokens, prefix)

    def around(self, prompt: bytes, output_tokens: int) -> bytes:
        """The body of a request for this prompt, given as JSON."""
        prompt = prompt[1:-1] if self.in_text else prompt
        return self.head.replace(OUTPUT_TOKENS_IN_JSON, b"%d" % output_tokens) + prompt + self.tail
