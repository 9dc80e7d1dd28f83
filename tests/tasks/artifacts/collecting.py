"""Makers, users and collectors in one store, killed at random: run as a program by test_collection.py, so that a fork
starts from a process of one thread.

collecting.py ROOT SEED
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tasks.artifacts.collection import Limits, collect
from tasks.artifacts.inventory import Stock
from tasks.artifacts.store import ArtifactStore

KEYS = 6
PART = 4096
AT_MOST_S = 8.0
UNTIL_ONE_FALLS_IN_S = 60.0
"""A kill that meets nothing half done tests little: where none has, there are more rounds."""


def content_of(key: int, file: int) -> bytes:
    return bytes([key, file]) * PART


def make(key: int) -> Callable[[Path], dict[str, int]]:
    def making(folder: Path) -> dict[str, int]:
        for file in range(2):
            (folder / f"{file}.bin").write_bytes(content_of(key, file))
        return {}

    return making


def is_whole(content: Path, key: int) -> bool:
    return all((content / f"{file}.bin").read_bytes() == content_of(key, file) for file in range(2))


def use(root: Path, key: int) -> None:
    """What was handed out stays whole for as long as its user lives."""
    artifact = ArtifactStore(root).get_or_make("words", {"key": key}, make(key))
    for _ in range(20):
        if not is_whole(artifact.path, key):
            raise AssertionError("what was used was taken away")
        time.sleep(0.002)


def collect_some(root: Path, keep_bytes: int) -> None:
    for _ in range(3):
        collect(Stock(root, root / "environments"), Limits(keep_bytes=keep_bytes), {})


def child(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def unsound(root: Path) -> list[str]:
    """Read without the store's own check of hits."""
    found = []
    for folder in (root / "words").glob("*"):
        key = json.loads((folder / "artifact.json").read_text())["made_from"]["key"]
        if not is_whole(folder / "content", key):
            found.append(str(folder))
    return found


def one_round(root: Path, chance: random.Random) -> dict[str, int]:
    """Two users, two collectors; each is killed after a delay of its own, or was done before."""
    keys = [chance.randrange(KEYS) for _ in range(2)]
    works: list[Callable[[], None]] = [lambda key=key: use(root, key) for key in keys]  # type: ignore[misc]
    works += [lambda: collect_some(root, 2 * PART), lambda: collect_some(root, 0)]
    chance.shuffle(works)
    pids = [child(work) for work in works]
    counted = {"kills": 0, "failures": 0, "half": 0}
    for pid in pids:
        time.sleep(chance.uniform(0, 0.02))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        counted["kills"] += os.WIFSIGNALED(status)
        counted["failures"] += os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0
    counted["half"] += len([*root.glob(".gone-*"), *root.glob(".partial-*")])
    return counted


def is_to_go_on(total: dict[str, int], seconds: float) -> bool:
    if not total["half"]:
        return seconds < UNTIL_ONE_FALLS_IN_S
    return total["rounds"] < 60 and seconds < AT_MOST_S


def main(root: Path, seed: int) -> None:
    chance = random.Random(seed)
    total = {"kills": 0, "failures": 0, "half": 0, "rounds": 0}
    bad: list[str] = []
    began = time.monotonic()
    while is_to_go_on(total, time.monotonic() - began):
        for name, count in one_round(root, chance).items():
            total[name] += count
        total["rounds"] += 1
        bad += unsound(root)
    for key in range(KEYS):
        use(root, key)
    print(json.dumps({**total, "unsound": bad}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
