"""An environment per engine release: made once, on record, and made anew where its maker died."""

import fcntl
import multiprocessing
from pathlib import Path

import pytest

from experiments.errors import BuildError
from tasks.serving.environment import READY, Environment, check_release, engine_environment


def make(root: Path) -> Environment:
    """A small one: a package of a few kilobytes, pure Python."""
    return engine_environment(root, ["toml==0.10.2"], lambda _: None)


def count_made(root: str, queue: "multiprocessing.Queue[float]") -> None:
    queue.put(make(Path(root)).seconds)


def test_an_environment_is_made_once_and_says_what_it_resolved_to(tmp_path: Path) -> None:
    first = make(tmp_path)
    assert first.seconds > 0
    assert first.version("TOML") == "0.10.2"
    assert [len(digest) for _, _, digest in first.packages] == [64]
    assert (first.site_packages / "toml").is_dir()
    again = make(tmp_path)
    assert again.seconds == 0
    assert (again.python, again.packages) == (first.python, first.packages)
    assert not list(tmp_path.rglob("pip-report.json")), "the report names download addresses"
    with next(tmp_path.glob("*.lock")).open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # in use as long as this process lives: nobody may remove it

    (first.python.parents[1] / READY).unlink()  # as if its maker had been killed
    assert make(tmp_path).seconds > 0


def test_two_processes_make_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    both = [context.Process(target=count_made, args=(str(tmp_path), queue)) for _ in range(2)]
    for process in both:
        process.start()
    seconds = sorted(queue.get(timeout=120) for _ in both)
    for process in both:
        process.join()
    assert seconds[0] == 0
    assert seconds[1] > 0


def test_a_release_that_does_not_exist_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"toml==99\.0"):
        engine_environment(tmp_path, ["toml==99.0"], lambda _: None)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_what_a_release_cannot_run_with_is_taken_out_again(tmp_path: Path) -> None:
    kept = engine_environment(tmp_path, ["toml==0.10.2", "iniconfig==2.1.0"], lambda _: None, removed=["Iniconfig"])
    assert [name for name, _, _ in kept.packages] == ["toml"]
    assert not (kept.site_packages / "iniconfig").exists()
    assert (kept.site_packages / "toml").is_dir()
    assert engine_environment(tmp_path, ["toml==0.10.2", "iniconfig==2.1.0"], say, removed=["Iniconfig"]).seconds == 0


def say(_: str) -> None:
    """Nobody listens."""


def test_another_release_than_was_resolved_is_not_launched(tmp_path: Path) -> None:
    """As where somebody ran pip in it."""
    site_packages = tmp_path / "lib" / "python3.11" / "site-packages"
    environment = Environment(tmp_path / "bin" / "python", (("Some_Engine", "1.0", ""),), 0.0)

    def install(version: str) -> None:
        folder = site_packages / "some_engine.dist-info"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: some-engine\nVersion: {version}\n")

    install("1.0")
    assert check_release(environment, "some-engine", "1.0") == "1.0"
    install("1.1")
    with pytest.raises(BuildError, match=r"1\.0 was asked for, 1\.0 resolved, and 1\.1 is installed now"):
        check_release(environment, "some-engine", "1.0")
    with pytest.raises(BuildError, match="nothing resolved"):
        check_release(environment, "another-engine", "1.0")
