"""Which files of a dataset repository are taken: those that a person names, else the only set of shards there is."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import PurePosixPath

from experiments.errors import DownloadError
from experiments.schema.prompts import DATA_SUFFIXES

ABOUT = frozenset({"dataset_infos.json", "dataset_dict.json", "state.json", "config.json", "package.json"})
"""JSON that describes a dataset and is none."""

_SHARD = re.compile(r"-\d+-of-\d+")


def chosen_files(names: Iterable[str], *, file: str | None, split: str | None, where: str) -> list[str]:
    """Raises DownloadError with what there is, where nothing or more than one set is meant."""
    data = sorted(name for name in names if _is_data(name))
    if file is not None:
        if file not in data:
            close = get_close_matches(file, data, n=1, cutoff=0.5)
            meant = f"Did you mean {close[0]}?" if close else f"There are {_some(data)}."
            raise DownloadError(f"{where} has no data file {file}. {meant}")
        return [file]
    if split is not None:
        word = re.compile(rf"(^|[/_.-]){re.escape(split)}([/_.-]|$)")
        chosen = [name for name in data if word.search(name)]
        if not chosen:
            raise DownloadError(f"{where} has no data file of the split {split}. There are {_some(data)}.")
        data = chosen
    if len({_SHARD.sub("", name) for name in data}) != 1:
        raise DownloadError(f"{where}: name one data file with file: or split:. There are {_some(data)}.")
    return data


def _is_data(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix in DATA_SUFFIXES and path.name not in ABOUT and not name.startswith(".")


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:12]) or "none that can be read (JSONL, JSON, CSV, Parquet)"
    return shown if len(names) <= 12 else f"{shown} and {len(names) - 12} more"
