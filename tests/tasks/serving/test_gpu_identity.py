"""Which GPU the driver says is there. `nvidia-smi` is a stand-in here."""

from pathlib import Path

import pytest

from tasks.serving.gpu_identity import gpu_identity

H200 = "NVIDIA H200, 9.0, 580.65.06"


def stand_in(folder: Path, says: str, status: int = 0) -> str:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\nexit {status}\n")
    program.chmod(0o755)
    return str(program)


def test_eight_equal_gpus_are_one_kind(tmp_path: Path) -> None:
    found = gpu_identity(stand_in(tmp_path, "\n".join([H200] * 8)))
    assert found == {"name": "NVIDIA H200", "compute_capability": "9.0", "driver": "580.65.06"}


def test_different_gpus_are_another_kind_than_either(tmp_path: Path) -> None:
    found = gpu_identity(stand_in(tmp_path, f"{H200}\nNVIDIA L4, 8.9, 580.65.06"))
    assert found == {"name": "NVIDIA H200 + NVIDIA L4", "compute_capability": "9.0 + 8.9", "driver": "580.65.06"}


@pytest.mark.parametrize(("says", "status"), [("", 0), (H200, 9), ("No devices were found", 0)])
def test_where_the_driver_names_none_there_is_none(says: str, status: int, tmp_path: Path) -> None:
    assert gpu_identity(stand_in(tmp_path, says, status)) is None


def test_without_a_driver_there_is_none() -> None:
    assert gpu_identity("no-such-program") is None
