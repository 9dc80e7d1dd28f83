"""`dyno engines`: the engines that can be measured, and what differs between two releases of one."""

from typing import Any

from engine_adapters import ADAPTERS
from experiments.errors import InputError
from tasks.flags.report import difference
from tasks.flags.table import known_versions
from tasks.reporting.engines_table import engine_row


def engine_rows() -> list[dict[str, Any]]:
    """One row an engine; `checked` are the releases whose options are on file."""
    return [engine_row(adapter) | {"checked": list(known_versions(adapter.name))} for adapter in ADAPTERS.values()]


def release_difference(engine: str, old: str, new: str) -> dict[str, Any]:
    """Raises InputError for an engine or a release that is not known."""
    if engine not in ADAPTERS:
        raise InputError(f"there is no engine {engine}; there are {', '.join(ADAPTERS)}")
    return difference(ADAPTERS[engine], old, new)


def change_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """For a table: what we emit first, and of two lists only what is not in the other."""
    changes = sorted(found["changes"], key=lambda row: (not row["emitted"], row["kind"], row["option"]))
    return [
        {"kind": row["kind"], "option": row["option"]}
        | {"before": _only(row["before"], row["after"]), "after": _only(row["after"], row["before"])}
        | {"ours": "yes" if row["emitted"] else ""}
        for row in changes
    ]


def _only(value: Any, other: Any) -> str:
    if isinstance(value, tuple | list) and isinstance(other, tuple | list):
        return ", ".join(str(one) for one in value if one not in other)
    if isinstance(value, tuple | list):
        return f"{len(value)} values"
    return "" if value is None else str(value)
