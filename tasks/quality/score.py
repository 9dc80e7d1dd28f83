"""One variant's server is scored: reference texts, greedy answers, the questions of a task. It never fails a cell."""

import time
from collections.abc import Callable
from pathlib import Path

import httpx

from engine_adapters.base import RequestDialect
from experiments.schema.quality import QualityPlan
from tasks.quality.ask import Asker
from tasks.quality.material import Material
from tasks.quality.record import Answer, Position, Scored
from tasks.quality.tokens import token_ids
from tasks.quality.unavailable import Unavailable

REQUEST_TIMEOUT_S = 120.0


def score(
    plan: QualityPlan,
    material: Material,
    *,
    url: str,
    model: str,
    dialect: RequestDialect,
    tokenizer: Path | None,
    launch: int,
    say: Callable[[str], None],
) -> Scored:
    """One request at a time: batches of other sizes would be other sums. What cannot be had has its reason."""
    started = time.monotonic()
    deadline = started + plan.max_seconds
    reasons: dict[str, str] = {}
    with httpx.Client(base_url=url, timeout=REQUEST_TIMEOUT_S, trust_env=False) as client:
        asker = Asker(client, model, dialect)
        answers = _answers(asker, plan, material, deadline, reasons)
        say(f"quality: {len(answers)} greedy answers")
        positions = _positions(asker, plan, material, tokenizer, deadline, reasons)
        say(f"quality: {len(positions)} positions of reference texts")
    return Scored(
        launch=launch,
        material=material.id,
        method=dialect.scoring.method if positions and dialect.scoring else "",
        seconds=round(time.monotonic() - started, 3),
        positions=tuple(positions),
        answers=tuple(answers),
        reasons=reasons,
    )


def _positions(
    asker: Asker,
    plan: QualityPlan,
    material: Material,
    tokenizer: Path | None,
    deadline: float,
    reasons: dict[str, str],
) -> list[Position]:
    """Whole texts until the time is over; where one fails on the way, none counts."""
    found: list[Position] = []
    lacking = 0
    try:
        texts = token_ids(material.texts, tokenizer, most=plan.tokens_per_text)
        asker.probe(texts[0])
        for number, tokens in enumerate(texts):
            if time.monotonic() > deadline:
                reasons["texts"] = f"{number} of {len(texts)} texts were scored in {plan.max_seconds:g} s"
                break
            here = asker.positions(number, tokens)
            lacking += len(tokens) - 1 - len(here)
            found += here
    except Unavailable as error:
        reasons["perplexity"] = str(error)
        return []
    if lacking:
        reasons["tokens"] = f"the engine tells nothing of {lacking} that are parts of a character"
    if not found:
        reasons["perplexity"] = reasons.get("texts") or "no text has two tokens"
    return found


def _answers(
    asker: Asker, plan: QualityPlan, material: Material, deadline: float, reasons: dict[str, str]
) -> list[Answer]:
    asked: list[tuple[str, str | None]] = [(prompt, None) for prompt in material.prompts]
    asked += [(one.question, one.answer) for one in material.questions]
    found: list[Answer] = []
    try:
        for prompt, expected in asked:
            if time.monotonic() > deadline:
                raise Unavailable(f"{len(found)} of {len(asked)} prompts were answered in {plan.max_seconds:g} s")
            found.append(Answer(prompt, asker.answer(prompt, most_tokens=plan.answer_tokens), expected))
    except Unavailable as error:
        reasons["answers"] = str(error)
    return found
