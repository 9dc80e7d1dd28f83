"""Models from a hub: huggingface-hub as it is, against a small hub on loopback."""

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.artifacts.hub import progress_text

HERE = Path(__file__).parent


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


hub_server = _load("hub_server")
COMMIT, TOKEN = hub_server.COMMIT, hub_server.TOKEN

MIB = 2**20
WRITTEN_AT_ONCE = 10 * MIB
"""huggingface-hub writes what it receives in pieces of this size; a cut loses less than one."""

LONG_WEIGHTS = bytes(range(256)) * (24 * MIB // 256)
WEIGHTS = bytes(range(256)) * 16
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b'{"model": {}}',
    "chat_template.jinja": b"{{ messages }}",
    "model.safetensors": WEIGHTS,
    "consolidated.safetensors": b"the same weights again",
    "pytorch_model.bin": b"the same weights again",
    "original/consolidated.00.pth": b"the same weights again",
    "onnx/model.safetensors": b"the same weights again",
    "README.md": b"# a model",
    "picture.png": b"\x89PNG",
    ".gitattributes": b"*.safetensors filter=lfs",
}
DOLLY = b'{"instruction": "Hi", "context": "", "response": "Hello", "category": "open_qa"}\n'
SHARDS = {
    "data/train-00000-of-00002.parquet": b"first",
    "data/train-00001-of-00002.parquet": b"second",
    "data/test-00000-of-00001.parquet": b"held out",
    "extra/raw.csv": b"a,b",
}
NEEDED = ["chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json"]
LARGE = frozenset({"model.safetensors"})

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def hub() -> Iterator[Any]:
    repositories = {
        "org/open": hub_server.HubRepository(FILES, LARGE),
        "org/long": hub_server.HubRepository({**FILES, "model.safetensors": LONG_WEIGHTS}, LARGE),
        "org/gated": hub_server.HubRepository(FILES, LARGE, access="gated"),
        "org/private": hub_server.HubRepository(FILES, LARGE, access="private"),
        "org/refusing": hub_server.HubRepository(FILES, LARGE, access="wrong_token"),
        "datasets/org/dolly": hub_server.HubRepository(
            {"databricks-dolly-15k.jsonl": DOLLY, "README.md": b"# dolly", "dataset_infos.json": b"{}"},
            frozenset({"databricks-dolly-15k.jsonl"}),
        ),
        "datasets/org/shards": hub_server.HubRepository(SHARDS),
        "org/bin-only": hub_server.HubRepository({"config.json": b"{}", "pytorch_model.bin": b"x"}),
    }
    server = hub_server.Hub(repositories)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def start(hub: Any, tmp_path: Path) -> Start:
    def started(*models: str, **env: str) -> "subprocess.Popen[str]":
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        homes = {"HF_HOME": str(tmp_path / "hf-home"), "HOME": str(tmp_path), "HF_ENDPOINT": hub.url}
        return subprocess.Popen(
            [sys.executable, HERE / "fetching.py", str(tmp_path / "store"), *models],
            env={**inherited, **homes, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return started


def reports_of(process: "subprocess.Popen[str]") -> list[dict[str, Any]]:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return [{**report, "stderr": err} for report in json.loads(out)]


def report_of(process: "subprocess.Popen[str]") -> dict[str, Any]:
    return reports_of(process)[0]


def test_only_the_files_that_are_needed_come_and_are_the_right_ones(hub: Any, start: Start) -> None:
    report = report_of(start("org/open@main"))
    folder = Path(report["path"])
    assert sorted(path.name for path in folder.iterdir()) == NEEDED
    assert all((folder / name).read_bytes() == FILES[name] for name in NEEDED)
    manifest = json.loads((folder.parent / "artifact.json").read_text())
    assert manifest["made_from"] == {"repo": "org/open", "commit": COMMIT, "layout_version": 1}
    assert list(folder.parents[2].glob(".download-*")) == []
    asked = {path for path in FILES if hub.asked_for(path)}
    assert asked == set(NEEDED)


def test_a_pinned_commit_that_is_there_needs_no_network_at_all(hub: Any, start: Start) -> None:
    first = report_of(start("org/open@main"))
    hub.asked.clear()
    second = report_of(start(f"org/open@{COMMIT}"))
    assert (second["key"], second["was_made"]) == (first["key"], False)
    assert hub.asked == []


def test_a_branch_is_resolved_again_and_nothing_is_fetched_twice(hub: Any, start: Start) -> None:
    report_of(start("org/open@main"))
    hub.asked.clear()
    assert report_of(start("org/open@main"))["was_made"] is False
    assert [asked.path for asked in hub.asked] == ["/api/models/org/open/revision/main"]


def test_a_connection_cut_in_the_middle_is_resumed(hub: Any, start: Start) -> None:
    hub.repositories["org/long"].cut_once_at["model.safetensors"] = 15 * MIB
    report = report_of(start("org/long@main"))
    assert (Path(report["path"]) / "model.safetensors").read_bytes() == LONG_WEIGHTS
    ranges = [asked.range for asked in hub.asked_for("model.safetensors") if asked.path.startswith("/cdn")]
    assert ranges == ["", f"bytes={WRITTEN_AT_ONCE}-"]


def test_a_download_that_was_killed_goes_on_where_it_was(hub: Any, start: Start, tmp_path: Path) -> None:
    hub.repositories["org/long"].stall_once_at["model.safetensors"] = 15 * MIB
    killed = start("org/long@main")
    assert hub.stalled.wait(30)
    partial = next((tmp_path / "store").glob(".download-*")) / "model.safetensors.incomplete"
    while partial.stat().st_size < WRITTEN_AT_ONCE:
        pass
    killed.kill()
    killed.communicate()
    hub.asked.clear()
    report = report_of(start("org/long@main"))
    assert (Path(report["path"]) / "model.safetensors").read_bytes() == LONG_WEIGHTS
    ranges = [asked.range for asked in hub.asked_for("model.safetensors") if asked.path.startswith("/cdn")]
    assert ranges == [f"bytes={WRITTEN_AT_ONCE}-"]
    assert hub.asked_for("config.json") == [], "what was whole is not fetched again"


def test_a_server_that_ignores_ranges_still_gives_the_right_file(hub: Any, start: Start) -> None:
    hub.repositories["org/long"].cut_once_at["model.safetensors"] = 15 * MIB
    hub.repositories["org/long"].ignores_ranges = True
    report = report_of(start("org/long@main"))
    assert (Path(report["path"]) / "model.safetensors").read_bytes() == LONG_WEIGHTS


def test_two_processes_fetch_a_model_once(hub: Any, start: Start) -> None:
    reports = [report_of(process) for process in [start("org/open@main"), start("org/open@main")]]
    assert sorted(report["was_made"] for report in reports) == [False, True]
    assert len([asked for asked in hub.asked_for("model.safetensors") if asked.path.startswith("/cdn")]) == 1


def test_a_gated_model_comes_with_a_token_that_no_other_host_and_no_file_sees(
    hub: Any, start: Start, tmp_path: Path
) -> None:
    report = report_of(start("org/gated@main", HF_TOKEN=TOKEN))
    assert report["was_made"]
    at_hub = [asked for asked in hub.asked if not asked.path.startswith("/cdn")]
    elsewhere = [asked for asked in hub.asked if asked.path.startswith("/cdn")]
    assert all(asked.authorized for asked in at_hub)
    assert elsewhere
    assert not any(asked.authorized for asked in elsewhere)
    assert TOKEN not in json.dumps(report)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()] == []


def failure_class(said: str) -> str:
    """What a person who reads that advice would file it under."""
    if "gated" in said or "refused access" in said:
        return "weights_gated"
    return "network" if "could not be fetched" in said else "weights_missing"


@pytest.mark.parametrize(
    ("env", "advice"),
    [
        (
            {},
            {
                "org/gated@main": r"gated is gated: accept .* at .*/org/gated, then set HF_TOKEN .*\(none is set\)",
                "org/private@main": r"/org/private does not exist, or is private\. Check the name; .*set HF_TOKEN",
                "org/open@v9": r"org/open has no revision v9: see its branches and tags at http",
                "org/bin-only@main": r"it lacks any \*\.safetensors file; a tokenizer",
            },
        ),
        ({"HF_TOKEN": "hf_other"}, {"org/gated@main": r"is gated: .*set HF_TOKEN .*\(the present one has none\)"}),
        (
            {"HF_TOKEN": TOKEN},
            {
                "org/nowhere@main": r"/org/nowhere does not exist, or is private\. Check the name",
                "org/refusing@main": r"refused access to org/refusing \(401\): set HF_TOKEN",
            },
        ),
        (
            {"HF_HUB_OFFLINE": "1"},
            {
                "org/open@main": r"org/open at main is not in the store, and HF_HUB_OFFLINE is set: unset it",
                f"org/open@{COMMIT}": r"is not in the store, and HF_HUB_OFFLINE is set: unset it",
            },
        ),
        (
            {"HF_ENDPOINT": "http://user:secret@127.0.0.1:9"},
            {"org/open@main": r"could not be fetched from http://127\.0\.0\.1:9: .*HF_ENDPOINT"},
        ),
    ],
)
def test_what_the_hub_does_not_give_says_what_to_do(
    start: Start, tmp_path: Path, env: dict[str, str], advice: dict[str, str]
) -> None:
    reports = reports_of(start(*advice, **env))
    for report, said in zip(reports, advice.values(), strict=True):
        assert report["error"] == "DownloadError"
        assert re.search(said, report["message"]), report["message"]
        assert report["class"] == failure_class(said)
    for secret in (TOKEN, "hf_other", "user:secret"):
        assert secret not in json.dumps(reports)
    assert list((tmp_path / "store").glob(".partial-*")) == []


def test_progress_tells_bytes_share_rate_and_what_is_left() -> None:
    """At 10 s, 300 MB of a GB are there, 100 of which were there before: 20 MB/s, 35 s for the other 700."""
    assert progress_text(300_000_000, 10**9, 100_000_000, 10.0) == "286.1 MiB of 953.7 MiB (30 %), 20.0 MB/s, 35 s left"
    assert progress_text(10**8, 10**9, 10**8, 10.0) == "95.4 MiB of 953.7 MiB, nothing arrives"


def test_offline_a_branch_is_the_commit_that_it_was_last_seen_at(start: Start) -> None:
    first = report_of(start("org/open@main"))
    offline = report_of(start("org/open@main", HF_HUB_OFFLINE="1"))
    assert (offline["key"], offline["was_made"]) == (first["key"], False)
    assert f"offline, taken as the commit that it was last seen at, {COMMIT[:12]}" in offline["said"][0]


def test_too_little_disk_is_said_before_anything_is_fetched(hub: Any, start: Start) -> None:
    hub.repositories["org/open"].listed_sizes = {"model.safetensors": 2**50}
    report = report_of(start("org/open@main"))
    assert report["error"] == "SetupError"
    assert "disk is full: 1048576.0 GiB needed" in report["message"]
    assert report["class"] == "disk_full"
    assert hub.asked_for("config.json") == []


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_that_is_not_the_one_listed_is_thrown_away(hub: Any, start: Start, name: str) -> None:
    """The same length, other bytes: SHA-256 tells for a large file, git's SHA-1 for a small one."""
    repository = hub.repositories["org/open"]
    repository.sent_instead = {name: bytes(len(FILES[name]))}
    report = report_of(start("org/open@main"))
    assert report["error"] == "DownloadError"
    assert f"{name} did not arrive as the hub lists it" in report["message"]
    repository.sent_instead = {}
    assert report_of(start("org/open@main"))["was_made"]


def test_what_another_program_has_in_its_cache_is_not_fetched_again(hub: Any, start: Start, tmp_path: Path) -> None:
    snapshot = tmp_path / "hf-home" / "hub" / "models--org--open" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(WEIGHTS)
    assert report_of(start("org/open@main"))["was_made"]
    assert hub.asked_for("model.safetensors") == []


def cache_of_another_program(home: Path, *names: str) -> None:
    """As huggingface-hub lays it out: blobs by hash, a snapshot of links, and what the branch was."""
    repo = home / "hub" / "models--org--open"
    snapshot = repo / "snapshots" / COMMIT
    snapshot.mkdir(parents=True, exist_ok=True)
    for folder in ("blobs", "refs"):
        (repo / folder).mkdir(exist_ok=True)
    (repo / "refs" / "main").write_text(COMMIT)
    for name in names:
        blob = repo / "blobs" / hashlib.sha256(FILES[name]).hexdigest()
        blob.write_bytes(FILES[name])
        (snapshot / name).symlink_to(blob)


def test_offline_the_cache_of_another_program_is_enough(hub: Any, start: Start, tmp_path: Path) -> None:
    cache_of_another_program(tmp_path / "hf-home", "config.json", "tokenizer.json")
    report = report_of(start("org/open@main", HF_HUB_OFFLINE="1"))
    assert "lacks any *.safetensors file" in report["message"]
    cache_of_another_program(tmp_path / "hf-home", "model.safetensors", "chat_template.jinja")
    report = report_of(start("org/open@main", HF_HUB_OFFLINE="1"))
    assert report["was_made"]
    assert all((Path(report["path"]) / name).read_bytes() == FILES[name] for name in NEEDED)
    assert hub.asked == []
    assert report_of(start("org/open@main"))["key"] == report["key"], "the same artifact as from the hub itself"


def test_the_hub_is_not_told_what_is_installed_here(hub: Any, start: Start, tmp_path: Path) -> None:
    """By default each request names the version of torch, here one that is only pretended."""
    pretended = tmp_path / "torch-9.8.7.dist-info"
    pretended.mkdir()
    (pretended / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 9.8.7\n")
    report_of(start("org/open@main", PYTHONPATH=os.pathsep.join([*sys.path, str(tmp_path)])))
    assert hub.asked
    assert not any("9.8.7" in asked.user_agent for asked in hub.asked)


def test_the_only_data_file_of_a_dataset_comes_once(hub: Any, start: Start) -> None:
    first = report_of(start("dataset:org/dolly@main::"))
    assert [path.name for path in Path(first["path"]).iterdir()] == ["databricks-dolly-15k.jsonl"]
    assert (Path(first["path"]) / "databricks-dolly-15k.jsonl").read_bytes() == DOLLY
    hub.asked.clear()
    assert report_of(start(f"dataset:org/dolly@{COMMIT}::"))["path"] == first["path"]
    assert hub.asked == []


def test_a_split_is_all_its_shards_and_a_file_is_one(start: Start) -> None:
    train, one = reports_of(start("dataset:org/shards@main::train", "dataset:org/shards@main:extra/raw.csv:"))
    names = [str(path.relative_to(train["path"])) for path in Path(train["path"]).rglob("*.parquet")]
    assert sorted(names) == ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]
    assert (Path(one["path"]) / "extra" / "raw.csv").read_bytes() == b"a,b"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("org/shards@main::", "name one data file with file: or split:. There are data/test"),
        ("org/shards@main:data/test-0000-of-00001.parquet:", "Did you mean data/test-00000-of-00001.parquet?"),
        ("org/shards@main::validation", "no data file of the split validation"),
        ("org/open@main::", "/datasets/org/open does not exist, or is private"),
    ],
)
def test_what_a_dataset_repository_does_not_have_is_told_with_what_it_has(start: Start, asked: str, words: str) -> None:
    report = report_of(start(f"dataset:{asked}"))
    assert report["error"] == "DownloadError"
    assert words in report["message"]
