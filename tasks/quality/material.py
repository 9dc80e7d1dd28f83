"""What is scored: reference texts, prompts and the questions of a task. The same for every variant of an experiment."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from experiments.errors import InputError, Problem
from experiments.schema.base import content_id
from experiments.schema.quality import BUILTIN, QualityPlan
from experiments.schema.read import catalog

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Question:
    """`answer` is what the model is to say, to the letter but for white space around it."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Material:
    """`id` is of the content, and of the lengths to which it is taken."""

    texts: tuple[str, ...]
    prompts: tuple[str, ...]
    questions: tuple[Question, ...]
    id: str


def read_material(plan: QualityPlan) -> Material:
    """What the plan names. Raises InputError, naming file and line, where a file cannot be that."""
    texts, prompts = _items(plan.texts, "texts"), _items(plan.prompts, "prompts")
    questions = _lines(plan.task, "task", _question) if plan.task else ()
    asked = [[one.question, one.answer] for one in questions]
    identity = content_id("quality", texts, prompts, asked, plan.tokens_per_text, plan.answer_tokens)
    return Material(texts, prompts, questions, identity)


def _items(source: str, kind: str) -> tuple[str, ...]:
    if source == BUILTIN:
        return tuple(str(item) for item in catalog("quality")[kind]["items"])
    return _lines(source, kind, lambda line: line)


def _lines(source: str, kind: str, parsed: Callable[[str], T]) -> tuple[T, ...]:
    """One item for each line that is not empty."""
    try:
        text = Path(source).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        problem = Problem(source, "", f"the {kind} of `quality` cannot be read: {why}")
        raise InputError(problems=(problem,)) from error
    found = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not found:
        raise InputError(problems=(Problem(source, "", f"holds no {kind}: write one in each line"),))
    items: list[T] = []
    problems: list[Problem] = []
    for number, line in found:
        try:
            items.append(parsed(line))
        except ValueError as error:
            problems.append(Problem(source, f"line {number}", str(error)))
    if problems:
        raise InputError(problems=tuple(problems[:20]))
    return tuple(items)


def _question(line: str) -> Question:
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg}") from error
    if not isinstance(found, dict):
        raise ValueError('is not an object such as {"question": "2 + 2 =", "answer": "4"}')
    question, answer = found.get("question"), found.get("answer")
    if not isinstance(question, str) or not isinstance(answer, str) or not question.strip() or not answer.strip():
        raise ValueError('needs the texts "question" and "answer"')
    return Question(question, answer.strip())
