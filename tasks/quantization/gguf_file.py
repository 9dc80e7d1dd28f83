"""Writes a GGUF file in rows, so that a model of any size needs little memory. Equal input gives equal bytes."""

import math
import shutil
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from experiments.errors import QuantizationError
from tasks.quantization.file_types import FileType, tensor_bytes
from tasks.quantization.llama import LlamaModel, Plan
from tasks.quantization.safetensors import Floats
from tasks.quantization.tokenizer import Metadata

ALIGNMENT = 32
"""Of each tensor in the file: GGUF's default."""

Bytes = npt.NDArray[np.uint8]


class Quantizer(Protocol):
    """Turns rows into blocks."""

    def quantize(self, rows: Floats, kind: str) -> Bytes:
        """(rows, columns) to (rows, bytes a row)."""
        ...


class GgufQuantizer:
    """The gguf package's own, in numpy: Q8_0, Q4_0 and other simple types, byte for byte llama.cpp's; no K-quants."""

    def quantize(self, rows: Floats, kind: str) -> Bytes:
        """Raises QuantizationError for a type that it cannot make."""
        gguf = gguf_package()
        try:
            blocks: Bytes = gguf.quants.quantize(rows, gguf.GGMLQuantizationType[kind])
        except NotImplementedError as error:
            raise QuantizationError(
                f"{kind} is made by llama.cpp's own quantizer only: make the environment of the engine first, "
                "or use the quantization q8_0 or f16"
            ) from error
        return blocks


def gguf_package() -> ModuleType:
    """Imported when it is needed: an experiment without GGUF files does without the extra."""
    try:
        return import_module("gguf")
    except ImportError as error:
        raise QuantizationError(
            "the package gguf is not installed (GGUF files are written with it): pip install 'llm-dyno[llama-cpp]'"
        ) from error


def write_gguf(
    path: Path, model: LlamaModel, file_type: FileType, quantizer: Quantizer, *, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Returns what the file holds, for the record. Raises QuantizationError where the disk has no room for it."""
    plans = model.plans(file_type)
    _require_space(path.parent, plans)
    _write_header(path, model.metadata(file_type), plans)
    with path.open("ab") as file:
        for number, plan in enumerate(plans, start=1):
            progress(f"{file_type.name}: tensor {number} of {len(plans)}: {plan.name} as {plan.kind}")
            _pad(file)
            for rows in plan.chunks():
                file.write(encoded(rows, plan, quantizer).tobytes())
        _pad(file)
    parameters = sum(math.prod(plan.shape) for plan in plans if plan.source is not None)
    return {
        "file_type": file_type.name,
        "parameters": parameters,
        "bits_per_weight": round(8 * sum(tensor_bytes(plan.kind, plan.shape) for plan in plans) / parameters, 4),
        "tensor_types": dict(sorted(Counter(plan.kind for plan in plans).items())),
    }


def encoded(rows: Floats, plan: Plan, quantizer: Quantizer) -> Bytes:
    """The bytes of these rows in the file."""
    if plan.kind == "F32":
        return rows.astype("<f4").view(np.uint8)
    if plan.kind == "BF16":
        return _bf16(rows).view(np.uint8)
    if plan.kind != "F16":
        return quantizer.quantize(rows, plan.kind)
    with np.errstate(over="ignore"):
        halves = rows.astype("<f2")
    if np.isinf(halves).any():
        raise QuantizationError(f"{plan.name} has weights beyond ±65504, the range of F16: use bf16")
    return halves.view(np.uint8)


def _bf16(rows: Floats) -> npt.NDArray[np.uint16]:
    """Rounded to nearest, ties to even; exact for weights that were BF16."""
    word = np.ascontiguousarray(rows, dtype=np.float32).view(np.uint32)
    return ((word + np.uint32(0x7FFF) + ((word >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype("<u2")


def _require_space(folder: Path, plans: list[Plan]) -> None:
    needed = sum(tensor_bytes(plan.kind, plan.shape) for plan in plans)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise QuantizationError(
            f"{folder}: the disk is too full for this file: {needed / 2**30:.2f} GiB needed, "
            f"{free / 2**30:.2f} GiB free. Make room, or set DYNO_HOME to a folder on a larger disk."
        )


def _write_header(path: Path, metadata: Metadata, plans: list[Plan]) -> None:
    gguf = gguf_package()
    writer = gguf.GGUFWriter(path, metadata["general.architecture"])
    for key, value in metadata.items():
        if key != "general.architecture":  # the writer's own first key
            writer.add_key_value(key, value, _value_type(gguf, value))
    for plan in plans:
        size = tensor_bytes(plan.kind, plan.shape)
        kind = gguf.GGMLQuantizationType[plan.kind]
        writer.add_tensor_info(plan.name, plan.shape, np.dtype(np.float32), size, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()


def _value_type(gguf: ModuleType, value: object) -> Any:
    names = {bool: "BOOL", int: "UINT32", float: "FLOAT32", str: "STRING", list: "ARRAY"}
    return gguf.GGUFValueType[names[type(value)]]


def _pad(file: BinaryIO) -> None:
    file.write(bytes(-file.tell() % ALIGNMENT))
