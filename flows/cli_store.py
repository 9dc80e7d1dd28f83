"""`dyno store`: what the store holds, what is damaged in it, and making room."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.errors import EXIT_SETUP, InputError, SetupError

if TYPE_CHECKING:
    from tasks.artifacts.collection import Collected
    from tasks.artifacts.inventory import Item, Stock
    from tasks.campaigns.home import Home

store_app = typer.Typer(
    name="store",
    help="Weights, checkpoints, compiled engines, environments: what is there, what is damaged, and making room.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout")]
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
BYTES = {"": 1, "B": 1} | {
    f"{prefix}{unit}": base**power
    for unit, base in (("B", 1000), ("iB", 1024))
    for power, prefix in enumerate("KMGT", start=1)
}


@store_app.command("ls")
def list_items(as_json: Json = False) -> None:
    """Lists what is there: what it is, of which model, its size, its last use, who holds it."""
    from tasks.reporting.store_table import items_table

    home = _home()
    rows = [_row(item, names, pins) for item, names, pins in _described(home)]
    left = [
        {"what": r.what, "bytes": r.bytes, "changed_at": _iso(r.changed_at), "may_go_on": r.may_go_on}
        for r in _remains(home)
    ]
    _show({"artifacts": rows, "remains": left}, as_json, lambda: items_table(rows, left))


@store_app.command("du")
def disk_usage(as_json: Json = False) -> None:
    """Adds up bytes by kind and by model, and says what the file system has left."""
    from tasks.reporting.store_table import usage_table

    home = _home()
    body: dict[str, Any] = {"kinds": {}, "models": {}}
    for item, names, _ in _described(home):
        for table, name in (("kinds", item.kind), ("models", names.get(item.key, ""))):
            if name:
                entry = body[table].setdefault(name, {"artifacts": 0, "bytes": 0})
                entry["artifacts"] += 1
                entry["bytes"] += item.bytes
    left = _remains(home)
    body["remains"] = {"artifacts": len(left), "bytes": sum(one.bytes for one in left)}
    body["total_bytes"] = body["remains"]["bytes"] + sum(entry["bytes"] for entry in body["kinds"].values())
    body["file_system"] = _file_system(home.root)
    _show(body, as_json, lambda: usage_table(body))


@store_app.command()
def verify(
    repair: Annotated[
        bool, typer.Option("--repair", help="remove what is damaged, so that the next run makes it anew")
    ] = False,
    as_json: Json = False,
) -> None:
    """Hashes every file of every artifact. Exit code 3 where something damaged stays; those that are damaged are
    named. Environments are not hashed: pip checks what it installs, and their records name no files."""
    from tasks.artifacts.collection import remove
    from tasks.artifacts.inventory import ENVIRONMENT

    checked = [entry for entry in _described(_home()) if entry[0].kind != ENVIRONMENT]
    damaged = []
    for item, names, _ in checked:
        damage = _damage(item)
        if damage:
            facts = {"kind": item.kind, "key": item.key, "what": item.what, "model": names.get(item.key, "")}
            damaged.append({**facts, "damage": damage, "removed": repair and remove(item)})
    body = {"checked": len(checked), "damaged": damaged}
    _show(body, as_json, lambda: _verdict_lines(body, repair=repair))
    if not all(entry["removed"] for entry in damaged):
        raise typer.Exit(EXIT_SETUP)


@store_app.command()
def gc(
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="what was not used for so long: 30d, 12h, 2w")
    ] = None,
    keep_bytes: Annotated[
        str | None, typer.Option(metavar="SIZE", help="the least recently used, until at most so much is left: 200GB")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would go")] = False,
    as_json: Json = False,
) -> None:
    """Makes room. Never what a living process uses, nor what a pinned experiment needs. Without an option, only what
    dead makers left and what was set aside as damaged."""
    from tasks.artifacts.collection import Limits, collect

    since = datetime.now(UTC) - timedelta(seconds=age_s(older_than)) if older_than is not None else None
    limits = Limits(since, size_bytes(keep_bytes) if keep_bytes is not None else None)
    home = _home()
    done = collect(_stock(home), limits, _pinned(home), dry_run=dry_run)
    body = _collected(done, limits.keep_bytes, dry_run=dry_run) | {"file_system": _file_system(home.root)}
    _show(body, as_json, lambda: _collected_lines(body))


@store_app.command()
def pin(
    file: Annotated[Path, typer.Argument(help="an experiment file", metavar="FILE")], as_json: Json = False
) -> None:
    """Keeps what an experiment needs, whatever its age; what is yet to be made too. The file is copied as it is now."""
    from engine_adapters import ADAPTERS
    from experiments.schema.read import read_experiment
    from tasks.artifacts.pins import pin as make_pin
    from tasks.artifacts.store import ArtifactStore

    experiment = read_experiment(file, ADAPTERS)
    home = _home().make()
    made = make_pin(home.pins, experiment, file, ArtifactStore(home.artifacts))
    held = [key for key, holders in _pinned(home).items() if experiment.name in holders]
    body = {"experiment": made.experiment, "file": made.file, "pinned_at": made.pinned_at, "artifacts": len(held)}
    _show(body, as_json, lambda: f"{made.experiment} is pinned: {len(held)} artifacts that are there are held")


@store_app.command()
def unpin(
    experiment: Annotated[str, typer.Argument(help="its name, or its file", metavar="EXPERIMENT")],
    as_json: Json = False,
) -> None:
    """Lets go what a pinned experiment held."""
    from tasks.artifacts.pins import unpin as remove_pin

    name, home = Path(experiment).name.removesuffix(".yaml").removesuffix(".yml"), _home()
    if not remove_pin(home.pins, name):
        there = ", ".join(one.experiment for one in _pins(home)) or "none"
        raise InputError(f"{name} is not pinned; pinned: {there}")
    _show({"experiment": name, "pinned": False}, as_json, lambda: f"{name} is not pinned any more")


@store_app.command()
def pins(as_json: Json = False) -> None:
    """Lists the pinned experiments, and what each holds."""
    home = _home()
    held = _pinned(home)
    rows = [
        {
            "experiment": one.experiment,
            "pinned_at": one.pinned_at,
            "file": one.file,
            "artifacts": [f"{kind} {key}" for (kind, key), holders in held.items() if one.experiment in holders],
        }
        for one in _pins(home)
    ]
    lines = [f"{row['experiment']}: {len(row['artifacts'])} artifacts, since {row['pinned_at']}" for row in rows]
    _show({"pins": rows}, as_json, lambda: "\n".join(lines) or "no experiment is pinned")


def age_s(text: str) -> float:
    """`30d`, `12h`, `45m`, `90s`, `2w` in seconds. Raises InputError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text.strip())
    if not found:
        raise InputError(f"--older-than {text}: give a number and a unit, such as 30d, 12h, 45m, 90s or 2w")
    return float(found[1]) * SECONDS[found[2]]


def size_bytes(text: str) -> int:
    """`200GB`, `1.5TiB`, `1000` in bytes. Raises InputError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    unit = {name.lower(): value for name, value in BYTES.items()}.get(found[2].lower()) if found else None
    if not found or unit is None:
        raise InputError(f"--keep-bytes {text}: give a size such as 200GB, 1.5TiB or a number of bytes")
    return int(float(found[1]) * unit)


def _home() -> "Home":
    from tasks.campaigns.home import open_home

    return open_home()


def _stock(home: "Home") -> "Stock":
    from tasks.artifacts.inventory import Stock

    return Stock(home.artifacts, home.environments)


def _remains(home: "Home") -> list[Any]:
    from tasks.artifacts.inventory import remains

    return list(remains(_stock(home)))


def _pins(home: "Home") -> list[Any]:
    from tasks.artifacts.pins import pins as read_pins

    try:
        return list(read_pins(home.pins))
    except ValueError as error:
        raise SetupError(str(error)) from error


def _pinned(home: "Home") -> dict[tuple[str, str], list[str]]:
    from tasks.artifacts.inventory import items
    from tasks.artifacts.pins import pinned

    held_by = _pins(home)
    return pinned(items(_stock(home)), held_by, home.artifacts) if held_by else {}


def _described(home: "Home") -> list[tuple["Item", dict[str, str], dict[tuple[str, str], list[str]]]]:
    """Each item with the names of all models, and with all pins."""
    from tasks.artifacts.inventory import items, model_names

    found, held = items(_stock(home)), _pinned(home)
    names = model_names(found, _catalog_names(found))
    return [(item, names, held) for item in found]


def _catalog_names(found: list["Item"]) -> dict[str, str]:
    """Random weights have no name of their own; those of the catalog have one for people."""
    from experiments.schema.model import Model
    from experiments.schema.read import catalog

    models = [Model.model_validate(entry) for entry in catalog("models").values()]
    by_source = {json.dumps(model.source.model_dump(mode="json"), sort_keys=True): model.name for model in models}
    sources = {item.key: json.dumps(item.made_from.get("source"), sort_keys=True) for item in found}
    return {key: by_source[source] for key, source in sources.items() if source in by_source}


def _row(item: "Item", names: Mapping[str, str], held: Mapping[tuple[str, str], list[str]]) -> dict[str, Any]:
    return {
        "key": item.key,
        "kind": item.kind,
        "what": item.what,
        "model": names.get(item.key, ""),
        "recipe": item.recipe,
        "bytes": item.bytes,
        "made_at": _iso(item.made_at),
        "last_used": _iso(item.last_used),
        "pins": held.get((item.kind, item.key), []),
        "in_use": item.is_in_use,
        "path": str(item.folder),
    }


def _damage(item: "Item") -> str:
    if item.manifest is None:
        return item.what
    if (item.manifest.kind, item.manifest.key) != (item.kind, item.key):
        return f"artifact.json is that of {item.manifest.kind} {item.manifest.key}"
    damage = item.manifest.damage(item.folder / "content", hashes=True)
    return damage if item.folder.exists() else ""  # collected meanwhile


def _verdict_lines(body: Mapping[str, Any], *, repair: bool) -> str:
    lines = [f"{body['checked']} artifacts checked, {len(body['damaged'])} damaged"]
    for entry in body["damaged"]:
        end = "removed; the next run makes it anew" if entry["removed"] else "it is in use" if repair else ""
        lines.append(
            f"{entry['kind']} {entry['key']} ({entry['what']}): {entry['damage']}" + (f": {end}" if end else "")
        )
    if body["damaged"] and not repair:
        lines.append("dyno store verify --repair removes what is damaged, and the next run makes it anew.")
    return "\n".join(lines)


def _collected(done: "Collected", keep_bytes: int | None, *, dry_run: bool) -> dict[str, Any]:
    def told(item: "Item", reason: str) -> dict[str, Any]:
        facts = {"kind": item.kind, "key": item.key, "what": item.what, "bytes": item.bytes}
        return {**facts, "last_used": _iso(item.last_used), "reason": reason}

    return {
        "dry_run": dry_run,
        "removed": [told(item, reason) for item, reason in done.removed],
        "kept": [told(item, reason) for item, reason in done.stayed],
        "remains_removed": [{"what": one.what, "bytes": one.bytes} for one in done.swept],
        "freed_bytes": done.freed_bytes,
        "left_bytes": done.left_bytes,
        "fits": keep_bytes is None or done.left_bytes <= keep_bytes,
    }


def _collected_lines(body: Mapping[str, Any]) -> str:
    from tasks.artifacts.store import size_text

    verb = "would go" if body["dry_run"] else "removed"
    lines = [
        f"{verb}: {one.get('kind', '')} {one['what']}, {size_text(one['bytes'])}".replace(":  ", ": ")
        for one in [*body["remains_removed"], *body["removed"]]
    ]
    lines += [f"kept: {one['kind']} {one['what']}: {one['reason']}" for one in body["kept"]]
    freed, left = size_text(body["freed_bytes"]), size_text(body["left_bytes"])
    lines.append(f"{freed} {'would be' if body['dry_run'] else 'were'} freed, {left} left")
    if not body["fits"]:
        lines.append("That is more than was asked for: the rest is pinned or in use.")
    return "\n".join(lines)


def _file_system(root: Path) -> dict[str, int]:
    import shutil

    there = next(path for path in (root, *root.parents) if path.exists())
    usage = shutil.disk_usage(there)
    return {"free_bytes": usage.free, "total_bytes": usage.total}


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _show(body: object, as_json: bool, for_people: Callable[[], object]) -> None:
    if as_json:
        print(json.dumps(body, indent=1, ensure_ascii=False))
        return
    shown = for_people()
    if isinstance(shown, str):
        print(shown)
        return
    import sys

    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 140, highlight=False).print(shown)
