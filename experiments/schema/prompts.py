"""What prompts are made of: tokens without meaning, English made by a grammar, or a dataset's own texts."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from experiments.schema.base import Spec
from experiments.schema.model import HubSource

DATA_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")

Column = Annotated[str, Field(min_length=1)]


class Synthetic(Spec):
    """Ordinary tokens in random order: lengths are exact, the text means nothing."""

    kind: Literal["synthetic"] = "synthetic"


class English(Spec):
    """Sentences of ours: as many tokens a word as prose has. `seed` chooses the sentences."""

    kind: Literal["english"] = "english"
    seed: int = 0


class HubDataset(HubSource):
    """A dataset repository: the hub keeps them apart from models of the same name."""


class Dataset(Spec):
    """A file, or a folder of files, here (`path`) or in a dataset repository of the hub (`repo`).

    `file` and `split` choose among a repository's files: the path of one, or a word of their names such as train.
    Columns are found by their usual names, those of dolly-15k and ShareGPT among them, unless they are named here:
    `prompt` and `response` hold texts, `prompt_tokens` and `output_tokens` numbers. `limit`: rows used, from the top.
    """

    kind: Literal["dataset"]
    path: Column | None = None
    repo: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")] | None = None
    revision: Annotated[str, Field(min_length=1)] = "main"
    file: Column | None = None
    split: Column | None = None
    format: Literal["auto", "jsonl", "json", "parquet", "csv"] = "auto"
    prompt: Column | None = None
    response: Column | None = None
    prompt_tokens: Column | None = None
    output_tokens: Column | None = None
    limit: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000

    @model_validator(mode="after")
    def _in_one_place(self) -> Self:
        if (self.path is None) == (self.repo is None):
            raise ValueError("give either path (here) or repo (on the hub)")
        if self.repo is None and (self.revision != "main" or self.file is not None or self.split is not None):
            raise ValueError("revision, file and split go with repo; a path names its file itself")
        return self

    def hub_source(self) -> HubDataset | None:
        """Where it is on the hub; None where it is here."""
        return None if self.repo is None else HubDataset(kind="hub", repo=self.repo, revision=self.revision)


Prompts = Annotated[Synthetic | English | Dataset, Field(discriminator="kind")]
