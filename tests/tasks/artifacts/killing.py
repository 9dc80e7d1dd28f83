"""Makers that are killed: run as a program by test_store.py, so that a fork starts from a process of one thread."""

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.artifacts.store import ArtifactStore

FILES = 3


def make(folder: Path) -> dict[str, int]:
    for number in range(FILES):
        with (folder / f"{number}.bin").open("wb") as file:
            for part in range(8):
                file.write(bytes([number, part]) * 4096)
                file.flush()
    return {"files": FILES}


def slow(root: Path) -> None:
    said: list[str] = []

    def make_slowly(folder: Path) -> dict[str, int]:
        time.sleep(1.5)
        (folder / "who").write_text(str(os.getpid()))
        return {}

    artifact = ArtifactStore(root).get_or_make("slow", {"same": 1}, make_slowly, progress=said.append)
    content = (artifact.path / "who").read_text()
    print(json.dumps({"was_made": artifact.was_made, "content": content, "said": said}))


def child(root: Path, key: int, kill_at_step: int | None) -> int:
    """The pid of a process that makes an artifact, and that kills itself at that step if one is given."""
    pid = os.fork()
    if pid:
        return pid
    try:
        if kill_at_step is not None:
            _kill_at(kill_at_step)
        ArtifactStore(root).get_or_make("words", {"key": key}, make)
    finally:
        os._exit(0)


def _kill_at(step: int) -> None:
    """Each of these calls is one step; the process dies just before its `step`-th."""
    left = [step]

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return counting

    for name in ("mkdir", "open", "fsync", "rename", "ftruncate", "pwrite", "rmdir", "unlink", "close"):
        setattr(os, name, counted(getattr(os, name)))
    Path.open = counted(Path.open)  # type: ignore[method-assign]


def every_step(root: Path) -> dict[str, Any]:
    """One kill at each step of making one artifact, until a maker comes through."""
    report: dict[str, Any] = {"kills": 0, "unsound": [], "partials_seen": 0}
    for step in range(1000):
        shutil.rmtree(root / "words", ignore_errors=True)
        _, status = os.waitpid(child(root, 0, step), 0)
        report["partials_seen"] += len(list(root.glob(".partial-*")))
        if not os.WIFSIGNALED(status):
            return report
        report["kills"] += 1
        _note_unsound(root, report)
    raise AssertionError("no maker came through")


def at_random(root: Path) -> dict[str, Any]:
    """Kills after delays drawn up to the time that making takes; three makers at a time, on two keys."""
    chance = random.Random(7)
    report: dict[str, Any] = {"kills": 0, "unsound": [], "partials_seen": 0}
    began = time.monotonic()
    os.waitpid(child(root, 99, None), 0)
    takes_s = time.monotonic() - began
    for turn in range(40):
        pids = [child(root, turn, None), child(root, turn, None), child(root, turn + 1, None)]
        time.sleep(chance.uniform(0, 1.2 * takes_s))
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        report["kills"] += 1
        report["partials_seen"] += len(list(root.glob(".partial-*")))
        _note_unsound(root, report)
    ArtifactStore(root).get_or_make("words", {"key": 1000}, make)
    return report


def _note_unsound(root: Path, report: dict[str, Any]) -> None:
    """What stands in the store after a kill must be whole: read without the store's own check of hits."""
    for folder in (root / "words").glob("*"):
        manifest = json.loads((folder / "artifact.json").read_text())
        for number in range(FILES):
            content = (folder / "content" / f"{number}.bin").read_bytes()
            if content != b"".join(bytes([number, part]) * 4096 for part in range(8)):
                report["unsound"].append([str(folder), number])
        if sorted(manifest["files"]) != [f"{number}.bin" for number in range(FILES)]:
            report["unsound"].append(manifest["files"])


if __name__ == "__main__":
    mode, where = sys.argv[1], Path(sys.argv[2])
    if mode == "slow":
        slow(where)
    else:
        print(json.dumps(every_step(where) if mode == "every_step" else at_random(where)))
