"""The recipes that a tool of its own makes: which tool, which release of it, what it calls the scheme, what it needs.

`(format, recipe)` is what an adapter's CheckpointSpec names. A change of a pin or of a recipe is another checkpoint:
both are part of its key.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from engine_adapters.base import CheckpointFormat, CheckpointSpec


@dataclass(frozen=True, slots=True)
class Tool:
    """A quantizer in an environment of its own. `requirements` pin whatever the numbers depend on; `program` is the
    module that runs there, `records` the distributions whose resolved versions the checkpoint's facts name."""

    name: str
    program: str
    requirements: tuple[str, ...]
    records: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recipe:
    """`scheme` is the tool's own word for it. `calibrated`: activations are looked at, so data is needed.
    `needs_gpu` says why it cannot be made without one; `tensor_parallel` is the number of parts of the checkpoint."""

    format: CheckpointFormat
    name: str
    tool: Tool
    scheme: str
    version: int = 1
    calibrated: bool = False
    needs_gpu: str = ""
    tensor_parallel: int = 1


LLM_COMPRESSOR = Tool(
    "llm-compressor",
    "tasks.quantization.make_compressed_tensors",
    ("llmcompressor==0.14.0.1", "compressed-tensors==0.19.0", "transformers==5.17.0", "torch==2.13.0"),
    ("llmcompressor", "compressed-tensors", "transformers", "torch", "tokenizers"),
)
MODELOPT = Tool(
    "modelopt",
    "tasks.quantization.make_modelopt",
    ("nvidia-modelopt==0.47.0", "transformers==4.57.6", "torch==2.13.0", "accelerate==1.15.0"),
    ("nvidia-modelopt", "transformers", "torch", "tokenizers", "accelerate"),
)
"""Under transformers 4.57: under 5 its TensorRT-LLM checkpoints lose rotary_base and rotary_scaling without a word."""

BITSANDBYTES = Tool(
    "bitsandbytes",
    "tasks.quantization.make_bitsandbytes",
    ("bitsandbytes==0.50.2", "transformers==5.23.0", "torch==2.13.0", "accelerate==1.15.0"),
    ("bitsandbytes", "transformers", "torch", "accelerate"),
)

AWQ_PINS = (
    "llm-compressor's AWQ pins memory for transfers to an accelerator (IntermediatesCache.pin_memory), and there is "
    "none here. w4a16 rounds to nearest without one: the same format, other numerics, and so another name"
)
TENSOR_PARALLEL = (1, 2, 4, 8)


def _tensorrt_llm(name: str, scheme: str, parts: int) -> Recipe:
    """A checkpoint for trtllm-build is cut into as many parts as the engine has ranks."""
    suffix = f"_tp{parts}" if parts > 1 else ""
    calibrated = bool(scheme)
    return Recipe("tensorrt_llm", name + suffix, MODELOPT, scheme, calibrated=calibrated, tensor_parallel=parts)


MODELOPT_SCHEMES = {"fp8": "FP8_DEFAULT_CFG", "int4_awq": "INT4_AWQ_CFG"}

TOOL_RECIPES: Mapping[tuple[str, str], Recipe] = {
    (recipe.format, recipe.name): recipe
    for recipe in (
        Recipe("compressed_tensors", "fp8_dynamic", LLM_COMPRESSOR, "FP8_DYNAMIC"),
        Recipe("compressed_tensors", "fp8_block", LLM_COMPRESSOR, "FP8_BLOCK"),
        Recipe("compressed_tensors", "w8a8", LLM_COMPRESSOR, "W8A8"),
        Recipe("compressed_tensors", "w4a16", LLM_COMPRESSOR, "W4A16"),
        Recipe("compressed_tensors", "w4a16_awq", LLM_COMPRESSOR, "W4A16_ASYM", calibrated=True, needs_gpu=AWQ_PINS),
        *(Recipe("modelopt", name, MODELOPT, scheme, calibrated=True) for name, scheme in MODELOPT_SCHEMES.items()),
        *(
            _tensorrt_llm(name, scheme, parts)
            for (name, scheme), parts in product({"bf16": "", **MODELOPT_SCHEMES}.items(), TENSOR_PARALLEL)
        ),
        Recipe("bitsandbytes", "nf4", BITSANDBYTES, "nf4"),
        Recipe("bitsandbytes", "int8", BITSANDBYTES, "int8"),
    )
}
"""(format, recipe) to what makes it."""


def is_calibrated(spec: CheckpointSpec) -> bool:
    """Whether making it looks at data."""
    recipe = TOOL_RECIPES.get((spec.format, spec.recipe))
    return recipe is not None and recipe.calibrated
