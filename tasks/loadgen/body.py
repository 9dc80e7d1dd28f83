"""Request bodies of exact length: pure functions of seed, index and lengths. Light: a worker unpickles this module."""

import random
from dataclasses import dataclass, field

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


@dataclass(frozen=True, slots=True)
class TokenPrompts:
    """Prompts of token ids from `ids` (decimal text each). `overhead_tokens` is what the server adds: a BOS."""

    ids: tuple[bytes, ...]
    overhead_tokens: int = 0

    def render(self, seed: int, salt: int, index: int, tokens: int) -> bytes:
        length = max(1, tokens - self.overhead_tokens)
        first = [self.ids[digit] for digit in _salt(salt + index, len(self.ids))][:length]
        rest = mixed(seed, index).choices(self.ids, k=length - len(first))
        return b"[" + b",".join(first + rest) + b"]"


@dataclass(frozen=True, slots=True)
class WordPrompts:
    """Prompts of words that cost the same everywhere: `tokens_per_word`, beside the `overhead_tokens` of the template.

    `words_for` holds the lengths that were converged on the server's own count: tokens → words.
    """

    words: tuple[str, ...]
    overhead_tokens: float = 0.0
    tokens_per_word: float = 1.0
    words_for: dict[int, int] = field(default_factory=dict)

    def count(self, tokens: int) -> int:
        """Words that make so many tokens; at least one."""
        fitted = round((tokens - self.overhead_tokens) / self.tokens_per_word)
        return max(1, self.words_for.get(tokens, fitted))

    def text(self, seed: int, salt: int, index: int, words: int) -> str:
        first = [self.words[digit] for digit in _salt(salt + index, len(self.words))][:words]
        return " ".join(first + mixed(seed, index).choices(self.words, k=words - len(first)))

    def render(self, seed: int, salt: int, index: int, tokens: int) -> bytes:
        return b'"' + self.text(seed, salt, index, self.count(tokens)).encode() + b'"'


@dataclass(frozen=True, slots=True)
class BodySource:
    """`path` and `headers` go with each request; the authorization header is the sender's to add.

    Requests of one seed never share a prompt; a server that is measured twice needs a new seed, or its cache knows
    them. `head` and `tail` are the JSON around the prompt.
    """

    path: str
    headers: tuple[tuple[str, str], ...]
    head: bytes
    tail: bytes
    prompts: TokenPrompts | WordPrompts
    seed: int
    salt: int

    def body(self, index: int, prompt_tokens: int, output_tokens: int) -> bytes:
        """JSON; the same bytes for the same arguments in every process."""
        return self.around(self.prompt(index, prompt_tokens), output_tokens)

    def prompt(self, index: int, tokens: int) -> bytes:
        """What a request says, as JSON."""
        return self.prompts.render(self.seed, self.salt, index, tokens)

    def around(self, prompt: bytes, output_tokens: int) -> bytes:
        """The body of a request for this prompt, given as JSON."""
        return self.head.replace(OUTPUT_TOKENS_IN_JSON, b"%d" % output_tokens) + prompt + self.tail
