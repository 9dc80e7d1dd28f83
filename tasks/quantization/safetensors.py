"""The tensors of a Hugging Face folder: one safetensors file, or shards with an index. Read as float32, in rows."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.errors import QuantizationError

Floats = npt.NDArray[np.float32]

BYTES_EACH = {"BF16": 2, "F16": 2, "F32": 4}


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor lies; `start` is a position in the file, `dtype` one of BYTES_EACH."""

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int

    def rows(self, first: int, last: int) -> Floats:
        """Rows first … last − 1 of a matrix; of a vector, its elements."""
        width = int(np.prod(self.shape[1:], dtype=np.int64))
        each = BYTES_EACH[self.dtype]
        count = (last - first) * width
        raw = np.fromfile(self.file, dtype=np.uint8, count=count * each, offset=self.start + first * width * each)
        return _as_float32(raw, self.dtype).reshape(last - first, *self.shape[1:])


def tensors_of(folder: Path) -> dict[str, Tensor]:
    """By name. Raises QuantizationError where a file is missing, cut short, or holds another kind of number."""
    found: dict[str, Tensor] = {}
    for file in safetensors_files(folder):
        found |= {tensor.name: tensor for tensor in _tensors_in(file)}
    if not found:
        raise QuantizationError(f"{folder}: no tensor in its safetensors files")
    return found


def safetensors_files(folder: Path) -> list[Path]:
    """Those that the index names, else model.safetensors, else every safetensors file of the folder."""
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if index.exists():
        files = [folder / name for name in _indexed(index)]
    elif single.exists():
        files = [single]
    else:
        files = sorted(folder.glob("*.safetensors"))
    missing = [file.name for file in files if not file.exists()]
    if missing or not files:
        raise QuantizationError(f"{folder}: missing {', '.join(missing) or 'any safetensors file'}. Download it again.")
    return files


def _indexed(index: Path) -> list[str]:
    try:
        return sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise QuantizationError(f"{index} cannot be understood ({error!r}). Download it again.") from error


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor of any type, as a file's header names it."""

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int

    def floats(self) -> Floats:
        """All of it; `dtype` has to be one of BYTES_EACH."""
        count = int(np.prod(self.shape, dtype=np.int64)) * BYTES_EACH[self.dtype]
        return _as_float32(np.fromfile(self.file, dtype=np.uint8, count=count, offset=self.start), self.dtype)


def entries_in(file: Path) -> list[Entry]:
    """What a safetensors file holds, whatever the types. Raises QuantizationError where it is cut short."""
    size = file.stat().st_size
    header, data_start = _header(file, size)
    found = []
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            if data_start + last > size:
                raise QuantizationError(f"{file}: {name} does not lie whole in the file.")
            found.append(Entry(name, file, entry["dtype"], tuple(entry["shape"]), data_start + first))
    return found


def _tensors_in(file: Path) -> Iterator[Tensor]:
    size = file.stat().st_size
    header, data_start = _header(file, size)
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        tensor = Tensor(name, file, entry["dtype"], tuple(entry["shape"]), data_start + first)
        if tensor.dtype not in BYTES_EACH:
            supported = ", ".join(BYTES_EACH)
            raise QuantizationError(f"{file}: {name} is {tensor.dtype}; a checkpoint is made from {supported} weights")
        expected = int(np.prod(tensor.shape, dtype=np.int64)) * BYTES_EACH[tensor.dtype]
        if last - first != expected or data_start + last > size:
            raise QuantizationError(f"{file}: {name} does not lie whole in the file. Download it again.")
        yield tensor


def _header(file: Path, size: int) -> tuple[dict[str, Any], int]:
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if not 2 <= length <= size - 8:
                raise ValueError(f"header of {length} bytes")
            return dict(json.loads(opened.read(length))), 8 + length
    except ValueError as error:
        raise QuantizationError(f"{file} is no safetensors file ({error}). Download it again.") from error


def _as_float32(raw: npt.NDArray[np.uint8], dtype: str) -> Floats:
    if dtype == "BF16":
        return (raw.view("<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
    return raw.view("<f2" if dtype == "F16" else "<f4").astype(np.float32)
