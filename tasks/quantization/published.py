"""Checkpoints that are published quantized: recognised from their config, and used as they come."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine_adapters.base import CheckpointSpec
from experiments.errors import QuantizationError
from experiments.schema.variant import Quantization as Q

Config = Mapping[str, Any]

AS_IS = CheckpointSpec("safetensors", "as_is")
CUT_FOR_ITS_ENGINE = ("gguf", "tensorrt_llm")
"""Formats that are made of a model's own weights; no other checkpoint can stand in for them."""

SIXTEEN_BITS = (Q.BF16, Q.F16)
FOUR_BITS = frozenset({Q.INT4_AWQ, Q.W4A16})
"""Of integers in groups, where the config does not say how they were chosen."""

MODELOPT = {
    "FP8": {Q.FP8},
    "FP8_PER_CHANNEL_PER_TOKEN": {Q.FP8},
    "FP8_PB_WO": {Q.FP8_BLOCK},
    "FP8_BLOCK_SCALES": {Q.FP8_BLOCK},
    "W4A16_AWQ": {Q.INT4_AWQ},
    "W4A16_GPTQ": {Q.W4A16},
    "W8A16": {Q.INT8},
    "W8A16_GPTQ": {Q.INT8},
    "W8A8_SQ_PER_CHANNEL": {Q.W8A8},
}
INTEGERS = {4: Q.W4A16, 8: Q.INT8}
"""Of weights alone."""


@dataclass(frozen=True, slots=True)
class Published:
    """`method` is the config's own word; `precisions` are those of a variant that this is, none where no variant can
    name it; `what` is for people."""

    method: str
    what: str
    precisions: frozenset[Q]


def read_published(folder: Path) -> Published | None:
    """What the weights in `folder` are quantized as; None where they are not."""
    return recognised(_json(folder / "config.json"), _json(folder / "hf_quant_config.json"))


def recognised(config: Config, hf_quant_config: Config) -> Published | None:
    """From config.json and modelopt's hf_quant_config.json, each empty where there is none."""
    said = _quantization_config(config)
    if said is None and hf_quant_config:
        said = {"quant_method": "modelopt", **hf_quant_config}
    if said is None:
        return None
    method = _method(said)
    if method == "modelopt":
        said = {**hf_quant_config, **said}
    recognise = METHODS.get(method)
    if recognise is None:
        return Published(method, method, frozenset())
    return recognise(said)


def checkpoint_to_load(
    spec: CheckpointSpec, quantization: Q, published: Published | None, *, model: str, engine_quantizes: bool
) -> CheckpointSpec:
    """What the engine's adapter asks for; the model's own files where they are published in that very precision.

    `engine_quantizes`: it makes that precision itself of weights in 16 bits. Raises QuantizationError where a variant
    contradicts what the weights are: nothing is launched then.
    """
    if published is None:
        if spec == AS_IS and quantization not in SIXTEEN_BITS and not engine_quantizes:
            raise QuantizationError(
                f"{model}: the variant says quantization: {quantization}, its weights are not published in that, and "
                "this engine quantizes none. Name a repository of such weights, or write quantization: bf16."
            )
        return spec
    if quantization not in published.precisions:
        raise QuantizationError(_contradiction(model, quantization, published))
    if spec.format in CUT_FOR_ITS_ENGINE:
        raise QuantizationError(
            f"{model}: its weights are published as {published.what}, and this engine loads a {spec.format} "
            "checkpoint, which is made from weights in 16 bits. Name the model's unquantized repository."
        )
    return AS_IS


def _contradiction(model: str, quantization: Q, published: Published) -> str:
    said = (
        f"{model}: the variant says quantization: {quantization}, and its weights are published as {published.what}. "
    )
    if not published.precisions:
        return said + "No quantization of a variant names that yet: choose another repository."
    names = " or ".join(sorted(published.precisions))
    return said + f"Write quantization: {names}, or name a repository of unquantized weights."


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise QuantizationError(f"{path}: cannot be understood ({error}). Download it again.") from error
    return found if isinstance(found, dict) else {}


def _quantization_config(config: Config) -> Config | None:
    """Models that also see hold it in the part that reads; compressed-tensors once had another key for it."""
    for part in (config, config.get("text_config")):
        if isinstance(part, Mapping):
            for key in ("quantization_config", "compression_config"):
                found = part.get(key)
                if isinstance(found, Mapping) and found:
                    return found
    return None


def _method(said: Config) -> str:
    method = str(said.get("quant_method", "")).lower().replace("_", "-")
    if not method and ("load_in_4bit" in said or "load_in_8bit" in said):
        return "bitsandbytes"
    if not method and "config_groups" in said:
        return "compressed-tensors"
    return method or "unknown"


def _awq(said: Config) -> Published:
    bits = said.get("bits", said.get("w_bit"))
    kind = str(said.get("version", "gemm")).lower()
    return Published("awq", f"AWQ, {bits} bits ({kind})", frozenset({Q.INT4_AWQ} if bits == 4 else ()))


def _gptq(said: Config) -> Published:
    bits = said.get("bits")
    method = _method(said)
    found = INTEGERS.get(bits) if isinstance(bits, int) else None
    return Published(method, f"{method.upper()}, {bits} bits", frozenset({found} if found else ()))


def _fp8(said: Config) -> Published:
    blocks = said.get("weight_block_size")
    if blocks:
        return Published("fp8", f"FP8 in blocks of {blocks}", frozenset({Q.FP8_BLOCK}))
    return Published(_method(said), "FP8", frozenset({Q.FP8}))


def _mxfp4(said: Config) -> Published:
    return Published("mxfp4", "MXFP4", frozenset({Q.MXFP4}))


def _bitsandbytes(said: Config) -> Published:
    if said.get("load_in_8bit"):
        return Published("bitsandbytes", "bitsandbytes INT8", frozenset({Q.INT8}))
    kind = str(said.get("bnb_4bit_quant_type", "fp4"))
    return Published("bitsandbytes", f"bitsandbytes {kind.upper()}", frozenset({Q.NF4} if kind == "nf4" else ()))


def _modelopt(said: Config) -> Published | None:
    inner = said.get("quantization")
    algorithm = said.get("quant_algo") or (inner.get("quant_algo") if isinstance(inner, Mapping) else None)
    if algorithm is None:
        return None  # of the KV cache alone
    return Published("modelopt", f"modelopt {algorithm}", frozenset(MODELOPT.get(str(algorithm), ())))


def _compressed_tensors(said: Config) -> Published | None:
    groups = said.get("config_groups")
    schemes = [group for group in groups.values() if isinstance(group, Mapping)] if isinstance(groups, Mapping) else []
    if not schemes:
        return None  # of the KV cache alone
    found = [_scheme(scheme) for scheme in schemes]
    names = " and ".join(sorted({what for what, _ in found}))
    return Published(
        "compressed-tensors", f"compressed-tensors {names}", frozenset.intersection(*(p for _, p in found))
    )


def _scheme(scheme: Config) -> tuple[str, frozenset[Q]]:
    weights, activations = scheme.get("weights") or {}, scheme.get("input_activations")
    bits, kind, strategy = weights.get("num_bits"), weights.get("type"), weights.get("strategy")
    a_bits = (activations or {}).get("num_bits", 16)
    what = f"{kind} W{bits}A{a_bits} by {strategy}"
    if (kind, bits) == ("float", 8):
        return what, frozenset({Q.FP8_BLOCK if strategy == "block" else Q.FP8})
    if (kind, bits, a_bits) == ("int", 4, 16):
        return what, FOUR_BITS
    integers: dict[object, Q] = {(8, 8): Q.W8A8, (8, 16): Q.INT8}
    found = integers.get((bits, a_bits)) if kind == "int" else None
    return what, frozenset({found} if found else ())


METHODS = {
    "awq": _awq,
    "gptq": _gptq,
    "auto-round": _gptq,
    "fp8": _fp8,
    "fbgemm-fp8": _fp8,
    "mxfp4": _mxfp4,
    "bitsandbytes": _bitsandbytes,
    "modelopt": _modelopt,
    "compressed-tensors": _compressed_tensors,
}
"""By `quant_method`, with dashes. What is not here is quantized too, in a way that no variant can name."""
