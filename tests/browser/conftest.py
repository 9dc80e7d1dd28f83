"""Pages in the system's Chromium, headless, with no network; whatever the console complains of fails the test."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from experiments.schema.result import CellResult
from flows.cli_report import offer
from tasks.reporting.almanac.document import almanac_document
from tasks.reporting.almanac.page import write_almanac
from tests.tasks.reporting.almanac.synthetic_cells import NOTICE, synthetic_cells, synthetic_comparisons

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    Opened = Callable[..., Page]

CELLS = 360
"""Two workloads of every model, engine, precision and hardware."""


@pytest.fixture(scope="session")
def cells() -> list[CellResult]:
    return synthetic_cells(CELLS)


@pytest.fixture(scope="session")
def almanac(cells: list[CellResult], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of synthetic cells, and it says so."""
    return write_page(tmp_path_factory.mktemp("almanac") / "almanac.html", cells)


def write_page(path: Path, cells: list[CellResult]) -> Path:
    commands = {cell.cell_id: f"serve {cell.cell_id} --note 'it is \"synthetic\"'" for cell in cells if cell.points}
    document = almanac_document(
        cells, synthetic_comparisons(), offer(), commands=commands, written_at="2026-11-21", notice=NOTICE
    )
    write_almanac(path, document, cells)
    return path


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    where = os.environ.get("DYNO_CHROMIUM", "/usr/bin/chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=where, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser: "Browser", almanac: Path) -> "Iterator[Opened]":
    """open_page(fragment, width=…, theme=…, file=…) -> a page whose answer stands; nothing but files is fetched."""
    complaints: list[str] = []
    contexts = []

    def opened(
        fragment: str = "", *, width: int = 1280, theme: str = "light", file: Path | None = None, scripts: bool = True
    ) -> "Page":
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if theme == "dark" else "light",
            java_script_enabled=scripts,
            permissions=["clipboard-read", "clipboard-write"],
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: complaints.append(message.text) if message.type in TROUBLE else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith(LOCAL) else complaints.append(request.url))
        page.goto(f"file://{file or almanac}{fragment}")
        if scripts:
            page.wait_for_selector("html[data-ready]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


TROUBLE = ("error", "warning")
LOCAL = ("file:", "data:", "blob:")
