"""A variant is scored once, whole texts within its time, and what was had can be read back and computed again."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from engine_adapters.base import PROMPT_LOGPROBS, RequestDialect
from experiments.errors import InputError
from experiments.schema.quality import QualityPlan
from tasks.quality.figures import figures_of
from tasks.quality.material import Material, Question, read_material
from tasks.quality.record import Scored, read_scored, write_scored
from tasks.quality.score import score
from tests.tasks.quality.stand_in_server import logprob, stand_in

MATERIAL = Material(("aab", "abcab"), ("say",), (Question("capital?", "answer to capital?"),), "id")
DIALECT = RequestDialect(scoring=PROMPT_LOGPROBS)


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """Each letter is its place in the alphabet."""
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {letter: place for place, letter in enumerate("abcdef")}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def scored(tokenizer: Path | None, plan: QualityPlan, dialect: RequestDialect = DIALECT, habit: str = "") -> Scored:
    with stand_in(habit) as url:
        return score(
            plan, MATERIAL, url=url, model="m", dialect=dialect, tokenizer=tokenizer, launch=3, say=lambda _: None
        )


def test_texts_answers_and_the_task_are_scored_on_one_server(tokenizer: Path) -> None:
    found = scored(tokenizer, QualityPlan())
    pairs = [(0, 0), (0, 1), (0, 1), (1, 2), (2, 0), (0, 1)]
    mean = sum(logprob(before, token) for before, token in pairs) / len(pairs)
    assert figures_of(found).perplexity == pytest.approx(math.exp(-mean))
    assert (found.method, found.launch, found.material, found.reasons) == ("prompt_logprobs", 3, "id", {})
    assert [one.answer for one in found.answers] == ["answer to say\nand on", "answer to capital?\nand on"]
    task = figures_of(found).task
    assert task is not None
    assert task.correct == 1


def test_texts_are_cut_to_the_plans_length(tokenizer: Path) -> None:
    assert [one.position for one in scored(tokenizer, QualityPlan(tokens_per_text=3)).positions] == [1, 2, 1, 2]


def test_without_a_tokenizer_or_a_way_to_ask_there_are_answers_and_a_reason(tokenizer: Path) -> None:
    nowhere = scored(None, QualityPlan())
    assert (nowhere.method, nowhere.positions, len(nowhere.answers)) == ("", (), 2)
    assert "tokenizer.json" in nowhere.reasons["perplexity"]
    mute = scored(tokenizer, QualityPlan(), RequestDialect(no_scoring="it is mute"))
    assert mute.reasons["perplexity"] == "it is mute"
    refusing = scored(tokenizer, QualityPlan(), habit="refuses")
    assert (refusing.answers, refusing.positions) == ((), ())
    assert "http 400" in refusing.reasons["answers"]


def test_what_was_had_until_the_time_was_over_counts_and_says_so(tokenizer: Path) -> None:
    found = scored(tokenizer, QualityPlan(max_seconds=1e-9))
    assert found.reasons["texts"].startswith("0 of 2 texts")
    assert found.reasons["perplexity"].startswith("0 of 2 texts")
    assert found.reasons["answers"].startswith("0 of 2 prompts")


def test_what_is_written_is_read_back_whole(tokenizer: Path, tmp_path: Path) -> None:
    found = scored(tokenizer, QualityPlan())
    write_scored(tmp_path / "kept", found)
    assert read_scored(tmp_path / "kept") == found
    nothing = replace(found, positions=(), answers=())
    write_scored(tmp_path / "kept", nothing)
    assert read_scored(tmp_path / "kept") == nothing


def test_what_is_not_there_or_damaged_counts_as_nothing(tmp_path: Path) -> None:
    assert read_scored(tmp_path) is None
    (tmp_path / "answers.json").write_text("{")
    (tmp_path / "quality.parquet").write_text("no parquet")
    assert read_scored(tmp_path) is None
    (tmp_path / "answers.json").write_text(
        json.dumps({"launch": 1, "material": "m", "method": "", "seconds": 1, "answers": [], "reasons": {}})
    )
    assert read_scored(tmp_path) is None


def test_the_shipped_material_is_enough_for_intervals() -> None:
    found = read_material(QualityPlan())
    assert len(set(found.texts)) == len(found.texts) >= 10
    assert len(set(found.prompts)) == len(found.prompts) >= 10
    assert all(len(text) > 300 for text in found.texts)


def test_a_persons_own_material_is_another_and_lines_are_its_items(tmp_path: Path) -> None:
    texts, task = tmp_path / "texts.txt", tmp_path / "task.jsonl"
    texts.write_text("one\n\ntwo\n", encoding="utf-8")
    task.write_text('{"question": "2 + 2 =", "answer": " 4 "}\n', encoding="utf-8")
    found = read_material(QualityPlan(texts=str(texts), task=str(task)))
    assert found.texts == ("one", "two")
    assert found.questions == (Question("2 + 2 =", "4"),)
    longer = read_material(QualityPlan(texts=str(texts), task=str(task), tokens_per_text=65))
    assert len({found.id, longer.id, read_material(QualityPlan()).id}) == 3


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("", "holds no task"),
        ("{", "line 1: is not JSON"),
        ('\n{"question": "q"}\n', 'line 2: needs the texts "question" and "answer"'),
        ("[1]", "is not an object"),
    ],
)
def test_a_task_that_cannot_be_one_is_an_error_with_its_place(tmp_path: Path, written: str, complaint: str) -> None:
    task = tmp_path / "task.jsonl"
    task.write_text(written, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_material(QualityPlan(task=str(task)))
    assert complaint in str(caught.value)
    assert str(task) in str(caught.value)


def test_a_file_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.txt: the texts of `quality` cannot be read"):
        read_material(QualityPlan(texts=str(tmp_path / "nowhere.txt")))
