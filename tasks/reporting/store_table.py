"""Tables of the store: what lies in it, and what it takes."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table


def items_table(rows: Sequence[Mapping[str, Any]], remains: Sequence[Mapping[str, Any]]) -> Group | str:
    """One row an artifact or environment; what dead makers left is told below."""
    if not rows and not remains:
        return "the store is empty"
    table = _table("kind", "key", "what", "model", "size", "last used", "held by")
    for row in rows:
        held = [*row["pins"], *(["in use"] if row["in_use"] else [])]
        used = row["last_used"][:16].replace("T", " ")
        table.add_row(row["kind"], row["key"], row["what"], row["model"], _size(row["bytes"]), used, ", ".join(held))
    lines = [f"{one['what']}, {_size(one['bytes'])}: dyno store gc removes it" for one in remains]
    return Group(table, *lines)


def usage_table(body: Mapping[str, Any]) -> Group:
    """By kind, by model, and the file system."""
    table = _table("", "artifacts", "size")
    for kind, entry in sorted(body["kinds"].items()):
        table.add_row(kind, str(entry["artifacts"]), _size(entry["bytes"]))
    for model, entry in sorted(body["models"].items()):
        table.add_row(f"of {model}", str(entry["artifacts"]), _size(entry["bytes"]))
    table.add_row("remains", str(body["remains"]["artifacts"]), _size(body["remains"]["bytes"]))
    disk = body["file_system"]
    total = f"{_size(body['total_bytes'])} in all; {_size(disk['free_bytes'])} of {_size(disk['total_bytes'])} free"
    return Group(table, total)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold", justify="right" if name in ("size", "artifacts") else "left")
    return table


def _size(size_bytes: int) -> str:
    if size_bytes < 2**30:
        return f"{size_bytes / 2**20:.1f} MiB"
    return f"{size_bytes / 2**30:.1f} GiB"
