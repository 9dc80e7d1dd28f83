"""The rule of mixed files, against what llama.cpp is known to make."""

import pytest

from tasks.quantization.file_types import FILE_TYPES, ModelShape, tensor_bytes, tensor_type

LLAMA_8B = ModelShape(layers=32, has_output=True, grouped_query=True)
HIDDEN, INTER, KV, VOCAB = 4096, 14336, 1024, 128256

MATRICES = {
    "attn_q": (HIDDEN, HIDDEN),
    "attn_k": (KV, HIDDEN),
    "attn_v": (KV, HIDDEN),
    "attn_output": (HIDDEN, HIDDEN),
    "ffn_gate": (INTER, HIDDEN),
    "ffn_up": (INTER, HIDDEN),
    "ffn_down": (HIDDEN, INTER),
    "attn_norm": (HIDDEN,),
    "ffn_norm": (HIDDEN,),
}


def shapes_of_8b() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (VOCAB, HIDDEN), "output.weight": (VOCAB, HIDDEN)}
    for layer in range(32):
        shapes |= {f"blk.{layer}.{name}.weight": shape for name, shape in MATRICES.items()}
    return shapes | {"output_norm.weight": (HIDDEN,), "rope_freqs.weight": (64,)}


@pytest.mark.parametrize(
    ("name", "published"),
    [("F16", 16.0005), ("Q8_0", 8.5008), ("Q6_K", 6.5633), ("Q5_K_M", 5.7036), ("Q4_K_M", 4.8944)],
)
def test_llama_3_1_8b_takes_the_bits_per_weight_that_llama_cpp_publishes(name: str, published: float) -> None:
    """The table of llama.cpp's tools/quantize/README.md. Each misplaced tensor would change the third decimal."""
    shapes = shapes_of_8b()
    file_type = FILE_TYPES[name]
    size = sum(tensor_bytes(tensor_type(file_type, each, shape, LLAMA_8B), shape) for each, shape in shapes.items())
    weights = 8_030_261_312  # the parameters that the model card's safetensors hold
    assert 8 * size / weights == pytest.approx(published, abs=0.001)


def test_a_q4_k_m_file_of_32_layers_gives_q6_k_to_the_layers_known_from_published_files() -> None:
    wanted = {0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31}
    for name in ("attn_v", "ffn_down"):
        kinds = {
            layer: tensor_type(FILE_TYPES["Q4_K_M"], f"blk.{layer}.{name}.weight", MATRICES[name], LLAMA_8B)
            for layer in range(32)
        }
        assert {layer for layer, kind in kinds.items() if kind == "Q6_K"} == wanted
        assert {kind for layer, kind in kinds.items() if layer not in wanted} == {"Q4_K"}


@pytest.mark.parametrize(("name", "kind"), [("Q4_K_M", "Q6_K"), ("Q4_0", "Q6_K"), ("Q8_0", "Q8_0"), ("F16", "F16")])
def test_a_tied_embedding_is_the_output_and_gets_its_type(name: str, kind: str) -> None:
    tied = ModelShape(layers=4, has_output=False, grouped_query=True)
    assert tensor_type(FILE_TYPES[name], "token_embd.weight", (VOCAB, HIDDEN), tied) == kind


def test_the_shared_values_of_a_70b_get_five_bits() -> None:
    shape = ModelShape(layers=80, has_output=True, grouped_query=True)
    assert tensor_type(FILE_TYPES["Q4_K_M"], "blk.11.attn_v.weight", (1024, 8192), shape) == "Q5_K"
    old_65b = ModelShape(layers=80, has_output=True, grouped_query=False)
    assert tensor_type(FILE_TYPES["Q4_K_M"], "blk.11.attn_v.weight", (8192, 8192), old_65b) == "Q4_K"


@pytest.mark.parametrize(
    ("name", "columns", "kind"),
    [("Q4_K_M", 96, "Q5_0"), ("Q5_K_M", 96, "Q5_1"), ("Q6_K", 96, "Q8_0"), ("Q4_K_M", 40, "F16"), ("Q8_0", 40, "F16")],
)
def test_rows_that_are_no_whole_blocks_get_the_next_type_that_fits(name: str, columns: int, kind: str) -> None:
    assert tensor_type(FILE_TYPES[name], "blk.1.attn_k.weight", (64, columns), LLAMA_8B) == kind


def test_vectors_stay_as_they_are() -> None:
    assert all(
        tensor_type(file_type, "blk.0.attn_norm.weight", (HIDDEN,), LLAMA_8B) == "F32"
        for file_type in FILE_TYPES.values()
    )
