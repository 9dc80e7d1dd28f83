"""The file: it stands alone, says what is synthetic, and shows a picture and a table where there is no JavaScript."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from experiments.schema.result import CellResult
from tasks.reporting.almanac import page
from tasks.reporting.almanac.document import almanac_document
from tasks.reporting.almanac.packing import unpacked
from tests.tasks.reporting.almanac.synthetic_cells import NOTICE, synthetic_cells

LIBRARY = page.HERE / "library"


@pytest.fixture(scope="module")
def cells() -> list[CellResult]:
    return synthetic_cells(40)


@pytest.fixture(scope="module")
def html(cells: list[CellResult]) -> str:
    return page.almanac_html(almanac_document(cells, notice=NOTICE), cells)


class Outside(HTMLParser):
    """Collects what a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "poster")]


def test_the_page_fetches_nothing(html: str) -> None:
    reader = Outside()
    reader.feed(html)
    assert [link for link in reader.fetched if not link.startswith("#")] == []
    assert not re.search(r"@import|url\(\s*[\"']?https?:", page.style())


def test_the_page_holds_its_data(html: str, cells: list[CellResult]) -> None:
    (data,) = re.findall(r'id="data">([^<]*)<', html)
    assert unpacked(data)["cells"]["id"] == [cell.cell_id for cell in cells]


def test_the_page_says_that_the_data_is_synthetic(html: str) -> None:
    assert NOTICE in html


def test_without_javascript_there_are_a_picture_and_a_row_for_each_cell(html: str, cells: list[CellResult]) -> None:
    (inside,) = re.findall(r"<noscript>(.*?)</noscript>", html, re.DOTALL)
    assert "<svg" in inside
    assert inside.count("<tr>") == len(cells) + 1


def test_two_thousand_cells_fit_the_bound() -> None:
    """Of the text; gzip is not needed."""
    few = synthetic_cells(300)
    size = len(page.almanac_html(almanac_document(few), few))
    fixed = len(page.almanac_html(almanac_document([]), []))
    assert fixed + (size - fixed) / 300 * 2000 < 3_000_000


def test_every_module_that_is_imported_is_on_the_map() -> None:
    modules = page.module_map()
    for address in modules.values():
        source = base64.b64decode(address.partition("base64,")[2]).decode()
        assert set(re.findall(r'from "([^"]+)"', source)) <= set(modules)
        assert '"./' not in source


def test_the_library_is_what_was_published_with_its_licence() -> None:
    for entry in json.loads((LIBRARY / "library.json").read_text()):
        content = (LIBRARY / entry["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]
        assert entry["version"] in content[:100].decode()
        assert "Permission to use" in (LIBRARY / entry["license_file"]).read_text()


def test_what_was_measured_never_becomes_markup(cells: list[CellResult], tmp_path: Path) -> None:
    evil = '</script><img src="x">'
    bad = cells[0].model_copy(update={"cause": evil, "log_excerpt": evil})
    page.write_almanac(tmp_path / "a.html", almanac_document([bad], notice=evil), [bad])
    assert evil not in (tmp_path / "a.html").read_text()
    assert [file.name for file in tmp_path.iterdir()] == ["a.html"]
