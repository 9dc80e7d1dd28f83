"""What a trial's requests are made from where a dataset says it: texts and lengths, read once, in the trial's order."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from experiments.errors import InputError
from experiments.schema.length import FromData, OutputLength
from experiments.schema.prompts import Dataset
from tasks.loadgen.body import salted
from tasks.loadgen.datasets import Row, read_dataset
from tasks.loadgen.plan import TrialPlan
from tasks.loadgen.vocabulary import TOO_SMALL_A_POOL, WORDS, counter_of, read_tokenizer, words_of


@dataclass(frozen=True, slots=True)
class Material:
    """One entry a usable row. `texts` is empty where the dataset tells lengths only; `prompt_tokens` is 0 where nobody
    can tell, and counts the text alone; `output_tokens` is None where the model is to end by itself.

    `turns` are all that the human says in each conversation, the text first. `salt_words` stand before texts that are
    to share nothing, and cost `salt_tokens`."""

    texts: tuple[str, ...]
    prompt_tokens: tuple[int, ...]
    output_tokens: tuple[int, ...] | None
    salt_words: tuple[str, ...] = ()
    salt_tokens: int = 0
    turns: tuple[tuple[str, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.prompt_tokens)

    def in_order_of(self, seed: int, first: int | None) -> "Material":
        """Shuffled for a trial; with `first` only so many rows of it."""
        order = list(range(len(self)))
        random.Random(seed).shuffle(order)
        order = order[:first]
        return Material(
            texts=tuple(self.texts[at] for at in order) if self.texts else (),
            prompt_tokens=tuple(self.prompt_tokens[at] for at in order),
            output_tokens=None if self.output_tokens is None else tuple(self.output_tokens[at] for at in order),
            salt_words=self.salt_words,
            salt_tokens=self.salt_tokens,
            turns=tuple(self.turns[at] for at in order) if self.turns else (),
        )


def material_of(plan: TrialPlan) -> Material | None:
    """The dataset of a plan, in the order of the trial; None where its workload has none. Raises InputError where it
    cannot be read, or where no row fits the lengths asked."""
    spec = plan.workload.prompts
    if not isinstance(spec, Dataset):
        return None
    path = plan.dataset or (Path(spec.path) if spec.path is not None else None)
    if path is None:
        raise InputError(f"{spec.repo}: this dataset was not downloaded before the trial")
    workload = plan.workload
    assert isinstance(workload.prompt_tokens, FromData), "validated"
    whole = _read(path, spec, workload.prompt_tokens, workload.output_tokens, workload.cache == "cold", plan.tokenizer)
    return whole.in_order_of(plan.seed, workload.hot_prompts if workload.cache == "hot" else None)


def ends_by_itself(plan: TrialPlan) -> bool:
    """Whether no answer of this trial is held to a length."""
    return plan.workload.ends_by_itself or _has_no_output_lengths(plan)


def _has_no_output_lengths(plan: TrialPlan) -> bool:
    material = material_of(plan) if isinstance(plan.workload.output_tokens, FromData) else None
    return material is not None and material.output_tokens is None


@lru_cache(maxsize=4)
def _read(
    path: Path, spec: Dataset, bounds: FromData, output: OutputLength, is_cold: bool, tokenizer: Path | None
) -> Material:
    count = counter_of(tokenizer) if tokenizer is not None else None
    rows = _alike(read_dataset(path, spec))
    counted = [(row, _prompt_tokens(row, count), _output_tokens(row, output, count)) for row in rows]
    answered = any(tokens is not None for _, _, tokens in counted)
    fitting = [
        (row, prompt, answer)
        for row, prompt, answer in counted
        if (not prompt or bounds.min <= prompt <= bounds.max) and (not answered or _fits(answer, output))
    ]
    if not fitting:
        raise InputError(
            f"{path}: none of its {len(rows)} prompts has {bounds.min} to {bounds.max} tokens and an answer that fits: "
            "give prompt_tokens or output_tokens: {kind: data} another min or max"
        )
    is_text = fitting[0][0].prompt is not None
    salt = _salt_words(tokenizer) if is_cold and is_text else ()
    return Material(
        texts=tuple(row.prompt or "" for row, _, _ in fitting) if is_text else (),
        prompt_tokens=tuple(_told(row, prompt, count) for row, prompt, _ in fitting),
        output_tokens=tuple(answer or 0 for _, _, answer in fitting) if answered else None,
        salt_words=salt,
        salt_tokens=count(salted("x", salt, 0)) - count("x") if salt and count else 0,
        turns=tuple(row.turns or (row.prompt or "",) for row, _, _ in fitting) if is_text else (),
    )


def _alike(rows: tuple[Row, ...]) -> list[Row]:
    """Texts where there are any, else lengths."""
    texts = [row for row in rows if row.prompt is not None]
    return texts or [row for row in rows if row.prompt_tokens is not None]


def _prompt_tokens(row: Row, count: Callable[[str], int] | None) -> int:
    """For choosing rows: the model's own count, else what the dataset says, else 0."""
    return count(row.prompt) if row.prompt is not None and count else row.prompt_tokens or 0


def _told(row: Row, prompt: int, count: Callable[[str], int] | None) -> int:
    """What may be expected of the server: a dataset's own number of a text is another tokenizer's."""
    return prompt if row.prompt is None or count else 0


def _output_tokens(row: Row, output: OutputLength, count: Callable[[str], int] | None) -> int | None:
    if not isinstance(output, FromData):
        return None
    if row.output_tokens is not None:
        return row.output_tokens
    return max(1, count(row.response)) if row.response and count else None


def _fits(answer: int | None, output: OutputLength) -> bool:
    return isinstance(output, FromData) and answer is not None and output.min <= answer <= output.max


def _salt_words(tokenizer: Path | None) -> tuple[str, ...]:
    """Words of the model's own vocabulary, so that each salt costs the same."""
    own = words_of(read_tokenizer(tokenizer)) if tokenizer is not None else ()
    return own if len(own) >= TOO_SMALL_A_POOL else WORDS
