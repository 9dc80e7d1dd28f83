"""Tokens to make prompts of: ordinary ids and words, from a tokenizer's own vocabulary where there is one.

Only tokenizer.json is read, as JSON: the server's own count, not a second tokenizer, decides how long a prompt is.
"""

import random
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson

from experiments.errors import InputError

LARGEST_POOL = 4096
ORDINARY_IDS = range(1000, 5096)
"""No special token of the vocabularies in use lies here: theirs are below 1000 (Mistral's Tekken) or from 32,000 up."""

_ENGLISH = """
able back best blue body book call came case city cold come cost dark data date days deep done door down
each east easy even ever face fact fall farm fast feel feet felt find fine fire five food foot form four
free full game gave girl give goes gold good half hand hard have head hear heat held help here high hold
home hope hour idea keep kind king knew know land last late lead left less life line list live long look
lord lost love made main make many mark mean meet mind miss moon more most move much must name near need
next nine note once only open over page part pass past path plan play poor pull rain read real rest rich
ride ring rise road rock room rule safe said sale same sand save seat seem seen self send sent ship shop
show side sign size skin slow snow soft soil some song soon sort star stay step stop such sure take talk
tall team tell test text than that them then they thin this time told took town tree trip true turn type
unit very view wait walk wall want warm wash wave ways wear week well went were west what when wide wife
wild will wind wing wish with wood word work year your
"""

WORDS = tuple(_ENGLISH.split())
"""Common English words of four letters: with a space before it, each is one token in the vocabularies in use."""

LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
"""Words of one letter, for vocabularies that know no English."""

TOO_SMALL_A_POOL = 64
"""Fewer different ids than this make prompts that look alike."""

MOST_WORDS = 512

_WORD = re.compile(r"[Ġ▁]([a-z]{2,8})")
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")


def read_tokenizer(folder: Path) -> dict[str, int]:
    """Token → id of the ordinary tokens of tokenizer.json: no special or added one, no raw byte, no unknown."""
    path = folder / "tokenizer.json"
    try:
        content = orjson.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}. --tokenizer names a folder that holds tokenizer.json") from error
    except orjson.JSONDecodeError as error:
        raise InputError(f"{path}: no JSON: {error}") from error
    try:
        added = {token["id"] for token in content.get("added_tokens") or ()}
        unknown = content["model"].get("unk_token")
        tokens = _entries(content["model"]["vocab"])
        return {t: i for t, i in tokens if i not in added and t != unknown and not _BYTE.fullmatch(t)}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{path}: not the tokenizer.json of a language model: {error!r}") from error


def _entries(vocabulary: Any) -> Iterable[tuple[str, int]]:
    """A mapping of token to id, or a list of [token, score] where the place is the id."""
    if isinstance(vocabulary, dict):
        return [(str(token), int(number)) for token, number in vocabulary.items()]
    return [(str(entry[0]), number) for number, entry in enumerate(vocabulary)]


def pool_of_ids(ids: Iterable[int]) -> tuple[int, ...]:
    """At most LARGEST_POOL of them, spread evenly and the same each time."""
    ordered = sorted(set(ids))
    if len(ordered) > LARGEST_POOL:
        ordered = sorted(random.Random(0).sample(ordered, LARGEST_POOL))
    return tuple(ordered)


def words_of(tokens: Iterable[str]) -> tuple[str, ...]:
    """Words that are one token each when a space stands before them; short ones first.

    Where there are enough that are one token without the space as well, only those: a prompt begins with one."""
    every = frozenset(tokens)
    found = {match[1] for token in every if (match := _WORD.fullmatch(token))}
    alike = found & every
    chosen = alike if len(alike) >= TOO_SMALL_A_POOL else found
    return tuple(sorted(chosen, key=lambda word: (len(word), word))[:MOST_WORDS])


def end_tokens(folder: Path) -> tuple[int, ...]:
    """The ids that end an answer, by generation_config.json, config.json and tokenizer_config.json."""
    found: list[object] = []
    for name in ("generation_config.json", "config.json"):
        ends = _object(folder / name).get("eos_token_id")
        found += ends if isinstance(ends, list) else [ends]
    end = _object(folder / "tokenizer_config.json").get("eos_token")
    end = end.get("content") if isinstance(end, dict) else end
    added = _object(folder / "tokenizer.json").get("added_tokens") or []
    found += [token.get("id") for token in added if token.get("content") == end]
    return tuple(sorted({token for token in found if type(token) is int and token >= 0}))


def _object(path: Path) -> dict[str, Any]:
    """Empty where there is no such file, or no object in it."""
    try:
        content = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return content if isinstance(content, dict) else {}


def counter_of(folder: Path) -> Callable[[str], int] | None:
    """Counts the tokens of a text by tokenizer.json; None where the library for it is not installed."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        return None
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
