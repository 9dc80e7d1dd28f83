"""The engines that can be measured: how each runs, and the profiles that a variant may name."""

import shlex
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from engine_adapters.base import DEFAULT_PROFILE, EngineAdapter, EngineProfile
from tasks.reporting.plan_table import rows_table


def engine_row(adapter: EngineAdapter) -> dict[str, Any]:
    """One engine as JSON."""
    return {
        "engine": adapter.name,
        "title": adapter.title,
        "runtimes": ", ".join(adapter.runtimes),
        "package": adapter.release_package,
        "profiler": adapter.profiler is not None,
        "profiles": [_profile(profile) for profile in (DEFAULT_PROFILE, *adapter.profiles)],
    }


def _profile(profile: EngineProfile) -> dict[str, Any]:
    return {
        "name": profile.name,
        "author": profile.author,
        "reason": profile.reason,
        "source": profile.source,
        "flags": [list(group) for group in profile.flags],
        "env": dict(profile.env),
    }


def engines_table(rows: Sequence[dict[str, Any]]) -> RenderableType:
    """The engines, and below them each profile that adds something to `default`."""
    shown = [
        {
            **{name: row[name] for name in ("engine", "title", "runtimes", "package")},
            "profiles": ", ".join(profile["name"] for profile in row["profiles"]),
            "checked": ", ".join(row["checked"]),
        }
        for row in rows
    ]
    tuned = [
        Padding(Text(_described(row["engine"], profile)), (1, 0, 0, 0))
        for row in rows
        for profile in row["profiles"]
        if profile["flags"] or profile["env"]
    ]
    return Group(rows_table(shown), *tuned)


def _described(engine: str, profile: dict[str, Any]) -> str:
    words = [f"{name}={value}" for name, value in profile["env"].items()]
    words += [word for group in profile["flags"] for word in group]
    head = f"{engine}, engine_profile: {profile['name']}   {shlex.join(words)}"
    return f"{head}\n  by {profile['author']}: {profile['reason']}\n  from {profile['source']}"
