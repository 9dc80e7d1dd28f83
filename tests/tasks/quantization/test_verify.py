"""The check of a file that was made finds what is wrong with it."""

import shutil
from pathlib import Path

import gguf
import pytest

from engine_adapters.base import CheckpointSpec
from experiments.errors import QuantizationError
from tasks.artifacts.manifest import Artifact
from tasks.artifacts.store import ArtifactStore, silent
from tasks.quantization.checkpoint import make_checkpoint
from tasks.quantization.file_types import FILE_TYPES
from tasks.quantization.llama import read_llama
from tasks.quantization.verify import verify_gguf


@pytest.fixture
def path(model: Artifact, store: ArtifactStore, tmp_path: Path) -> Path:
    checkpoint = make_checkpoint(model, CheckpointSpec("gguf", "Q8_0"), store, progress=silent)
    return Path(shutil.copy(checkpoint.entry, tmp_path / "model.gguf"))


def place(path: Path, name: str) -> slice:
    tensor = next(each for each in gguf.GGUFReader(path).tensors if each.name == name)
    return slice(tensor.data_offset, tensor.data_offset + tensor.n_bytes)


def test_a_sound_file_reports_the_error_of_each_type(path: Path, model: Artifact) -> None:
    errors = verify_gguf(path, read_llama(model.path), FILE_TYPES["Q8_0"])
    assert errors == {"F32": 0.0, "Q8_0": pytest.approx(0.0053, rel=0.1)}


@pytest.mark.parametrize("name", ["blk.2.attn_q.weight", "token_embd.weight", "output.weight"])
def test_rows_in_another_order_are_found(path: Path, model: Artifact, name: str) -> None:
    row = 256 // 32 * 34
    content, part = bytearray(path.read_bytes()), place(path, name)
    content[part] = content[part][row:] + content[part][:row]
    path.write_bytes(content)
    with pytest.raises(QuantizationError, match=rf"{name} \(Q8_0\) is off by 1\.[34]"):
        verify_gguf(path, read_llama(model.path), FILE_TYPES["Q8_0"])


def test_two_norms_that_were_swapped_are_found(path: Path, model: Artifact) -> None:
    content = bytearray(path.read_bytes())
    one, other = (place(path, f"blk.1.{name}_norm.weight") for name in ("attn", "ffn"))
    content[one], content[other] = content[other], content[one]
    path.write_bytes(content)
    with pytest.raises(QuantizationError, match=r"blk\.1\.attn_norm\.weight \(F32\) is off"):
        verify_gguf(path, read_llama(model.path), FILE_TYPES["Q8_0"])


def test_a_file_of_another_type_is_found(path: Path, model: Artifact) -> None:
    with pytest.raises(QuantizationError, match=r"general\.file_type is 7, not 2"):
        verify_gguf(path, read_llama(model.path), FILE_TYPES["Q4_0"])


@pytest.mark.parametrize("kept", [0, 100, 20_000, 1_000_000])
def test_a_file_cut_short_is_found(path: Path, model: Artifact, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(QuantizationError, match="not what was asked for: it cannot be read"):
        verify_gguf(path, read_llama(model.path), FILE_TYPES["Q8_0"])


def test_a_changed_key_is_found(path: Path, model: Artifact) -> None:
    content = path.read_bytes()
    path.write_bytes(content.replace(b"gpt-2", b"gpt-3", 1))
    with pytest.raises(QuantizationError, match=r"tokenizer\.ggml\.pre is 'gpt-3', not 'gpt-2'"):
        verify_gguf(path, read_llama(model.path), FILE_TYPES["Q8_0"])
