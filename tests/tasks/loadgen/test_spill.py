"""What goes to disk comes back as it went, and a disk that refuses loses nothing."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.loadgen.spill import SpillFile


@given(parts=st.lists(st.binary(max_size=3000), max_size=20))
def test_pieces_come_back_in_any_grouping(tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]) -> None:
    spill = SpillFile(tmp_path_factory.getbasetemp())
    pieces = [spill.put(part) for part in parts]
    spill.settle()
    assert spill.read(pieces) == b"".join(parts)
    assert [spill.read([piece]) for piece in reversed(pieces)] == parts[::-1]
    spill.close()


def test_the_file_has_no_name(tmp_path: Path) -> None:
    spill = SpillFile(tmp_path)
    spill.put(b"x" * 100_000)
    spill.settle()
    assert list(tmp_path.iterdir()) == []
    spill.close()


def test_what_the_disk_refuses_stays_in_memory_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    spill = SpillFile(tmp_path)
    piece = spill.put(b"kept")
    spill.settle()
    assert spill.read([piece]) == b"kept"
    assert spill.error is not None
    assert "No space left" in spill.error
    spill.close()
