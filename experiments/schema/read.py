"""YAML -> Experiment. One reading finds every problem of a file: where it is, what is wrong, what was meant."""

import difflib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from experiments.errors import InputError, Problem
from experiments.schema.experiment import Experiment
from experiments.schema.model import Model
from experiments.schema.workload import Workload

CATALOG = Path(__file__).parents[1] / "catalog"
KINDS: dict[str, type[BaseModel]] = {"models": Model, "workloads": Workload}
MOST_NODES = 100_000
"""Of a file with its aliases written out: some lines of aliases of aliases would be gigabytes."""

_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """Safe, and refuses a key that is written twice."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.tag == _MERGE:
            continue  # `<<: *other` takes over what is not written here
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is not a text", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
        seen.add(key)
    return dict(yaml.SafeLoader.construct_mapping(loader, node, deep=True))


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


@dataclass(slots=True)
class _Findings:
    """Problems of one file, in the order found, each once."""

    file: str
    problems: dict[Problem, None] = field(default_factory=dict)

    def add(self, where: str, what: str) -> None:
        self.problems[Problem(self.file, where, what)] = None

    def stop_if_any(self) -> None:
        if self.problems:
            raise InputError(problems=tuple(self.problems))


def read_experiment(path: Path, engines: Iterable[str]) -> Experiment:
    """The experiment of a file; its name is the file's stem. `engines` are the names that adapters answer to.

    Raises InputError with all problems of the file.
    """
    found = _Findings(str(path))
    raw = _load(path, found)
    _check_names(raw, found)
    _check_engines(raw, sorted(engines), found)
    resolved = _resolve(raw, found)
    experiment = _parse(resolved, raw, path.stem, found)
    found.stop_if_any()
    assert experiment is not None
    return experiment


def catalog(kind: str) -> dict[str, Any]:
    """The named parts that ship with dyno: `models` or `workloads`, by name, as written."""
    entries = yaml.safe_load((CATALOG / f"{kind}.yaml").read_text(encoding="utf-8"))
    return {entry["name"]: entry for entry in entries}


def nearest(word: str, words: Iterable[str]) -> str:
    """` Did you mean X?`, or the words to choose from where none is near."""
    choices = sorted(set(words))
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    if close:
        return f" Did you mean {close[0]}?"
    return f" Choose from: {', '.join(choices)}." if 0 < len(choices) <= 40 else ""


def _load(path: Path, found: _Findings) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        siblings = [str(p) for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        found.add("", f"no such file.{nearest(str(path), siblings)}")
    except IsADirectoryError:
        found.add("", f"is a folder; name a file in it.{nearest('', [p.name for p in path.glob('*.y*ml')])}")
    except UnicodeDecodeError as error:
        found.add("", f"is not UTF-8 text (byte {error.start})")
    except OSError as error:
        found.add("", f"cannot be read: {error.strerror}")
    found.stop_if_any()
    try:
        raw = _parsed(text, found)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        found.add(place, f"not YAML: {error.problem or error.context}")
    except yaml.YAMLError as error:
        found.add("", f"not YAML: {error}")
    else:
        if not isinstance(raw, dict):
            found.add("", "an experiment is a mapping of variants, workloads, …; see experiments/quickstart.yaml")
    found.stop_if_any()
    return dict(raw)


def _written_out(node: yaml.Node, sizes: dict[yaml.Node, int]) -> int:
    """How many nodes there would be without aliases; what holds itself counts as too many."""
    if node not in sizes:
        sizes[node] = MOST_NODES + 1
        children = node.value if isinstance(node, yaml.SequenceNode) else []
        if isinstance(node, yaml.MappingNode):
            children = [part for pair in node.value for part in pair]
        sizes[node] = 1 + sum(_written_out(child, sizes) for child in children)
    return sizes[node]


def _parsed(text: str, found: _Findings) -> Any:
    """The document; what is too much to be an experiment becomes a finding. Raises YAMLError."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None or _written_out(node, {}) <= MOST_NODES:
            return None if node is None else loader.construct_document(node)
        found.add("", f"holds more than {MOST_NODES:,} values once its aliases are written out")
    except RecursionError:
        found.add("", "is nested too deeply to be an experiment")
    finally:
        loader.dispose()
    return {}


def _entries(raw: Mapping[str, Any], key: str) -> list[tuple[int, Any]]:
    value = raw.get(key)
    return list(enumerate(value)) if isinstance(value, list) else []


def _check_names(raw: Mapping[str, Any], found: _Findings) -> None:
    for kind in KINDS:
        seen: set[str] = set()
        for index, entry in _entries(raw, kind):
            name = entry.get("name") if isinstance(entry, dict) else entry
            if isinstance(name, str):
                if name in seen:
                    found.add(f"{kind}[{index}].name", f"{name!r} stands twice; each name is used once")
                seen.add(name)


def _axis(line: Any, key: str) -> list[str]:
    value = line.get(key) if isinstance(line, dict) else None
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)]


def _check_engines(raw: Mapping[str, Any], engines: list[str], found: _Findings) -> None:
    for index, line in _entries(raw, "variants"):
        for engine in _axis(line, "engine"):
            if engine not in engines:
                found.add(f"variants[{index}].engine", f"unknown engine {engine!r}.{nearest(engine, engines)}")


def _resolve(raw: Mapping[str, Any], found: _Findings) -> dict[str, Any]:
    """Names of models and workloads -> what they name: of this file first, of the catalog else."""
    resolved = dict(raw)
    shipped = catalog("workloads")
    workloads: list[Any] = []
    for index, entry in _entries(raw, "workloads"):
        if isinstance(entry, str) and entry not in shipped:
            found.add(f"workloads[{index}]", f"unknown workload {entry!r}.{nearest(entry, shipped)}")
        workloads.append(shipped.get(entry, entry) if isinstance(entry, str) else entry)
    if isinstance(raw.get("workloads"), list):
        resolved["workloads"] = workloads
    own = {e["name"]: e for _, e in _entries(raw, "models") if isinstance(e, dict) and isinstance(e.get("name"), str)}
    models = catalog("models") | own
    if isinstance(raw.get("variants"), list):
        resolved["variants"] = [_resolve_line(i, line, models, found) for i, line in _entries(raw, "variants")]
    return resolved


def _resolve_line(index: int, line: Any, models: Mapping[str, Any], found: _Findings) -> Any:
    if not isinstance(line, dict) or "model" not in line:
        return line
    names = line["model"]
    for name in names if isinstance(names, list) else [names]:
        if not isinstance(name, str):
            found.add(f"variants[{index}].model", f"is the name of a model, not {_shown(name)}")
        elif name not in models:
            found.add(f"variants[{index}].model", f"unknown model {name!r}.{nearest(name, models)}")
    resolve = [models.get(name) for name in (names if isinstance(names, list) else [names]) if isinstance(name, str)]
    return line | {"model": resolve if isinstance(names, list) else (resolve[0] if resolve else None)}


def _parse(resolved: dict[str, Any], raw: Mapping[str, Any], name: str, found: _Findings) -> Experiment | None:
    if "name" in raw:
        found.add("name", "unknown key: an experiment bears the name of its file")
    try:
        return Experiment.model_validate({**resolved, "name": name})
    except ValidationError as error:
        already = {problem.where for problem in found.problems}
        for item in error.errors(include_url=False):
            if item["type"] == "too_short" and item["input"]:
                continue  # its members failed, and are reported themselves
            where, what = _explain(item, raw)
            if where == "name":
                what = f"the file's name {name!r} becomes the experiment's: letters, digits, '.', '_' and '-' only"
            if not any(where == one or where.startswith(f"{one}.") for one in already if one):
                found.add(where, what)
        return None


def _explain(item: Any, raw: Mapping[str, Any]) -> tuple[str, str]:
    loc = tuple(item["loc"])
    where, kind, given = _key_path(loc, raw), item["type"], item.get("input")
    if loc[-1:] == ("api_key_env",):
        return (
            where,
            "should be the name of an environment variable; the key itself, which is not repeated here, is its value",
        )
    if kind == "extra_forbidden":
        word = str(loc[-1])
        return where, f"unknown key.{nearest(word, _allowed_keys(loc[:-1]))}"
    if kind == "missing":
        return where, "is missing"
    if kind in ("enum", "literal_error"):
        words = [word.strip(" '") for word in item["ctx"]["expected"].replace(" or ", ",").split(",")]
        return where, f"{_shown(given)} is not one of {', '.join(words)}.{_meant(given, words)}"
    if kind == "union_tag_invalid":
        words = [word.strip(" '") for word in item["ctx"]["expected_tags"].split(",")]
        return f"{where}.kind", f"unknown kind {item['ctx']['tag']!r}.{nearest(item['ctx']['tag'], words)}"
    if kind == "union_tag_not_found":
        return where, "needs a `kind` that says which one it is"
    if kind == "string_type" and isinstance(given, (int, float)):
        return where, f"{given!r} is a number in YAML; write it in quotes"
    if kind in ("tuple_type", "too_short"):
        return where, f"should be a list with something in it, not {_shown(given)}"
    message = item["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    return where, f"{message}, not {_shown(given)}" if kind != "value_error" else message


def _meant(given: object, words: list[str]) -> str:
    close = difflib.get_close_matches(str(given), words, n=1, cutoff=0.5)
    return f" Did you mean {close[0]}?" if close else ""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"


def _key_path(loc: tuple[Any, ...], raw: Any) -> str:
    """A path in the file as written: tags of unions and the index of a combination are not in it."""
    path, here = "", raw
    combination = len(loc) > 2 and loc[0] == "variants"
    for position, part in enumerate(loc):
        if combination and position == 2:
            continue
        if isinstance(part, int) and isinstance(here, dict | str):
            continue  # one that stands for a list of one
        if isinstance(part, int):
            path += f"[{part}]"
            here = here[part] if isinstance(here, list) and part < len(here) else None
        elif part == here or (part == "number" and not isinstance(here, dict)) or _is_kind(part, here):
            continue
        else:
            path += f".{part}" if path else str(part)
            here = here.get(part) if isinstance(here, dict) else None
    return path


def _is_kind(part: str, here: Any) -> bool:
    return isinstance(here, dict) and part not in here and here.get("kind") == part


def _allowed_keys(loc: tuple[Any, ...]) -> list[str]:
    kinds: list[Any] = [Experiment]
    for part in loc:
        kinds = [inner for kind in kinds for inner in _step(kind, part)]
    keys = [key for kind in kinds for key in getattr(kind, "model_fields", {})]
    return [key for key in keys if kinds != [Experiment] or key != "name"]


def _step(kind: Any, part: Any) -> Iterator[Any]:
    """The types that may stand at `part` inside a type."""
    kind = _bare(kind)
    if typing.get_origin(kind) is tuple:
        yield from _members(typing.get_args(kind)[0])
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        if part in kind.model_fields:
            yield from _members(kind.model_fields[part].annotation)
        elif "kind" in kind.model_fields and part in typing.get_args(kind.model_fields["kind"].annotation):
            yield kind


def _members(kind: Any) -> list[Any]:
    kind = _bare(kind)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return [member for arg in typing.get_args(kind) for member in _members(arg)]
    return [kind]


def _bare(kind: Any) -> Any:
    return _bare(typing.get_args(kind)[0]) if typing.get_origin(kind) is typing.Annotated else kind
