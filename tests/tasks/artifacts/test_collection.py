"""Making room: by age and by size, never what is used or pinned, and sound after every kill."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.artifacts.collection import Limits, collect
from tasks.artifacts.inventory import Item, Stock, items, model_names, remains
from tasks.artifacts.lock import is_in_use, use_until_exit
from tasks.artifacts.manifest import Artifact
from tasks.artifacts.pins import Need, Pin, pinned
from tasks.artifacts.store import ArtifactStore, Make

COLLECTING = Path(__file__).with_name("collecting.py")
MAKE_AND_LEAVE = """
import sys
from pathlib import Path
from tasks.artifacts.store import ArtifactStore
def make(folder):
    (folder / "words.bin").write_bytes(b"x" * int(sys.argv[3]))
    return {}
ArtifactStore(Path(sys.argv[1])).get_or_make("words", {"name": sys.argv[2]}, make)
"""


def of_size(size: int) -> Make:
    def make(folder: Path) -> dict[str, object]:
        (folder / "words.bin").write_bytes(b"x" * size)
        return {}

    return make


def made_by_another(root: Path, *names: str, size: int = 1000) -> None:
    """By processes that have ended, so that nobody uses it any more."""
    for name in names:
        subprocess.run([sys.executable, "-c", MAKE_AND_LEAVE, str(root), name, str(size)], check=True)


@pytest.fixture
def stock(tmp_path: Path) -> Stock:
    return Stock(tmp_path / "artifacts", tmp_path / "environments")


@pytest.fixture
def three(stock: Stock) -> Stock:
    """Artifacts of 1000 bytes, last used 30, 20 and 10 days ago."""
    made_by_another(stock.artifacts, "old", "middle", "young")
    for name, days in (("old", 30), ("middle", 20), ("young", 10)):
        age(by_name(stock)[name], days)
    return stock


def by_name(stock: Stock) -> dict[str, Item]:
    return {str(item.made_from.get("name", item.key)): item for item in items(stock)}


def age(item: Item, days: int) -> None:
    """As if it had been made and last used so long ago."""
    then = datetime.now(UTC) - timedelta(days=days)
    os.utime(item.use_file, (then.timestamp(), then.timestamp()))
    record = item.folder / "artifact.json"
    body = json.loads(record.read_text())
    record.write_text(json.dumps({**body, "made_at": then.isoformat()}))


def days_ago(days: int) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


def test_what_was_not_used_for_so_long_goes(three: Stock) -> None:
    done = collect(three, Limits(unused_since=days_ago(15)), {})
    assert sorted(item.made_from["name"] for item, _ in done.removed) == ["middle", "old"]
    assert list(by_name(three)) == ["young"]
    assert (done.freed_bytes, done.left_bytes) == (2000, 1000)


def test_a_use_makes_it_young_again(three: Stock) -> None:
    made_by_another(three.artifacts, "old")
    collect(three, Limits(unused_since=days_ago(15)), {})
    assert sorted(by_name(three)) == ["old", "young"]


@pytest.mark.parametrize(
    ("keep_bytes", "left"),
    [(3000, ["middle", "old", "young"]), (2999, ["middle", "young"]), (1000, ["young"]), (0, [])],
)
def test_the_least_recently_used_goes_until_the_rest_fits(three: Stock, keep_bytes: int, left: list[str]) -> None:
    collect(three, Limits(keep_bytes=keep_bytes), {})
    assert sorted(by_name(three)) == left


def test_a_dry_run_names_the_same_and_takes_nothing(three: Stock) -> None:
    dry = collect(three, Limits(keep_bytes=1500), {}, dry_run=True)
    assert len(by_name(three)) == 3
    wet = collect(three, Limits(keep_bytes=1500), {})
    assert [item.key for item, _ in dry.removed] == [item.key for item, _ in wet.removed]
    assert (dry.freed_bytes, dry.left_bytes) == (wet.freed_bytes, wet.left_bytes) == (2000, 1000)


def test_without_limits_only_remains_go(three: Stock) -> None:
    for name in (".partial-words-0123456789ab-00ff00ff", ".damaged-words-0123456789ab", ".gone-words-0123456789ab-1"):
        (three.artifacts / name).mkdir()
    (three.environments / "half-made-1").mkdir(parents=True)
    done = collect(three, Limits(), {})
    assert len(done.swept) == 4
    assert remains(three) == []
    assert len(by_name(three)) == 3


def test_what_is_pinned_stays_and_says_by_whom(three: Stock) -> None:
    old = by_name(three)["old"]
    done = collect(three, Limits(keep_bytes=0), {(old.kind, old.key): ["quickstart"]})
    assert [(item.made_from["name"], why) for item, why in done.stayed] == [("old", "pinned by quickstart")]
    assert list(by_name(three)) == ["old"]


def test_what_a_living_process_uses_stays_until_that_process_ends(three: Stock) -> None:
    use = f"{MAKE_AND_LEAVE}\nprint('used', flush=True)\nsys.stdin.read()"
    command = [sys.executable, "-c", use, str(three.artifacts), "old", "1000"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == "used\n"
        done = collect(three, Limits(keep_bytes=0), {})
        assert [(item.made_from["name"], why) for item, why in done.stayed] == [("old", "in use")]
        assert by_name(three)["old"].is_in_use
        user.kill()
    assert [i.made_from["name"] for i, _ in collect(three, Limits(keep_bytes=0), {}).removed] == ["old"]


def test_what_is_being_made_is_not_taken_for_remains(stock: Stock) -> None:
    def make(folder: Path) -> dict[str, object]:
        (folder / "half").write_bytes(b"x")
        assert collect(stock, Limits(unused_since=datetime.now(UTC), keep_bytes=0), {}).swept == []
        assert (folder / "half").exists()
        return {}

    assert ArtifactStore(stock.artifacts).get_or_make("words", {"name": "slow"}, make).was_made


def test_a_download_that_was_cut_off_stays_until_it_is_old_or_room_is_needed(stock: Stock) -> None:
    cut = stock.artifacts / ".download-hub-0123456789ab"
    cut.mkdir(parents=True)
    (cut / "model.safetensors.incomplete").write_bytes(b"x" * 10)
    assert collect(stock, Limits(unused_since=days_ago(1)), {}).swept == []
    for path in (cut / "model.safetensors.incomplete", cut):
        os.utime(path, (0, 0))
    assert [one.folder for one in collect(stock, Limits(unused_since=days_ago(1)), {}).swept] == [cut]


def test_an_environment_counts_and_goes_like_any_other(stock: Stock) -> None:
    folder = stock.environments / "toml-0.10.2-abcdef"
    folder.mkdir(parents=True)
    (folder / "environment.json").write_text(json.dumps({"requirements": ["toml==0.10.2"], "packages": []}))
    (folder / "toml.py").write_bytes(b"x" * 500)
    (found,) = items(stock)
    assert (found.kind, found.what) == ("environment", "toml==0.10.2")
    assert found.bytes > 500
    collect(stock, Limits(keep_bytes=0), {})
    assert list(stock.environments.glob("*toml*[0-9a-f]")) == []


def test_the_model_of_a_checkpoint_is_that_of_its_weights(stock: Stock) -> None:
    store = ArtifactStore(stock.artifacts)
    weights: Artifact = store.get_or_make("hub", {"repo": "org/model", "commit": "0" * 40}, of_size(1))
    checkpoint = store.get_or_make("gguf", {"model": weights.key, "recipe": "Q8_0"}, of_size(1))
    engine = store.get_or_make("engine", {"inputs": [{"checkpoint": checkpoint.key}]}, of_size(1))
    names = model_names(items(stock), {})
    assert {names[artifact.key] for artifact in (weights, checkpoint, engine)} == {"org/model"}
    assert model_names(items(stock), {weights.key: "a name"})[engine.key] == "a name"


def test_what_is_compiled_from_files_by_their_hashes_is_known_by_the_largest(stock: Stock) -> None:
    """Two models share a tokenizer: an engine compiled from the weights of one is of that one."""
    store = ArtifactStore(stock.artifacts)

    def weights_of(number: int) -> Make:
        def make(folder: Path) -> dict[str, object]:
            (folder / "model.safetensors").write_bytes(bytes([number]) * 100)
            (folder / "tokenizer.json").write_bytes(b"the same")
            return {}

        return make

    models = [store.get_or_make("hub", {"repo": f"org/{n}", "commit": "0" * 40}, weights_of(n)) for n in (1, 2)]
    shas = {name: entry.sha256 for name, entry in models[1].manifest.files.items()}
    engine = store.get_or_make("engine", {"checkpoint": shas}, of_size(1))
    assert model_names(items(stock), {})[engine.key] == "org/2"
    need = Need({"kind": "hub", "repo": "org/2", "revision": "0" * 40}, "", ())
    pin = Pin("mine", "mine.yaml", "", (need,), ())
    assert sorted(pinned(items(stock), [pin], stock.artifacts)) == [("engine", engine.key), ("hub", models[1].key)]


def test_a_use_file_that_was_removed_is_marked_anew(tmp_path: Path) -> None:
    path = tmp_path / ".used" / "words-1"
    use_until_exit(path)
    path.unlink()
    assert not is_in_use(path)
    use_until_exit(path)
    assert is_in_use(path)


def test_a_store_of_makers_users_and_collectors_is_sound_after_every_kill(tmp_path: Path) -> None:
    """Two users and two collectors a round, each killed at a moment of its own; what is in use never goes."""
    done = subprocess.run(
        [sys.executable, COLLECTING, str(tmp_path), "11"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["kills"] >= 20
    assert report["half"] > 0, "no kill fell into making or removing"
    assert (report["failures"], report["unsound"]) == (0, []), done.stderr
    assert remains(Stock(tmp_path, tmp_path / "environments")) == []
