"""What a plot shows, before and after it is drawn."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from experiments.schema.load import ClosedLoop
from experiments.schema.result import CellResult
from tasks.reporting.drawing import LIGHT, VARIABLES, legend, svg, write_plots
from tasks.reporting.plots import Plot, workload_plots
from tasks.reporting.wording import variant_names


@pytest.fixture
def plots(cells: list[CellResult]) -> list[Plot]:
    names = variant_names(cell.variant for cell in cells)
    return workload_plots([cell for cell in cells if cell.workload.name == "long-in"], names)


def test_the_plane_has_every_closed_loop_point(cells: list[CellResult], plots: list[Plot]) -> None:
    for cell, line in zip([cells[0], cells[2], cells[4]], plots[0].lines, strict=True):
        closed = [point for point in cell.points if isinstance(point.point.load, ClosedLoop)]
        assert [dot.label for dot in line.dots] == ["1", "2", "4", "8", "16"][: len(closed)]
        assert [dot.x for dot in line.dots] == [point.summary.output_tokens_per_s for point in closed]
        assert [dot.y for dot in line.dots] == [point.summary.latencies["e2e_ms"].p50 for point in closed]


def test_each_slo_has_its_percentile_against_the_rate(plots: list[Plot]) -> None:
    assert [plot.y_label for plot in plots[1:]] == ["p95 TTFT, ms", "p90 E2E, ms"]
    assert [plot.limit[0] for plot in plots[1:] if plot.limit] == [60, 400]


def test_overloaded_and_invalid_points_are_told(plots: list[Plot]) -> None:
    f16, q8_0, _ = plots[1].lines
    assert [dot.is_overloaded for dot in f16.dots] == [False] * 4 + [True]
    assert [dot.is_valid for dot in q8_0.dots].count(False) == 1
    for word in ("overloaded", "invalid"):
        assert word in legend(plots)


@pytest.mark.parametrize("in_page", [True, False])
def test_a_plot_is_xml_that_reaches_for_nothing(plots: list[Plot], in_page: bool) -> None:
    for plot in plots:
        text = svg(plot, in_page=in_page)
        ElementTree.fromstring(text)
        assert not re.search(r'(?:href|src)="(?!#)', text)
        assert "url(http" not in text
        assert not any(stand_in in text for stand_in in LIGHT)


def test_a_plot_in_a_page_has_the_colours_of_the_page(plots: list[Plot]) -> None:
    page, file = svg(plots[0], in_page=True), svg(plots[0], in_page=False)
    assert "var(--series-0)" in page
    assert not any(colour in page for colour in LIGHT.values())
    assert "var(" not in file
    assert set(VARIABLES) == set(LIGHT)


def test_the_same_data_draw_the_same_picture(plots: list[Plot]) -> None:
    assert svg(plots[1], in_page=False) == svg(plots[1], in_page=False)


def test_the_plots_of_a_cell_become_files(cells: list[CellResult], tmp_path: Path) -> None:
    written = write_plots(tmp_path / "plots", cells[0])
    assert [path.name for path in written] == [
        "throughput_latency.svg", "latency_against_rate_1.svg", "latency_against_rate_2.svg",
    ]  # fmt: skip
    assert sorted((tmp_path / "plots").iterdir()) == sorted(written)


def test_a_failed_cell_has_no_plot(cells: list[CellResult], tmp_path: Path) -> None:
    assert write_plots(tmp_path, cells[-1]) == []
