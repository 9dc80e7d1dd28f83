"""Is the file what was asked for? Read again with gguf's reader: metadata, names, shapes, types, weights."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments.errors import QuantizationError
from tasks.quantization.file_types import FileType, tensor_bytes
from tasks.quantization.gguf_file import gguf_package
from tasks.quantization.llama import LlamaModel, Plan
from tasks.quantization.safetensors import Floats

WORST_ERROR = {
    "F32": 0.0,
    "BF16": 0.004,
    "F16": 0.001,
    "Q8_0": 0.02,
    "Q6_K": 0.06,
    "Q5_K": 0.12,
    "Q5_0": 0.14,
    "Q5_1": 0.14,
    "Q4_K": 0.24,
    "Q4_0": 0.29,
}
"""Relative root mean square error (rmse of the weights over their rms) that a tensor may have. On normal weights the
types have 0.005 (Q8_0), 0.018 (Q6_K), 0.036 (Q5_K), 0.071 (Q4_K), 0.086 (Q4_0); real weights have outliers. Rows of
another tensor, or in another order, have 1.4."""

SAMPLE_ROWS = 128
"""From the start and from the end of each tensor."""


def verify_gguf(path: Path, model: LlamaModel, file_type: FileType) -> dict[str, float]:
    """The worst relative rmse of each tensor type. Raises QuantizationError with the first thing that is wrong."""
    reader = _reader(path)
    plans = model.plans(file_type)
    _check_metadata(path, reader, model.metadata(file_type))
    _check_layout(path, reader, plans)
    worst: dict[str, float] = {}
    for plan, tensor in zip(plans, reader.tensors, strict=True):
        error = _relative_rmse(plan, tensor)
        if not error <= WORST_ERROR[plan.kind]:
            raise _wrong(
                path,
                f"{plan.name} ({plan.kind}) is off by {error:.4f} of its size, at most is expected "
                f"{WORST_ERROR[plan.kind]}",
            )
        worst[plan.kind] = max(worst.get(plan.kind, 0.0), round(error, 6))
    return dict(sorted(worst.items()))


def _reader(path: Path) -> Any:
    try:
        return gguf_package().GGUFReader(path)
    except (ValueError, IndexError, OSError, KeyError) as error:
        raise _wrong(path, f"it cannot be read: {error}") from error


def _check_metadata(path: Path, reader: Any, expected: dict[str, Any]) -> None:
    for key, value in expected.items():
        field = reader.get_field(key)
        found = None if field is None else field.contents()
        if found != (float(np.float32(value)) if isinstance(value, float) else value):
            raise _wrong(path, f"{key} is {_short(found)}, not {_short(value)}")


def _check_layout(path: Path, reader: Any, plans: list[Plan]) -> None:
    found = [
        (tensor.name, tensor.tensor_type.name, tuple(reversed(tensor.shape.tolist()))) for tensor in reader.tensors
    ]
    expected = [(plan.name, plan.kind, plan.shape) for plan in plans]
    for have, want in zip(found, expected, strict=False):
        if have != want:
            raise _wrong(path, f"a tensor is {have}, not {want}")
    if len(found) != len(expected):
        raise _wrong(path, f"it holds {len(found)} tensors, not {len(expected)}")
    for plan, tensor in zip(plans, reader.tensors, strict=True):
        if tensor.n_bytes != tensor_bytes(plan.kind, plan.shape):
            raise _wrong(path, f"{plan.name} takes {tensor.n_bytes} bytes, not {tensor_bytes(plan.kind, plan.shape)}")


def _relative_rmse(plan: Plan, tensor: Any) -> float:
    """0 for a tensor of zeros that was kept; infinite where weights became NaN."""
    difference = size = 0.0
    for first, last in _sampled(plan):
        true = plan.rows(first, last)
        difference += float(np.sum(np.square(_dequantized(tensor, first, last).reshape(true.shape) - true)))
        size += float(np.sum(np.square(true)))
    if not np.isfinite(difference):
        return float("inf")
    return float(np.sqrt(difference / size)) if size else float(np.sqrt(difference))


def _sampled(plan: Plan) -> list[tuple[int, int]]:
    """Whole heads, first and last; the whole of a small tensor."""
    unit = plan.heads_of or 1
    rows = max(unit, SAMPLE_ROWS // unit * unit)
    if plan.shape[0] <= 2 * rows or len(plan.shape) == 1:
        return [(0, plan.shape[0])]
    return [(0, rows), (plan.shape[0] - rows, plan.shape[0])]


def _dequantized(tensor: Any, first: int, last: int) -> Floats:
    values: Floats = gguf_package().quants.dequantize(np.asarray(tensor.data[first:last]), tensor.tensor_type)
    return values.astype(np.float32)


def _wrong(path: Path, what: str) -> QuantizationError:
    return QuantizationError(f"{path.name} is not what was asked for: {what}. Please report this; nothing was kept.")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
