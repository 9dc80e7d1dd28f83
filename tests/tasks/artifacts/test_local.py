"""A folder of the person's own: checked, never written to, and known by its content."""

import os
import shutil
from pathlib import Path

import pytest

from experiments.errors import DownloadError, SetupError
from experiments.schema.model import LocalSource
from tasks.artifacts import local
from tasks.artifacts.manifest import Artifact
from tasks.artifacts.sources import fetch_model
from tasks.artifacts.store import ArtifactStore

LONG_AGO_NS = 10**18


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors", "README.md", "pytorch_model.bin"):
        (folder / name).write_text(f"{{}} {name}")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


def fetched(folder: Path, store: ArtifactStore, said: list[str] | None = None) -> Artifact:
    said = [] if said is None else said
    return fetch_model(LocalSource(kind="local", path=str(folder)), store, progress=said.append)


def test_the_folder_is_used_where_it_lies(folder: Path, store: ArtifactStore) -> None:
    before = {path: path.stat() for path in folder.iterdir()}
    artifact = fetched(folder, store)
    assert artifact.path == folder
    assert sorted(artifact.manifest.files) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert {path: path.stat() for path in folder.iterdir()} == before


def test_the_identity_is_the_content_wherever_it_lies(folder: Path, store: ArtifactStore, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "README.md").write_text("other words")
    assert fetched(copy, store).key == fetched(folder, store).key
    (copy / "config.json").write_text("{ }")
    assert fetched(copy, store).key != fetched(folder, store).key


def test_a_tilde_is_the_home_folder(folder: Path, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert fetched(Path("~/model"), store).path == folder


def test_everything_that_a_folder_lacks_is_named_at_once(folder: Path, store: ArtifactStore) -> None:
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).unlink()
    with pytest.raises(DownloadError, match=r"config\.json; any \*\.safetensors file; a tokenizer"):
        fetched(folder, store)


def test_a_missing_shard_is_named(folder: Path, store: ArtifactStore) -> None:
    index = '{"weight_map": {"a": "model.safetensors", "b": "model-00002.safetensors"}}'
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(DownloadError, match=r"lacks model-00002\.safetensors"):
        fetched(folder, store)


def test_a_folder_that_is_not_there_is_named(store: ArtifactStore) -> None:
    with pytest.raises(DownloadError, match=r"/nowhere: there is no such folder"):
        fetched(Path("/nowhere"), store)


def settle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if some time had passed since the files were written."""
    newest = max(path.stat().st_ctime_ns for path in folder.iterdir())
    monkeypatch.setattr(local, "_now_ns", lambda: newest + 3_000_000_000)


def test_a_large_model_is_hashed_once(folder: Path, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(folder, monkeypatch)
    first, second = list[str](), list[str]()
    assert fetched(folder, store, first).key == fetched(folder, store, second).key
    assert len(first) == 3
    assert second == []


def test_a_file_that_was_just_written_is_hashed_again(folder: Path, store: ArtifactStore) -> None:
    """A second change within the clock's tick would leave size and time as they are."""
    said: list[str] = []
    fetched(folder, store)
    fetched(folder, store, said)
    assert len(said) == 3


def test_a_change_is_seen_even_when_the_time_is_set_back(
    folder: Path, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "model.safetensors"
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
    settle(folder, monkeypatch)
    before = fetched(folder, store).key
    path.write_text(path.read_text().upper())
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
    assert fetched(folder, store).key != before


def test_a_change_between_fetching_and_use_is_noticed(folder: Path, store: ArtifactStore) -> None:
    artifact = fetched(folder, store)
    (folder / "config.json").write_text("{} confiG.json")
    os.utime(folder / "config.json", ns=(LONG_AGO_NS, LONG_AGO_NS))
    with pytest.raises(SetupError, match=r"config\.json has other content"):
        artifact.check()


def test_a_broken_cache_of_hashes_only_costs_time(
    folder: Path, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(folder, monkeypatch)
    key = fetched(folder, store).key
    (store.root / ".file-hashes.json").write_text("[1")
    assert fetched(folder, store).key == key
