"""The page: whole, self-contained, honest."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from experiments.schema.model import LocalSource, Model
from experiments.schema.result import CellResult
from tasks.reporting.cell_section import interval_text
from tasks.reporting.markup import Markup, element, join
from tasks.reporting.report import write_report
from tasks.reporting.wording import SYNTHETIC_NOTE, number


class Reader(HTMLParser):
    """Fails on tags that do not nest; keeps the text and every address."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action")]
        if tag not in ("meta", "br", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "title"):
            self.text.append(data)


def read(path: Path) -> tuple[Reader, str]:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert reader.open == []
    return reader, " ".join(" ".join(reader.text).split())


@pytest.fixture
def page(cells: list[CellResult], tmp_path: Path) -> Path:
    path = tmp_path / "report.html"
    write_report(
        path, experiment="quickstart", cells=cells, links={"MLflow": "http://127.0.0.1:5000/x", "Store": ".dyno"}
    )
    assert list(tmp_path.iterdir()) == [path]
    return path


def test_the_page_stands_alone(page: Path) -> None:
    reader, _ = read(page)
    assert [address for address in reader.addresses if not address.startswith("#")] == ["http://127.0.0.1:5000/x"]
    assert not reader.tags & {"script", "link", "img", "iframe"}
    assert "@import" not in page.read_text()
    assert "url(http" not in page.read_text()


def test_every_cell_and_every_point_is_there(page: Path, cells: list[CellResult]) -> None:
    _, text = read(page)
    for cell in cells:
        assert cell.cell_id in text
        for point in cell.points:
            for figure in (point.summary.completed_rps, point.summary.latencies["ttft_ms"].p50):
                assert figure is not None
                assert number(figure) in text


def test_the_title_is_a_finding(page: Path) -> None:
    _, text = read(page)
    assert "q4_k_m serves the most requests on both workloads, of those that could be measured." in text


def test_a_failure_has_stage_cause_and_log(page: Path) -> None:
    _, text = read(page)
    assert "Failed at launch: the server ended with status 1 before it was ready" in text
    assert "loading model <model.gguf>" in text
    assert "out of memory & no swap" in text


def test_an_absent_figure_has_its_reason(page: Path, cells: list[CellResult]) -> None:
    _, text = read(page)
    assert "nothing is offered" in text
    for cell in cells:
        for point in cell.points:
            for reason in point.summary.invalid_reasons:
                assert reason in text
            for seen in point.summary.slos:
                assert seen.reason in text


def test_intervals_say_which_side_is_missing() -> None:
    assert interval_text(1.0, 2.0) == "1.00–2.00"
    assert interval_text(1.0, None) == "≥ 1.00"
    assert interval_text(None, 2.0) == "≤ 2.00"
    assert interval_text(None, None) == "no interval"


def test_synthetic_models_carry_the_note_and_real_ones_do_not(
    page: Path, cells: list[CellResult], tmp_path: Path
) -> None:
    assert SYNTHETIC_NOTE in read(page)[1]
    model = Model(name="real", source=LocalSource(kind="local", path="/models/real"))
    real = [cell.model_copy(update={"variant": cell.variant.model_copy(update={"model": model})}) for cell in cells]
    write_report(tmp_path / "real.html", experiment="quickstart", cells=real)
    assert SYNTHETIC_NOTE not in read(tmp_path / "real.html")[1]


def test_nothing_measured_becomes_markup(failed: Callable[..., CellResult], tmp_path: Path) -> None:
    attack = "</pre><script>alert(1)</script>"
    cell = failed(cause=attack, log_excerpt=attack, stage=attack, reasons=(attack,), provenance={"argv": [attack]})
    write_report(tmp_path / "r.html", experiment=attack, cells=[cell], description=attack, links={attack: attack})
    reader, text = read(tmp_path / "r.html")
    assert "script" not in reader.tags
    assert attack in text


def test_no_secret_is_shown(page: Path) -> None:
    assert "not-to-be-seen" not in page.read_text()
    assert "--slots 8 --api-key" in read(page)[1]


def test_a_run_without_any_result_is_still_a_page(failed: Callable[..., CellResult], tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", experiment="e", cells=[failed()])
    assert "Nothing could be measured: 1 of 1 cells failed." in read(tmp_path / "r.html")[1]


def test_light_and_dark_name_the_same_colours(page: Path) -> None:
    style = page.read_text().split("<style>")[1].split("</style>")[0]
    light, dark = (set(re.findall(r"(--[\w-]+): #", part)) for part in style.split("@media", 2)[:2])
    assert light == dark


def test_what_is_not_markup_is_escaped() -> None:
    assert element("p", "<b>", Markup("<i>x</i>"), title='"') == '<p title="&quot;">&lt;b&gt;<i>x</i></p>'
    assert join(["a", None, ["<"]]) == "a&lt;"
    assert element("details", open=True, class_=None) == "<details open></details>"


def test_each_kind_of_plot_is_explained_once_a_workload(page: Path) -> None:
    _, text = read(page)
    assert text.count("whatever became of the earlier ones") == 2
    assert text.count("The same rates, seen as p90 E2E.") == 2
