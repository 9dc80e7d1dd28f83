"""llama.cpp's quantizer through its exported symbol: the bytes of another implementation, and clear errors."""

import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest

from experiments.errors import QuantizationError
from tasks.quantization.ggml import GGML_TYPE, GgmlQuantizer, find_ggml_library, identify

ROWS = np.random.default_rng(0).standard_normal((67, 512), dtype=np.float32)


@pytest.mark.engine
@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q5_0", "Q5_1"])
def test_simple_types_are_byte_for_byte_those_of_the_gguf_package(site_packages: Path, kind: str) -> None:
    ours = GgmlQuantizer(find_ggml_library(site_packages)).quantize(ROWS, kind)
    theirs = gguf.quants.quantize(ROWS, gguf.GGMLQuantizationType[kind])
    assert ours.tobytes() == theirs.tobytes()


@pytest.mark.engine
@pytest.mark.parametrize(
    ("kind", "known"), [("Q8_0", 0.0053), ("Q6_K", 0.018), ("Q5_K", 0.036), ("Q4_K", 0.071), ("Q4_0", 0.086)]
)
def test_the_error_on_normal_weights_is_the_one_known_of_the_type(site_packages: Path, kind: str, known: float) -> None:
    """Dequantized by the gguf package; the known errors were measured with files made by llama_model_quantize."""
    blocks = GgmlQuantizer(find_ggml_library(site_packages)).quantize(ROWS, kind)
    back = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[kind])
    error = np.sqrt(np.mean((back - ROWS) ** 2) / np.mean(ROWS**2))
    assert error == pytest.approx(known, rel=0.08)


@pytest.mark.engine
def test_rows_shared_among_cores_are_the_rows_made_one_by_one(site_packages: Path) -> None:
    quantizer = GgmlQuantizer(find_ggml_library(site_packages))
    alone = np.concatenate([quantizer.quantize(row[None], "Q4_K") for row in ROWS])
    assert (quantizer.quantize(ROWS, "Q4_K") == alone).all()


@pytest.mark.engine
def test_the_library_is_identified_by_what_sha256sum_says(site_packages: Path) -> None:
    library = find_ggml_library(site_packages)
    known = subprocess.run(["sha256sum", library], capture_output=True, text=True, check=True).stdout.split()[0]
    identity = identify(library)
    assert (identity.package, identity.version, identity.sha256) == ("xllamacpp", "2026.10.11549", known)


def test_our_numbers_of_types_are_ggml_s() -> None:
    assert {name: int(gguf.GGMLQuantizationType[name]) for name in GGML_TYPE} == GGML_TYPE


def test_an_environment_without_the_engine_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(QuantizationError, match="make the engine's environment first"):
        find_ggml_library(tmp_path)


def test_a_library_without_the_symbol_is_an_error_not_a_crash() -> None:
    other = next(Path(np.__file__).parent.rglob("_multiarray_umath*.so"))
    with pytest.raises(QuantizationError, match=r"cannot quantize.*ggml_quantize_chunk"):
        GgmlQuantizer(other)


def test_a_library_that_is_none_is_an_error() -> None:
    with pytest.raises(QuantizationError, match="cannot quantize"):
        GgmlQuantizer(Path(sys.argv[0]))
