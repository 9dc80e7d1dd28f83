"""Datasets in the shapes in which they are published, and what is said of files that are none."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from experiments.errors import InputError
from experiments.schema.prompts import Dataset
from tasks.loadgen.datasets import Row, read_dataset

DOLLY = [
    {"instruction": "Who was first?", "context": "", "response": "The tortoise.", "category": "open_qa"},
    {"instruction": "Sum up.", "context": "A long\nstory.", "response": "It ends.", "category": "summarization"},
]
SHAREGPT = [
    {
        "id": "QWJhYvA_0",
        "conversations": [
            {"from": "human", "value": "Summarise »Ω« 🐢"},
            {"from": "gpt", "value": "A turtle."},
            {"from": "human", "value": "Longer"},
        ],
    },
    {"id": "i6IyJda_0", "conversations": [{"from": "gpt", "value": "go on"}, {"from": "human", "value": "And then?"}]},
    {"id": "empty_0", "conversations": []},
]
ROWS: list[dict[str, Any]] = [
    {"question": "one?", "answer": "1", "input_len": 12, "output_len": 3},
    {"question": "two?", "answer": "2"},
]


def spec(**fields: Any) -> Dataset:
    return Dataset.model_validate({"kind": "dataset", "path": "x"} | fields)


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_dolly_is_read_as_published_with_the_context_after_the_instruction(tmp_path: Path) -> None:
    assert read_dataset(jsonl(tmp_path / "databricks-dolly-15k.jsonl", DOLLY), spec()) == (
        Row(prompt="Who was first?", response="The tortoise."),
        Row(prompt="Sum up.\n\nA long\nstory.", response="It ends."),
    )


def test_of_sharegpt_the_first_human_turn_is_the_prompt_and_what_no_human_says_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "ShareGPT_V3_unfiltered_cleaned_split.json"
    path.write_text(json.dumps(SHAREGPT, ensure_ascii=False), encoding="utf-8")
    assert read_dataset(path, spec()) == (
        Row(prompt="Summarise »Ω« 🐢", response="A turtle.", turns=("Summarise »Ω« 🐢", "Longer")),
        Row(prompt="And then?", response=None, turns=("And then?",)),
    )


def test_messages_are_conversations_too(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    answered = [*turns, {"role": "assistant", "content": "Hello"}]
    rows = [{"messages": turns}, {"messages": answered}]
    assert read_dataset(jsonl(tmp_path / "d.jsonl", rows), spec()) == (
        Row("Hi", turns=("Hi",)),
        Row("Hi", "Hello", turns=("Hi",)),
    )


def write(path: Path, form: str) -> None:
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(SHAREGPT), path)
    elif form == "csv":
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, ["question", "answer", "input_len", "output_len"])
            writer.writeheader()
            writer.writerows(ROWS)
    elif form == "json":
        path.write_text(json.dumps({"data": ROWS}, indent=1))
    else:
        jsonl(path, ROWS)


@pytest.mark.parametrize("form", ["csv", "json", "jsonl"])
@pytest.mark.parametrize("told", [True, False])
def test_the_same_rows_come_out_of_every_form_by_content_or_as_told(tmp_path: Path, form: str, told: bool) -> None:
    path = tmp_path / "rows.txt"
    write(path, form)
    assert read_dataset(path, spec(format=form if told else "auto")) == (
        Row("one?", "1", 12, 3),
        Row("two?", "2", None, None),
    )


def test_conversations_are_read_from_parquet(tmp_path: Path) -> None:
    write(tmp_path / "c.parquet", "parquet")
    assert [row.prompt for row in read_dataset(tmp_path / "c.parquet", spec())] == ["Summarise »Ω« 🐢", "And then?"]


def test_lengths_alone_are_a_dataset_and_columns_may_be_named(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "l.jsonl", [{"isl": 5, "n": 7.0, "question": "?"}])
    assert read_dataset(jsonl(tmp_path / "m.jsonl", [{"isl": "5", "osl": 2}]), spec()) == (Row(None, None, 5, 2),)
    assert read_dataset(path, spec(output_tokens="n", prompt="question")) == (Row("?", None, 5, 7),)


def test_a_folder_is_read_in_the_order_of_its_names_up_to_the_limit(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    jsonl(tmp_path / "data" / "b.jsonl", [{"prompt": "3"}, {"prompt": "4"}])
    jsonl(tmp_path / "data" / "a.jsonl", [{"prompt": "1"}, {"prompt": " "}, {"prompt": "2"}])
    (tmp_path / "README.md").write_text("no data")
    assert [row.prompt for row in read_dataset(tmp_path, spec(limit=3))] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("content", "fields", "complaint"),
    [
        ('{"prompt": "a"}\n{"prompt": \n', {}, r"d\.jsonl: line 2: not JSON"),
        ('{"prompt": "a"}\n[1]\n', {}, r"line 2: a JSON object is wanted, not list"),
        ('{"prompt": "a"}\n{"prompt": 5}\n', {}, r"line 2: prompt: a text is wanted, not int"),
        ('{"prompt": "a", "isl": "x"}\n', {}, r"line 1: isl: 'x' is no number of tokens"),
        ('{"prompt": "a", "isl": 2.5}\n', {}, r"line 1: isl: 2\.5 is no number of tokens"),
        ('{"prompt": "a"}\n', {"prompt": "promt"}, r"prompt: no column 'promt'. Did you mean prompt\?"),
        ('{"body": "a"}\n', {}, r"no column of prompts or of their lengths; there are body"),
        ('{"prompt": ""}\n', {}, r"no row of this dataset has a prompt"),
        ('[{"conversations": [{"from": 3}]}]', {}, r"entry 1: conversations: a turn of \{from, value\}"),
        ("[1, 2]", {}, r"entry 1: a JSON object is wanted"),
        ("prompt,isl\na,1\nb\n", {}, r"line 3: not as many values"),
        ("PAR1 nothing", {}, r"not Parquet"),
        ('{"prompt": "\udcff"}\n', {}, r"not UTF-8"),
    ],
)
def test_what_is_wrong_is_told_with_file_line_and_column(
    tmp_path: Path, content: str, fields: dict[str, Any], complaint: str
) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=complaint):
        read_dataset(path, spec(**fields))


def test_a_missing_file_and_an_empty_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_dataset(tmp_path / "none.jsonl", spec())
    with pytest.raises(InputError, match="no data file in this folder"):
        read_dataset(tmp_path, spec())
