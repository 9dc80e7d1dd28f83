"""The store: made once, whole whenever it is seen, whatever is killed and however full the disk is."""

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from experiments.errors import SetupError
from experiments.schema.failure import FailureClass
from tasks.artifacts.manifest import Artifact
from tasks.artifacts.store import ArtifactStore, Make, artifact_key

KILLING = Path(__file__).with_name("killing.py")
MADE_FROM = {"what": "words"}


def maker_of(text: str, calls: list[Path] | None = None) -> Make:
    def make(folder: Path) -> dict[str, object]:
        if calls is not None:
            calls.append(folder)
        (folder / "inner").mkdir()
        (folder / "inner" / "words.txt").write_text(text)
        (folder / "entry.bin").write_bytes(text.encode() * 3)
        return {"words": len(text)}

    return make


def leftovers(store: ArtifactStore) -> list[str]:
    return sorted(path.name for path in store.root.glob(".partial-*"))


def damage_one(artifact: Artifact, change: str) -> None:
    path = artifact.path / "entry.bin"
    stat = path.stat()
    if change == "truncated":
        path.write_bytes(b"")
    elif change == "removed":
        path.unlink()
    elif change == "another content and time":
        path.write_bytes(b"X" * stat.st_size)
        os.utime(path, ns=(0, 0))
    elif change == "one bit, same size and time":
        content = bytearray(path.read_bytes())
        content[0] ^= 1
        path.write_bytes(content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    else:
        (artifact.path.parent / "artifact.json").write_text("{")


def test_an_artifact_knows_its_files_and_what_it_is_made_from(tmp_path: Path) -> None:
    made = ArtifactStore(tmp_path).get_or_make("words", MADE_FROM, maker_of("abc"), entry="entry.bin")
    manifest = json.loads((made.path.parent / "artifact.json").read_text())
    assert made.was_made
    assert made.bytes == 3 + 9
    assert made.entry.read_bytes() == b"abcabcabc"
    assert manifest["made_from"] == {"what": "words"}
    assert manifest["facts"] == {"words": 3}
    # sha256sum of the three bytes "abc", from FIPS 180-2's example
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert manifest["files"]["inner/words.txt"]["sha256"] == expected
    assert leftovers(ArtifactStore(tmp_path)) == []


def test_a_second_start_finds_what_the_first_made(tmp_path: Path) -> None:
    calls: list[Path] = []
    first = ArtifactStore(tmp_path).get_or_make("words", MADE_FROM, maker_of("abc", calls))
    second = ArtifactStore(tmp_path).get_or_make("words", MADE_FROM, maker_of("abc", calls), verify=True)
    assert len(calls) == 1
    assert not second.was_made
    assert (second.path, second.manifest) == (first.path, first.manifest)


def test_any_other_input_is_another_artifact() -> None:
    keys = {
        artifact_key("words", {"what": "words"}),
        artifact_key("words", {"what": "words", "version": 2}),
        artifact_key("names", {"what": "words"}),
    }
    assert len(keys) == 3


def test_what_is_no_plain_json_cannot_be_a_key() -> None:
    with pytest.raises(TypeError):
        artifact_key("words", {"path": Path("x")})
    with pytest.raises(ValueError, match="folder"):
        artifact_key("../words", {})


@pytest.mark.parametrize("change", ["truncated", "removed", "another content and time", "manifest"])
def test_a_damaged_artifact_is_set_aside_and_made_again(tmp_path: Path, change: str) -> None:
    store = ArtifactStore(tmp_path)
    said: list[str] = []
    damage_one(store.get_or_make("words", MADE_FROM, maker_of("abc")), change)
    again = store.get_or_make("words", MADE_FROM, maker_of("abc"), progress=said.append)
    assert again.was_made
    assert (again.path / "entry.bin").read_bytes() == b"abcabcabc"
    assert len(said) == 1
    assert "is damaged" in said[0]
    assert (tmp_path / f".damaged-words-{again.key}").is_dir()


def test_a_flipped_bit_under_an_old_time_is_found_by_verify(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    damage_one(store.get_or_make("words", MADE_FROM, maker_of("abc")), "one bit, same size and time")
    assert store.get_or_make("words", MADE_FROM, maker_of("abc"), verify=True).was_made


def test_a_copied_store_with_new_times_is_still_sound(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    made = store.get_or_make("words", MADE_FROM, maker_of("abc"))
    for path in made.path.rglob("*"):
        os.utime(path, ns=(1, 1))
    assert not store.get_or_make("words", MADE_FROM, maker_of("abc")).was_made


def test_a_file_that_changes_during_use_is_noticed(tmp_path: Path) -> None:
    made = ArtifactStore(tmp_path).get_or_make("words", MADE_FROM, maker_of("abc"))
    made.check(hashes=True)
    damage_one(made, "another content and time")
    with pytest.raises(SetupError, match=r"entry\.bin has other content"):
        made.check()


def test_a_maker_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fails(folder: Path) -> dict[str, object]:
        (folder / "half").write_text("half")
        raise RuntimeError("no")

    store = ArtifactStore(tmp_path)
    with pytest.raises(RuntimeError):
        store.get_or_make("words", MADE_FROM, fails)
    assert leftovers(store) == []
    assert list(store.artifacts()) == []
    assert store.get_or_make("words", MADE_FROM, maker_of("abc")).was_made


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_disk_that_fills_while_making_is_explained_and_leaves_nothing(tmp_path: Path) -> None:
    """The kernel's own ENOSPC: /dev/full refuses every write as a full file system does."""

    def fills(folder: Path) -> dict[str, object]:
        (folder / "half").write_bytes(b"x" * 1000)
        with Path("/dev/full").open("wb", buffering=0) as file:
            file.write(b"x")
        return {}

    store = ArtifactStore(tmp_path)
    with pytest.raises(SetupError, match=r"disk is full: 1\.0 MiB needed, .* free\. Nothing half-written stands"):
        store.get_or_make("words", MADE_FROM, fills, needed_bytes=2**20)
    assert leftovers(store) == []
    assert list(store.artifacts()) == []


@pytest.mark.parametrize(("number", "says"), [(errno.EDQUOT, "quota"), (errno.EFBIG, "ulimit -f")])
def test_a_limit_that_is_not_the_disks_is_not_called_a_full_disk(tmp_path: Path, number: int, says: str) -> None:
    def refused(folder: Path) -> dict[str, object]:
        raise OSError(number, "")

    with pytest.raises(SetupError, match=says) as raised:
        ArtifactStore(tmp_path).get_or_make("words", MADE_FROM, refused)
    assert "disk is full" not in str(raised.value)
    assert raised.value.failure_class is FailureClass.DISK_FULL


def test_a_small_file_system_that_really_fills_keeps_the_store_sound(tmp_path: Path) -> None:
    """A tmpfs of 1 MiB, mounted for this test alone in a namespace of its own where the machine allows that."""
    script = Path(__file__).with_name("full_disk.py")
    command = ["unshare", "--mount", "--map-root-user", sys.executable, str(script), str(tmp_path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no unshare")
    if "cannot mount" in done.stdout or "unshare" in done.stderr:
        pytest.skip(f"no namespace of our own: {done.stderr}{done.stdout}")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert "disk is full" in report["error"]
    assert report["leftovers"] == []
    assert report["small_after"] is True


def test_too_little_space_is_said_before_the_work(tmp_path: Path) -> None:
    calls: list[Path] = []
    with pytest.raises(SetupError, match=r"1048576\.0 GiB needed"):
        ArtifactStore(tmp_path).get_or_make("words", MADE_FROM, maker_of("abc", calls), needed_bytes=2**50)
    assert calls == []


def test_two_processes_make_the_same_thing_once(tmp_path: Path) -> None:
    runs = [
        subprocess.Popen([sys.executable, KILLING, "slow", str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    reports = [json.loads(run.communicate()[0]) for run in runs]
    assert sorted(report["was_made"] for report in reports) == [False, False, True]
    assert len({report["content"] for report in reports}) == 1
    waiting = [report["said"] for report in reports if not report["was_made"]]
    assert all("waiting for process" in " ".join(said) for said in waiting)


def test_two_threads_of_one_process_make_the_same_thing_once(tmp_path: Path) -> None:
    calls: list[Path] = []
    store = ArtifactStore(tmp_path)
    threads = [
        threading.Thread(target=store.get_or_make, args=("words", MADE_FROM, maker_of("abc", calls))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


@pytest.mark.parametrize("mode", ["every_step", "random"])
def test_a_store_is_sound_after_every_kill(tmp_path: Path, mode: str) -> None:
    """`every_step` kills at each system call that changes the disk; `random` after random delays."""
    done = subprocess.run(
        [sys.executable, KILLING, mode, str(tmp_path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["kills"] >= 20
    assert report["unsound"] == []
    assert report["partials_seen"] > 0, "no kill fell into the making"
    assert leftovers(ArtifactStore(tmp_path)) == []


def test_what_dead_makers_of_other_keys_left_goes_with_the_next_making(tmp_path: Path) -> None:
    dead = tmp_path / ".partial-words-0123456789ab-00ff00ff"
    dead.mkdir()
    ArtifactStore(tmp_path).get_or_make("words", MADE_FROM, maker_of("abc"))
    assert not dead.exists()


def test_what_a_living_maker_writes_is_left_alone(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)

    def makes_another(folder: Path) -> dict[str, object]:
        (folder / "outer").write_text("outer")
        store.get_or_make("words", {"what": "inner"}, maker_of("abc"))
        assert (folder / "outer").exists()
        return {}

    assert (store.get_or_make("words", {"what": "outer"}, makes_another).path / "outer").exists()
