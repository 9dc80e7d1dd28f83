"""The cheap checks of a quantized checkpoint: on its files, without torch, before anybody is given it."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.errors import QuantizationError
from tasks.quantization.rope import rope_of
from tasks.quantization.safetensors import Entry, entries_in
from tasks.quantization.source_files import is_of_the_source

Config = Mapping[str, Any]

SCALES = ("scale", "scaling_factor", "SCB", "absmax", "scales")
"""How the names of tensors end that weights are multiplied with, in each tool's words."""

FORMATS = {
    "fp8_dynamic": ("float-quantized", "float", 8, "channel"),
    "fp8_block": ("float-quantized", "float", 8, "block"),
    "w8a8": ("int-quantized", "int", 8, "channel"),
    "w4a16": ("pack-quantized", "int", 4, "group"),
    "w4a16_awq": ("pack-quantized", "int", 4, "group"),
}
ALGORITHMS = {"fp8": "FP8", "int4_awq": "W4A16_AWQ", "bf16": None}


def check_checkpoint(source: Path, output: Path, checkpoint_format: str, recipe: str) -> dict[str, Any]:
    """The facts of the tensors. Raises QuantizationError that says what is wrong with which file."""
    _check_own_files(source, output)
    config, original = _json(output / "config.json"), _json(source / "config.json")
    if checkpoint_format == "tensorrt_llm":
        _check_tensorrt_llm_rope(output, original, config)
    else:
        _check_rope(output, original, config)
    CHECKS[checkpoint_format](output, config, recipe)
    return _check_tensors(output, is_quantized=not recipe.startswith("bf16"))


def _refuse(file: Path, what: str) -> QuantizationError:
    return QuantizationError(f"{file.name} of the checkpoint is not what it has to be: {what}")


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise _refuse(path, f"it cannot be read: {error}") from error


def _check_own_files(source: Path, output: Path) -> None:
    names = {path.name for folder in (source, output) for path in folder.iterdir() if path.is_file()}
    for name in sorted(filter(is_of_the_source, names)):
        ours, theirs = source / name, output / name
        if not (ours.is_file() and theirs.is_file() and ours.read_bytes() == theirs.read_bytes()):
            raise _refuse(theirs, "it is not the model's own file, byte for byte")


def _check_rope(output: Path, original: Config, config: Config) -> None:
    if rope_of(config) != rope_of(original):
        raise _refuse(
            output / "config.json", f"rotary embeddings are {rope_of(config)}, of the model {rope_of(original)}"
        )
    if rope_of(original)[0] is not None and "rope_theta" not in config:
        raise _refuse(output / "config.json", "rope_theta is missing, for which transformers 4 takes its default")


def _check_tensorrt_llm_rope(output: Path, original: Config, config: Config) -> None:
    theta, scaling = rope_of(original)
    if theta is not None and config.get("rotary_base") != theta:
        raise _refuse(
            output / "config.json",
            f"rotary_base is {config.get('rotary_base')}, and the model's rope_theta {theta}: TensorRT-LLM would take "
            "10000 for one that is missing",
        )
    found = rope_of({"rope_theta": theta, "rope_scaling": config.get("rotary_scaling")})[1]
    if (found or {}) != (scaling or {}):
        raise _refuse(output / "config.json", f"rotary_scaling is {found}, and the model's rope_scaling {scaling}")


def _check_compressed_tensors(output: Path, config: Config, recipe: str) -> None:
    """Engines look the group up by its name: LMDeploy takes `group_0` only."""
    said = config.get("quantization_config") or {}
    groups = said.get("config_groups") or {}
    group = groups.get("group_0") or {}
    if set(groups) != {"group_0"} or group.get("targets") != ["Linear"]:
        raise _refuse(output / "config.json", f"config_groups are {sorted(groups)}, not group_0 of all Linear")
    weights = group.get("weights") or {}
    found = (said.get("format"), weights.get("type"), weights.get("num_bits"), weights.get("strategy"))
    if said.get("quant_method") != "compressed-tensors" or found != FORMATS[recipe]:
        raise _refuse(output / "config.json", f"weights are {found}, and {recipe} is {FORMATS[recipe]}")


def _check_modelopt(output: Path, config: Config, recipe: str) -> None:
    method = (config.get("quantization_config") or {}).get("quant_method")
    said = _json(output / "hf_quant_config.json").get("quantization") or {}
    if method != "modelopt" or said.get("quant_algo") != ALGORITHMS[recipe]:
        raise _refuse(output / "hf_quant_config.json", f"{method} {said.get('quant_algo')}, and {recipe} was asked for")


def _check_tensorrt_llm(output: Path, config: Config, recipe: str) -> None:
    name, _, parts = recipe.partition("_tp")
    algorithm = (config.get("quantization") or {}).get("quant_algo")
    if algorithm != ALGORITHMS[name]:
        raise _refuse(output / "config.json", f"quant_algo is {algorithm}, and {name} was asked for")
    wanted = {f"rank{rank}.safetensors" for rank in range(int(parts or 1))}
    found = {path.name for path in output.glob("*.safetensors")}
    if found != wanted or config.get("mapping", {}).get("world_size") != len(wanted):
        raise _refuse(output / "config.json", f"there are {sorted(found)}, and {sorted(wanted)} were asked for")


def _check_bitsandbytes(output: Path, config: Config, recipe: str) -> None:
    said = config.get("quantization_config") or {}
    is_nf4 = bool(said.get("load_in_4bit")) and said.get("bnb_4bit_quant_type") == "nf4"
    found = "nf4" if is_nf4 else "int8" if said.get("load_in_8bit") else str(said)
    if said.get("quant_method") != "bitsandbytes" or found != recipe:
        raise _refuse(output / "config.json", f"it says {found}, and {recipe} was asked for")


CHECKS = {
    "compressed_tensors": _check_compressed_tensors,
    "modelopt": _check_modelopt,
    "tensorrt_llm": _check_tensorrt_llm,
    "bitsandbytes": _check_bitsandbytes,
}


def _check_tensors(output: Path, *, is_quantized: bool) -> dict[str, Any]:
    entries = [entry for file in sorted(output.glob("*.safetensors")) for entry in entries_in(file)]
    scales = [entry for entry in entries if entry.name.endswith(SCALES)]
    for entry in scales:
        _check_scale(entry)
    if is_quantized and not scales:
        raise _refuse(output, "no tensor of it is a scale: nothing is quantized")
    types: dict[str, int] = {}
    for entry in entries:
        types[entry.dtype] = types.get(entry.dtype, 0) + math.prod(entry.shape)
    return {"elements_by_type": dict(sorted(types.items())), "scales": len(scales)}


def _check_scale(entry: Entry) -> None:
    """Weights that are all zero have one of zero, and are a fault of the source."""
    if entry.dtype in ("BF16", "F16", "F32"):
        values = entry.floats()
        if not (np.isfinite(values).all() and (values >= 0).all() and values.any()):
            raise _refuse(entry.file, f"{entry.name} holds what is no scale")
