"""machine.json of a home: what was measured once of the machine that the home is on."""

import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tasks.campaigns.home import Home

Bandwidths = Sequence[Mapping[str, float]]


def keep_bandwidth(home: Home, machine: Mapping[str, object], measured: Bandwidths) -> None:
    """Written aside and renamed. Of two measurements of the same machine the faster stands: whatever else runs can only
    take from it, and a bound that is too low is none."""
    home.root.mkdir(parents=True, exist_ok=True)
    before = {one["working_set_bytes"]: one["gb_per_s"] for one in known_bandwidth(home, machine)}
    best = [{**one, "gb_per_s": max(one["gb_per_s"], before.get(one["working_set_bytes"], 0.0))} for one in measured]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    body = {"machine": _identity(machine), "measured_at": now, "memory_bandwidth": best}
    aside = home.root / f"machine.json.{secrets.token_hex(4)}"
    aside.write_text(json.dumps(body, indent=1), encoding="utf-8")
    aside.replace(home.root / "machine.json")


def known_bandwidth(home: Home, machine: Mapping[str, object]) -> list[dict[str, float]]:
    """Empty where it was not measured, or on another machine."""
    try:
        body: dict[str, Any] = json.loads((home.root / "machine.json").read_bytes())
        if body["machine"] != _identity(machine):
            return []
        return [{name: float(value) for name, value in one.items()} for one in body["memory_bandwidth"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _identity(machine: Mapping[str, object]) -> dict[str, object]:
    return {name: machine.get(name) for name in ("cpu", "cpu_cores", "memory_gib", "machine")}
