"""almanac.html as a reader meets it: the answers are right, links carry them, keys reach everything."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from engine_adapters import ADAPTERS
from experiments.schema.read import read_experiment
from experiments.schema.result import CellResult
from tasks.reporting.almanac.still import MOST_ROWS
from tasks.reporting.wording import number
from tests.browser.conftest import write_page
from tests.browser.expected import Asked, answers
from tests.tasks.reporting.almanac.synthetic_cells import NOTICE, synthetic_cells

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

QUESTIONS = (
    Asked("llama-3.1-8b-instruct", "h100-sxm", 128, 1024, "first", 300, 95),
    Asked("llama-3.1-8b-instruct", "h200-sxm", 128, 1024, "first", 100, 90),
    Asked("gemma-3-27b-it", "h100-sxm", 256, 2048, "last", 60_000, 99),
    Asked("qwen3-30b-a3b", "h100-sxm", 128, 1024, "each", 30, 95, "latency"),
    Asked("llama-3.1-70b-instruct", "h100-sxm-x8", 256, 2048, "first", 1_000, 50, "cheapest"),
    Asked("gemma-3-27b-it", "h200-sxm", 128, 1024, "each", 50, 95, "every"),
)
DEFAULT = QUESTIONS[0]
Opened = Any


@pytest.mark.parametrize("asked", QUESTIONS, ids=lambda asked: f"{asked.get}-{asked.show}-{asked.within_ms:g}")
def test_the_sentence_gives_the_answer_that_the_cells_give(
    open_page: Opened, cells: list[CellResult], asked: Asked
) -> None:
    best, *others = answers(cells, asked)
    page = open_page(asked.fragment)
    headline = page.inner_text("#headline")
    figure = {
        "throughput": f"{number(best.rate_rps)} requests/s",
        "latency": f"{number(best.lowest_ms)} ms",
        "cheapest": f"${number(best.usd, 2)}",
        "every": f"{1 + len(others)} of",
    }[asked.show]
    assert headline.startswith(figure)
    assert headline.endswith(f"{best.name}.")
    assert f"at up to {number(best.rate_rps)} requests/s" in page.inner_text("#explained")
    if others:
        assert others[0].name in page.inner_text("#runner-up")


def test_the_gaps_of_the_sentence_ask_the_question(open_page: Opened, cells: list[CellResult]) -> None:
    asked = QUESTIONS[1]
    page = open_page(DEFAULT.fragment)
    for name, value in {"hardware": asked.hardware, "percent": str(asked.percent)}.items():
        page.select_option(f"#question select[name={name}]", value)
    page.fill("#question input[name=within_ms]", "100")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#explained').textContent.includes('100 ms')")
    assert page.inner_text("#headline").startswith(number(answers(cells, asked)[0].rate_rps))


def test_replicas_carry_the_demand_with_its_headroom(open_page: Opened, cells: list[CellResult]) -> None:
    rate = answers(cells, DEFAULT)[0].rate_rps
    needed, replicas = 250 * 1.3, 0
    while needed > 1e-9:
        needed, replicas = needed - rate, replicas + 1
    page = open_page(f"{DEFAULT.fragment}&demand=250&headroom=30")
    assert page.inner_text("#replicas").startswith(f"{replicas} replica")


def test_a_price_of_ones_own_stands_above_the_known_ones(open_page: Opened, cells: list[CellResult]) -> None:
    page = open_page(f"{DEFAULT.fragment}&show=cheapest&price=7.2")
    best = answers(cells, DEFAULT)[0]
    tokens = best.rate_rps * DEFAULT.tokens_out
    assert page.inner_text("#headline").startswith(f"${7.2 / 3.6e9 * 1e6 / tokens * 1e6:.2g}"[:5])


def test_a_link_opens_the_same_view(open_page: Opened) -> None:
    page = open_page(QUESTIONS[2].fragment)
    page.select_option("#question select[name=engine]", "vllm")
    page.fill("#answer input[name=demand]", "40")
    page.keyboard.press("Enter")
    page.click("#theme")
    again = open_page(page.evaluate("location.hash"))
    for part in ("#headline", "#explained", "#replicas"):
        assert again.inner_text(part) == page.inner_text(part)
    assert again.evaluate("document.documentElement.dataset.theme") == "dark"
    assert again.eval_on_selector("#question select[name=engine]", "one => one.value") == "vllm"


def test_a_link_with_words_that_mean_nothing_still_opens(open_page: Opened) -> None:
    page = open_page("#percent=12&get=soon&within_ms=-3&nonsense=1&constructor=x")
    assert page.inner_text("#headline")


def test_what_nobody_measured_comes_with_an_experiment_that_would(open_page: Opened, tmp_path: Path) -> None:
    page = open_page("#model=deepseek-v3&hardware=h200-sxm-x8&engine=sglang&in=3000&out=70&get=last&within_ms=2500")
    assert page.inner_text("#headline") == "Nobody has measured this."
    (tmp_path / "question.yaml").write_text(page.inner_text("#lines"))
    (cell,) = read_experiment(tmp_path / "question.yaml", ADAPTERS).cells()
    assert (cell.variant.engine, cell.variant.model.name, cell.variant.hardware) == (
        "sglang", "deepseek-v3", "h200-sxm-x8",
    )  # fmt: skip
    assert (cell.workload.prompt_tokens, cell.workload.output_tokens) == (3000, 70)
    assert ADAPTERS["sglang"].launch_spec(cell.variant).gpus == 8


def test_any_length_can_be_typed(open_page: Opened) -> None:
    page = open_page(DEFAULT.fragment)
    page.select_option("#question select[name=in]", "…")
    page.fill("#question input[name=in]", "777")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#headline').textContent === 'Nobody has measured this.'")
    assert "prompt_tokens: 777, output_tokens: 1024" in page.inner_text("#lines")


def test_a_limit_that_nothing_keeps_is_said_with_the_reason(open_page: Opened, tmp_path: Path) -> None:
    page = open_page(f"{DEFAULT.fragment}&within_ms=1")
    assert page.inner_text("#headline") == "Nothing measured keeps this limit."
    (tmp_path / "question.yaml").write_text(page.inner_text("#lines"))
    assert read_experiment(tmp_path / "question.yaml", ADAPTERS).slos[0].bound_ms == 1


def test_a_point_opens_its_cell_with_the_command_to_copy(open_page: Opened, cells: list[CellResult]) -> None:
    page = open_page(DEFAULT.fragment)
    point = page.locator("#rate [data-cell]").first
    cell = point.get_attribute("data-cell")
    point.click(force=True)
    dialog = page.locator("dialog[open]")
    assert f"dyno replay {cell}" in dialog.inner_text()
    dialog.get_by_role("button", name="Copy").first.click()
    page.wait_for_function("document.querySelector('dialog [role=status]').textContent === 'copied'")
    assert page.evaluate("navigator.clipboard.readText()") == f"serve {cell} --note 'it is \"synthetic\"'"
    assert f"cell={cell}" in page.evaluate("location.hash")
    page.keyboard.press("Escape")
    page.wait_for_function("!location.hash.includes('cell=')")


def test_a_failure_opens_with_its_cause_and_its_log(open_page: Opened) -> None:
    page = open_page("#model=llama-3.1-70b-instruct&hardware=h100-sxm&in=128&out=1024")
    page.locator("#matrix .square.failed").first.click()
    said = page.inner_text("dialog[open]")
    assert "out of memory" in said
    assert "torch.OutOfMemoryError" in said


def test_keys_reach_a_point_and_its_neighbour(open_page: Opened) -> None:
    page = open_page(DEFAULT.fragment)
    page.locator("#rate [data-cell][tabindex='0']").focus()
    first = page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("ArrowRight")
    second = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert first != second
    assert "requests/s" in second
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")


def test_every_chart_has_words_and_its_figures_as_a_table(open_page: Opened) -> None:
    page = open_page(DEFAULT.fragment)
    page.wait_for_selector("#budget svg")
    drawn = page.eval_on_selector_all("figure:has(.chart svg)", "all => all.map((one) => one.id)")
    assert set(drawn) >= {"rate", "plane", "users", "budget", "cost", "start", "releases", "verdicts"}
    for name in drawn:
        assert page.locator(f"#{name} svg[aria-label]").count() == 1, name
        assert page.locator(f"#{name} .for-readers").inner_text(), name
        assert page.locator(f"#{name} details table tbody tr").count() > 0, name


def test_quality_stands_beside_speed_with_what_is_past_a_limit(open_page: Opened) -> None:
    page = open_page(DEFAULT.fragment)
    page.wait_for_selector("#quality svg")
    said = page.locator("#quality [data-cell]").evaluate_all("all => all.map((one) => one.getAttribute('aria-label'))")
    assert all(("past a limit" in text) == ("int4_awq" in text) for text in said)
    assert any("98.1 % agreement" in text for text in said)


def test_a_cold_start_is_told_phase_by_phase(open_page: Opened) -> None:
    page = open_page(f"{DEFAULT.fragment}&engine=vllm&quantization=fp8&engine_version=0.33.0")
    page.wait_for_selector("#start svg")
    said = page.locator("#start [data-cell]").evaluate_all("all => all.map((one) => one.getAttribute('aria-label'))")
    told = {text.rsplit(": ", 1)[1] for text in said}
    assert {"pull 20.0 s", "weights 14.0 s", "compile 33.0 s", "capture 9.00 s", "launch 15.0 s"} <= told


def test_drawing_a_question_asks_one_that_has_an_answer(open_page: Opened) -> None:
    page = open_page("")
    page.click("#draw")
    assert page.evaluate("location.hash")
    assert "Nobody" not in page.inner_text("#headline")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("fragment", [DEFAULT.fragment, "#model=deepseek-v3", "DIALOG"])
def test_axe_finds_no_serious_violation(open_page: Opened, cells: list[CellResult], theme: str, fragment: str) -> None:
    assert os.environ.get("DYNO_AXE"), "DYNO_AXE names axe.min.js of axe-core; make test-browser fetches it"
    measured = next(cell for cell in cells if cell.points)
    page = open_page(f"#cell={measured.cell_id}" if fragment == "DIALOG" else fragment, theme=theme)
    page.wait_for_timeout(300)
    page.evaluate(Path(os.environ["DYNO_AXE"]).read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [
        (one["id"], [node["html"][:200] for node in one["nodes"][:3]])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_its_window(open_page: Opened, tmp_path: Path, width: int, theme: str) -> None:
    """DYNO_PICTURES keeps the pictures, to be looked at."""
    page = open_page(DEFAULT.fragment, width=width, theme=theme)
    page.wait_for_selector("#rate svg")
    folder = Path(os.environ.get("DYNO_PICTURES", tmp_path))
    page.screenshot(path=folder / f"almanac-{width}-{theme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_javascript_there_are_a_picture_and_a_table(open_page: Opened, cells: list[CellResult]) -> None:
    page = open_page(scripts=False)
    assert NOTICE in page.inner_text("body")
    assert page.locator("noscript svg, main figure svg").first.is_visible()
    assert page.locator("main table.plain tbody tr").count() == min(len(cells), MOST_ROWS)


def test_on_paper_the_answer_and_the_charts_stay(open_page: Opened) -> None:
    page = open_page(DEFAULT.fragment)
    page.wait_for_selector("#rate svg")
    page.emulate_media(media="print")
    assert page.is_visible("#headline")
    assert page.is_visible("#rate svg")
    assert not page.is_visible("#tools")


def test_two_thousand_cells_answer_in_a_page_below_three_megabytes(open_page: Opened, tmp_path: Path) -> None:
    many = synthetic_cells(2000)
    file = write_page(tmp_path / "many.html", many)
    assert file.stat().st_size < 3_000_000
    page: Page = open_page(DEFAULT.fragment, file=file)
    found = answers(many, DEFAULT)
    assert page.inner_text("#headline").startswith(number(found[0].rate_rps))
    assert re.search(r"of 2,000 cells measured", page.inner_text("footer"))
