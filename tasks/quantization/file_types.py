"""GGUF file types: which type each tensor has in a file of that name. The rule is llama.cpp's own
(llama_model_quantize without an importance matrix), so that a file made here is the file that people know by that name.
"""

from dataclasses import dataclass

RECIPE_VERSION = 1
"""A change of any byte of any file that is made changes it."""


@dataclass(frozen=True, slots=True)
class FileType:
    """`number` is general.file_type; `base` the type of most matrices; `mixed` files give some tensors Q6_K."""

    name: str
    number: int
    base: str
    mixed: bool = False

    @property
    def is_quantized(self) -> bool:
        """Otherwise a plain 16-bit format, which needs no quantizer."""
        return self.base in BLOCK_BYTES


FILE_TYPES = {
    file_type.name: file_type
    for file_type in (
        FileType("F16", 1, "F16"),
        FileType("BF16", 32, "BF16"),
        FileType("Q8_0", 7, "Q8_0"),
        FileType("Q6_K", 18, "Q6_K"),
        FileType("Q5_K_M", 17, "Q5_K", mixed=True),
        FileType("Q4_K_M", 15, "Q4_K", mixed=True),
        FileType("Q4_0", 2, "Q4_0"),
    )
}

BLOCK_WEIGHTS = {"Q4_0": 32, "Q5_0": 32, "Q5_1": 32, "Q8_0": 32, "Q4_K": 256, "Q5_K": 256, "Q6_K": 256}
BLOCK_BYTES = {"Q4_0": 18, "Q5_0": 22, "Q5_1": 24, "Q8_0": 34, "Q4_K": 144, "Q5_K": 176, "Q6_K": 210}
PLAIN_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
FALLBACK = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
"""Where a row is no whole number of blocks of 256."""

LAYERS_OF_70B = 80


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What the rule looks at beside a tensor's own name and columns."""

    layers: int
    has_output: bool
    grouped_query: bool


def tensor_type(file_type: FileType, name: str, shape: tuple[int, ...], model: ModelShape) -> str:
    """`name` is the GGUF name, `shape` rows first. Vectors stay F32."""
    if len(shape) == 1:
        return "F32"
    if not file_type.is_quantized:
        return file_type.base
    return _fitting(_wanted(file_type, name, shape[-1], model), shape[-1])


def tensor_bytes(kind: str, shape: tuple[int, ...]) -> int:
    """What a tensor of this type and shape takes."""
    weights = 1
    for length in shape:
        weights *= length
    if kind in PLAIN_BYTES:
        return weights * PLAIN_BYTES[kind]
    return weights // BLOCK_WEIGHTS[kind] * BLOCK_BYTES[kind]


def _wanted(file_type: FileType, name: str, columns: int, model: ModelShape) -> str:
    base = file_type.base
    if name == ("output.weight" if model.has_output else "token_embd.weight"):
        if columns % BLOCK_WEIGHTS[base]:
            return "Q8_0"
        return base if base == "Q8_0" else "Q6_K"
    if file_type.mixed and name.endswith(("attn_v.weight", "ffn_down.weight")):
        if _gets_more_bits(int(name.split(".")[1]), model.layers):
            return "Q6_K"
        if name.endswith("attn_v.weight") and base == "Q4_K" and _is_70b(model):
            return "Q5_K"  # eight heads share each of these rows
    return base


def _is_70b(model: ModelShape) -> bool:
    """As llama.cpp tells it: by the layers, and from the old 65B by its grouped queries."""
    return model.layers == LAYERS_OF_70B and model.grouped_query


def _gets_more_bits(layer: int, layers: int) -> bool:
    """The first and the last eighth, and every third between them."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def _fitting(kind: str, columns: int) -> str:
    if columns % BLOCK_WEIGHTS[kind] == 0:
        return kind
    smaller = FALLBACK.get(kind, "F16")
    return smaller if smaller == "F16" or columns % BLOCK_WEIGHTS[smaller] == 0 else "F16"
