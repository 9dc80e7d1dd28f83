"""What a file of another tool tells of a trial, in our records, beside what it cannot tell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from experiments.errors import InputError
from experiments.schema.load import Load
from experiments.schema.result import ImportedFrom
from experiments.schema.workload import Workload
from tasks.loadgen.record import SCHEMA

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Imported:
    """One trial of a file. Times of `table` and `window` are ns of the clock that the file's own times are of.

    What the file does not tell is null in the table and named in `unknown`. `absent` gives the reason of each figure
    that must not be computed, since the table holds less than the figure needs.
    """

    source: ImportedFrom
    table: pa.Table
    window: tuple[int, int]
    load: Load
    workload: Workload
    started_at: str
    unknown: tuple[str, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)


CHUNK_FIGURES = ("icl_ms", "itl_ms", "longest_stall_ms")
"""What the gaps between chunks tell."""

NO_GUIDELLM_CHUNKS = "GuideLLM saves when the first and the last chunk came, not those between"
NO_VLLM_CHUNKS = "the file has no itls: of each request only the first and the last chunk are known"
OUTER_CHUNKS_ONLY = frozenset({NO_GUIDELLM_CHUNKS, NO_VLLM_CHUNKS})
"""The reasons under which a table's chunks are the first and the last of their requests."""

DUE_FIGURES = ("ttft_response_ms", "e2e_response_ms", "lateness_ms")
"""What is counted from the due time."""


def nanoseconds(seconds: float | None) -> int | None:
    """None stays None."""
    return None if seconds is None else round(seconds * NS_PER_S)


def table_of(rows: Sequence[Mapping[str, Any]], file: str) -> pa.Table:
    """The records, in the order given; what a row does not name is null. A list of chunks is never null. Raises
    InputError where a number does not fit."""
    blank: dict[str, Any] = {name: [] for name in ("chunk_at_ns", "chunk_tokens", "chunk_is_answer")}
    whole = [blank | {"index": index, "output_tokens_source": "unknown"} | dict(row) for index, row in enumerate(rows)]
    try:
        return pa.Table.from_pylist(whole, schema=SCHEMA)
    except (OverflowError, pa.ArrowException) as error:
        raise InputError(f"{file}: its numbers make no times or counts of requests: {error}") from None


def workload_of(endpoint: str, prompts: Sequence[int | None], outputs: Sequence[int | None]) -> Workload:
    """The median lengths that the file tells of stand for all of them; at least 1."""
    lengths = {"prompt_tokens": _median(prompts), "output_tokens": _median(outputs)}
    return Workload.model_validate({"name": "imported", "endpoint": endpoint, **lengths})


def _median(lengths: Sequence[int | None]) -> int:
    told = sorted(length for length in lengths if length)
    return told[len(told) // 2] if told else 1


def file_name(path: str) -> str:
    """Without the folders, which say nothing to another reader."""
    return path.replace("\\", "/").rpartition("/")[2]
