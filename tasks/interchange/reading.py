"""Which tool wrote a file, and its trials."""

from pathlib import Path
from typing import Literal

from experiments.errors import InputError
from tasks.interchange.document import read_documents
from tasks.interchange.imported import Imported
from tasks.interchange.read_guidellm import read_guidellm
from tasks.interchange.read_vllm import read_vllm

Tool = Literal["guidellm", "vllm"]


def detect(path: Path) -> Tool:
    """By the keys that only one of them writes. Raises InputError where there are none."""
    top = read_documents(path)[0].fields
    if "benchmarks" in top:
        return "guidellm"
    if "model_id" in top and ("request_throughput" in top or "start_times" in top):
        return "vllm"
    raise InputError(
        f"{path}: neither a report of GuideLLM (benchmarks) nor a result of vllm bench serve "
        "(model_id, request_throughput)"
    )


def read_trials(path: Path) -> list[Imported]:
    """The trials of a file of any tool that we read. Raises InputError."""
    return read_guidellm(path) if detect(path) == "guidellm" else read_vllm(path)
