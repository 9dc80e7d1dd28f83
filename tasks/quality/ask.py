"""A server is asked for the log-probabilities of given tokens: three kinds of answer, and one probe of each."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx

from engine_adapters.base import RequestDialect, Scoring
from tasks.quality.record import Position
from tasks.quality.unavailable import Unavailable

Tokens = Sequence[int]
PROBED = 4
"""Tokens."""

NEARLY = 1e-4
"""How far two reports of the same log-probability may differ within one server: batches are summed in other orders."""


NO_CHARACTER = "\ufffd"


@dataclass(frozen=True, slots=True)
class Asker:
    """One server. `model` is the name that it serves its model by."""

    client: httpx.Client
    model: str
    dialect: RequestDialect

    def positions(self, text: int, tokens: Tokens) -> list[Position]:
        """All of a text but its first token. Raises Unavailable where the answer is not what the dialect says."""
        scoring = self._scoring()
        read = READERS[scoring.method]
        return [
            replace(one, text=text) for one in read(lambda known, forced: self._ask(scoring, known, forced), tokens)
        ]

    def probe(self, tokens: Tokens) -> None:
        """Raises Unavailable where what the engine claims does not hold: its numbers would be others than asked."""
        scoring = self._scoring()
        if len(tokens) < 3:
            raise Unavailable("its tokenizer makes fewer than three tokens of a reference text")
        if scoring.method == "forced_token":
            self._probe_forced(scoring, tokens)
        first, again = self.positions(0, tokens[:PROBED]), self.positions(0, tokens[:PROBED])
        for one, other in zip(first, again, strict=True):
            if one.logprob > one.top1_logprob + NEARLY or one.logprob > NEARLY:
                raise Unavailable("it reports a token as likelier than the likeliest")
            if one.token == one.top1 and abs(one.logprob - one.top1_logprob) > NEARLY:
                raise Unavailable("it reports two log-probabilities for one token")
            if abs(one.logprob - other.logprob) > 0.1:
                raise Unavailable("asked twice, it reports other log-probabilities")

    def _probe_forced(self, scoring: Scoring, tokens: Tokens) -> None:
        """Whatever token is forced, the report is of the same distribution: the one before the bias."""
        answers = ((token, self._ask(scoring, tokens[:1], token)) for token in dict.fromkeys(tokens[1:]))
        told = (_forced(answer, token, 1) for token, answer in answers if not _is_held_back(answer))
        one, other = next(told, None), next(told, None)
        if one is None or other is None:
            raise Unavailable("it tells nothing of the tokens of a reference text")
        if one.top1 != other.top1 or abs(one.top1_logprob - other.top1_logprob) > NEARLY:
            raise Unavailable("the log-probabilities that it reports are those after the bias")

    def answer(self, prompt: str, *, most_tokens: int) -> str:
        """What it says greedily. Raises Unavailable."""
        body = {**self.dialect.body, "prompt": prompt, "max_tokens": most_tokens}
        found = self._post("/v1/completions", body)
        try:
            return str(found["choices"][0]["text"])
        except (KeyError, IndexError, TypeError) as error:
            raise Unavailable(f"its answer has no text ({type(error).__name__})") from error

    def _scoring(self) -> Scoring:
        if self.dialect.scoring is None:
            raise Unavailable(self.dialect.no_scoring)
        return self.dialect.scoring

    def _ask(self, scoring: Scoring, tokens: Tokens, forced: int | None) -> Any:
        own = self.dialect.body if scoring.path == "/v1/completions" else {}
        filled = _filled(scoring.body, {"{tokens}": list(tokens), "{token}": forced})
        return self._post(scoring.path, {**own, **filled})

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        try:
            response = self.client.post(path, json={"model": self.model, **body})
            found = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise Unavailable(f"{path} gave no answer that is JSON ({type(error).__name__})") from error
        if response.status_code != 200:
            raise Unavailable(f"{path} answers http {response.status_code}: {response.text[:160]}")
        return found


Ask = Callable[[Tokens, int | None], Any]


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        return {key: _filled(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, values) for item in value]
    return values.get(value, value) if isinstance(value, str) else value


def _forced_tokens(ask: Ask, tokens: Tokens) -> list[Position]:
    """A token that is a part of a character only is held back, with all that is known of it: it has no position."""
    answers = ((place, ask(tokens[:place], tokens[place])) for place in range(1, len(tokens)))
    return [_forced(answer, tokens[place], place) for place, answer in answers if not _is_held_back(answer)]


def _is_held_back(answer: Any) -> bool:
    try:
        choice = answer["choices"][0]
        return choice["text"] in ("", NO_CHARACTER) and choice["logprobs"] is None
    except (KeyError, IndexError, TypeError):
        return False


def _forced(answer: Any, token: int, place: int) -> Position:
    try:
        drawn = answer["choices"][0]["logprobs"]["content"][0]
        top = drawn["top_logprobs"][0]
        said, found = int(drawn["id"]), (float(drawn["logprob"]), int(top["id"]), float(top["logprob"]))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise Unavailable(f"its answer has no log-probabilities of a token ({type(error).__name__})") from error
    if said != token:
        raise Unavailable("a bias does not make it draw the token that is asked about")
    return _position(place, token, *found)


def _prompt_logprobs(ask: Ask, tokens: Tokens) -> list[Position]:
    """By token id, in each place the text's own token and the likeliest, which has rank 1."""
    try:
        told = ask(tokens, None)["choices"][0]["prompt_logprobs"]
        _check_length(told, tokens)
        return [_of_ranked(entry, tokens[place], place) for place, entry in enumerate(told) if place]
    except (KeyError, IndexError, TypeError, ValueError, StopIteration) as error:
        raise Unavailable(f"its answer has no prompt_logprobs ({type(error).__name__})") from error


def _of_ranked(entry: Mapping[str, Mapping[str, Any]], token: int, place: int) -> Position:
    top = next(id_ for id_, one in entry.items() if one["rank"] == 1)
    own = float(entry[str(token)]["logprob"])
    return _position(place, token, own, int(top), float(entry[top]["logprob"]))


def _input_token_logprobs(ask: Ask, tokens: Tokens) -> list[Position]:
    try:
        told = ask(tokens, None)["meta_info"]
        own, top = told["input_token_logprobs"], told["input_top_logprobs"]
        _check_length(own, tokens)
        return [_of_triples(own[place], top[place][0], tokens[place], place) for place in range(1, len(tokens))]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise Unavailable(f"its answer has no input_token_logprobs ({type(error).__name__})") from error


def _of_triples(own: Sequence[Any], top: Sequence[Any], token: int, place: int) -> Position:
    if int(own[1]) != token:
        raise Unavailable("it reports log-probabilities of other tokens than it was given")
    return _position(place, token, float(own[0]), int(top[1]), float(top[0]))


def _check_length(told: Sequence[Any], tokens: Tokens) -> None:
    if len(told) != len(tokens):
        raise Unavailable(f"it reports {len(told)} positions of {len(tokens)} tokens")


def _position(place: int, token: int, logprob: float, top1: int, top1_logprob: float) -> Position:
    if not (math.isfinite(logprob) and math.isfinite(top1_logprob)):
        raise Unavailable("it reports a log-probability that is no number")
    return Position(0, place, token, logprob, top1, top1_logprob)


READERS: Mapping[str, Callable[[Ask, Tokens], list[Position]]] = {
    "forced_token": _forced_tokens,
    "prompt_logprobs": _prompt_logprobs,
    "input_token_logprobs": _input_token_logprobs,
}
