"""The page: library, modules, style and data in one file that opens from disk and asks no network."""

import base64
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.schema.result import CellResult
from tasks.reporting.almanac.packing import packed
from tasks.reporting.almanac.still import still
from tasks.reporting.markup import element

HERE = Path(__file__).parent
ENTRY = "main.js"
_IMPORT = re.compile(r'(from\s+|import\s+)"\./([\w-]+\.js)"')


def write_almanac(path: Path, document: dict[str, Any], cells: Sequence[CellResult]) -> None:
    """Written aside and renamed. `cells` are drawn for readers without JavaScript."""
    page = almanac_html(document, cells)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".partial")
    aside.write_text(page, encoding="utf-8")
    os.replace(aside, path)


def almanac_html(document: dict[str, Any], cells: Sequence[CellResult]) -> str:
    """Each part of the template is filled once; what was measured arrives as data, never as markup."""
    parts = {
        "style": style(),
        "notice": element("p", document["notice"], class_="notice") if document["notice"] else "",
        "still": still(cells),
        "library": "\n".join(f"<script>{script}</script>" for script in library()),
        "modules": json.dumps({"imports": module_map()}),
        "data": packed(document),
        "entry": f'import "almanac/{ENTRY}";',
    }
    return re.sub(r"<!--fill (\w+)-->", lambda slot: parts[slot[1]], read("page/page.html"))


def style() -> str:
    """That of the reports, their two themes by choice too, and the page's own."""
    shared = (HERE.parent / "report.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", shared, re.DOTALL)[:2]
    themes = "\n".join(
        f':root[data-theme="{name}"] {{{variables} color-scheme: {name}; }}'
        for name, variables in (("light", light), ("dark", dark))
    )
    return f"{shared}\n@media screen {{\n{themes}\n}}\n{read('page/page.css')}"


def library() -> list[str]:
    """The charting library as it was published, in the order in which its files need one another."""
    files = [entry["file"] for entry in json.loads(read("library/library.json"))]
    return [read(f"library/{file}").replace("</script", "<\\/script") for file in files]


def module_map() -> dict[str, str]:
    """Our modules as an import map of data URLs: they stay modules, and need no bundler."""
    return {f"almanac/{file.name}": _as_url(file) for file in sorted((HERE / "page").glob("*.js"))}


def _as_url(file: Path) -> str:
    source = _IMPORT.sub(r'\1"almanac/\2"', file.read_text(encoding="utf-8"))
    return "data:text/javascript;base64," + base64.b64encode(source.encode()).decode("ascii")


def read(name: str) -> str:
    """A file of this folder."""
    return (HERE / name).read_text(encoding="utf-8")
