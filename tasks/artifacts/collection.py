"""Making room: what nobody has used for long, or used longest ago, leaves the store. Never what is used or pinned.

An item is taken out by one rename under the lock that its users share, and only then removed: a kill at any moment
leaves it whole or out of sight, and whoever asks for it next finds it or makes it again.
"""

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tasks.artifacts.inventory import Item, Remains, Stock, items, last_use, remains
from tasks.artifacts.lock import lock_if_free
from tasks.artifacts.manifest import sync_folder

Pins = Mapping[tuple[str, str], Sequence[str]]
"""The experiments that hold an item, by its kind and key."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What may go: what was last used before `unused_since`, and the least recently used until all that is left has
    at most `keep_bytes`. Without either only what is of no use to anybody goes."""

    unused_since: datetime | None = None
    keep_bytes: int | None = None


@dataclass(slots=True)
class Collected:
    """What went (or would go), what was asked to go and stayed with the reason, and the bytes that are left."""

    removed: list[tuple[Item, str]] = field(default_factory=list)
    swept: list[Remains] = field(default_factory=list)
    stayed: list[tuple[Item, str]] = field(default_factory=list)
    freed_bytes: int = 0
    left_bytes: int = 0


def collect(stock: Stock, limits: Limits, pins: Pins, *, dry_run: bool = False) -> Collected:
    """Any number of processes may make, use and collect in the same store meanwhile."""
    done = Collected()
    _sweep(stock, limits, done, dry_run=dry_run)
    by_age = sorted(items(stock), key=lambda item: (item.last_used, item.kind, item.key))
    done.left_bytes += sum(item.bytes for item in by_age)
    for item in by_age:
        reason = _reason(item, limits, done.left_bytes)
        if reason:
            _take(item, reason, pins, done, dry_run=dry_run)
    return done


def remove(item: Item, *, only_if_unused_since_listed: bool = False) -> bool:
    """Whether it went: not where a living process uses it."""
    was_ever_used = item.use_file.exists()
    with lock_if_free(item.use_file) as free:
        was_used = was_ever_used and last_use(item.use_file, item.made_at) > item.last_used
        if not free or (only_if_unused_since_listed and was_used) or not item.folder.exists():
            return False
        gone = _put_away(item)
    shutil.rmtree(gone, ignore_errors=True)
    return True


def _reason(item: Item, limits: Limits, left_bytes: int) -> str:
    if limits.unused_since is not None and item.last_used < limits.unused_since:
        return f"not used since {item.last_used:%Y-%m-%d}"
    if limits.keep_bytes is not None and left_bytes > limits.keep_bytes:
        return "the least recently used"
    return ""


def _take(item: Item, reason: str, pins: Pins, done: Collected, *, dry_run: bool) -> None:
    holders = pins.get((item.kind, item.key), ())
    if holders:
        done.stayed.append((item, f"pinned by {', '.join(holders)}"))
    elif item.is_in_use if dry_run else not remove(item, only_if_unused_since_listed=True):
        done.stayed.append((item, "in use"))
    else:
        done.removed.append((item, reason))
        done.freed_bytes += item.bytes
        done.left_bytes -= item.bytes


def _put_away(item: Item) -> Path:
    """One rename, forced to disk; the new name is in the store's root, where the next sweep finds it."""
    gone = item.root / f".gone-{item.kind}-{item.key}-{secrets.token_hex(4)}"
    os.rename(item.folder, gone)
    sync_folder(item.folder.parent)
    sync_folder(item.root)
    return gone


def _sweep(stock: Stock, limits: Limits, done: Collected, *, dry_run: bool) -> None:
    """A download that may go on stays until it is as old as what is not used any more, or room is needed."""
    for found in remains(stock):
        is_old = limits.unused_since is not None and found.changed_at < limits.unused_since
        due = not found.may_go_on or is_old or limits.keep_bytes is not None
        with _free(found.lock_file) as free:
            if not (due and free) or found.is_whole_now:
                done.left_bytes += found.bytes
                continue
            if not dry_run:
                shutil.rmtree(found.folder, ignore_errors=True)
        done.swept.append(found)
        done.freed_bytes += found.bytes


@contextmanager
def _free(lock_file: Path) -> Iterator[bool]:
    """A lock file that was never made is nobody's, and need not be made."""
    if not lock_file.exists():
        yield True
        return
    with lock_if_free(lock_file) as free:
        yield free
