"""What the page cache holds is asked of the kernel, and dropped: checked on a file on a disk."""

import os
from pathlib import Path

import pytest

from tasks.serving.page_cache import checkpoint_files, drop, resident_share

PAGES = 64


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(os.urandom(PAGES * os.sysconf("SC_PAGE_SIZE")))
    return path


def dropped(file: Path) -> Path:
    drop([file])
    if resident_share([file]):
        pytest.skip("this file system keeps its files in memory")
    return file


def test_a_file_that_was_just_written_is_in_memory(file: Path) -> None:
    assert resident_share([file]) == 1.0


def test_a_file_that_was_dropped_is_not_and_asking_does_not_bring_it_back(file: Path) -> None:
    assert resident_share([dropped(file)]) == 0.0
    assert resident_share([file]) == 0.0


def test_the_share_is_of_all_pages(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(os.urandom(3 * file.stat().st_size))
    assert resident_share([dropped(file), other]) == pytest.approx(0.75)


def test_reading_a_file_brings_it_in_and_leaves_its_bytes_alone(file: Path) -> None:
    before = file.read_bytes()
    assert dropped(file).read_bytes() == before
    assert resident_share([file]) == 1.0


def test_nothing_is_known_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert resident_share([]) is None
    assert resident_share([tmp_path / "empty"]) is None


def test_a_checkpoint_is_a_file_or_all_below_a_folder(file: Path, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "config.json").write_text("{}")
    assert checkpoint_files(file) == [file]
    assert checkpoint_files(tmp_path) == [tmp_path / "inner" / "config.json", file]
