"""The executive summary: each claim with its numbers and a link to its cell; it says what is not known."""

import re
from collections.abc import Callable

from experiments.schema.comparison import ChangeVerdict, ComparisonResult
from experiments.schema.result import CellResult
from tasks.reporting.summary_page import summary, summary_html, summary_markdown
from tasks.reporting.wording import SYNTHETIC_NOTE, number

Ranked = Callable[..., CellResult]


def test_every_row_has_its_figure_and_leads_to_its_cell(cells: list[CellResult]) -> None:
    text = summary_markdown(summary(cells), "page.html")
    known = {cell.cell_id: cell for cell in cells}
    rows = [line for line in text.splitlines() if line.startswith("|") and "page.html#cell=" in line]
    leads = [line for line in rows if "one launch" in line]
    assert len(leads) == 2
    for line in rows:
        (linked,) = re.findall(r"page\.html#cell=([0-9a-f]+)", line)
        assert f"| {known[linked].grade} |" in line
        if line in leads:
            assert f"| {number(known[linked].headlines['saturation_rps'])} |" in line
        else:
            rates = {number(c.certified_rps) for c in known[linked].capacities if c.certified_rps is not None}
            assert any(f"| {rate} rps |" in line for rate in rates)


def test_the_fastest_that_carries_leads(ranked: Ranked) -> None:
    cells = [ranked("fast", 120, (115.0, 125.0)), ranked("slow", 60, (58.0, 62.0))]
    text = summary_markdown(summary(cells))
    assert "fast 1.0 · tiny-llama · f16 serves the most requests on the workload." in text
    assert "| 120 | 115 to 125 | 3 | B | 2.00 × slow 1.0 |" in text


def test_what_cannot_be_told_apart_is_not_called_best_without_saying_so(ranked: Ranked) -> None:
    text = summary_markdown(summary([ranked("a", 100), ranked("b", 99)]))
    assert "(on 1 it cannot be told apart from another)" in text
    assert "level with b 1.0" in text


def test_what_is_not_known_is_said(cells: list[CellResult], ranked: Ranked) -> None:
    unknown = summary_markdown(summary(cells)).partition("## What is not known")[2]
    assert "6 cells vary from launch to launch: they had one" in unknown
    weak = summary_markdown(summary([ranked("a", 100, grade="E")])).partition("## What is not known")[2]
    assert "1 of the best are best" in weak
    assert "none of 1 cells came to a figure" in summary_markdown(summary([ranked("a", 1, headlines={}, grade="F")]))


def test_synthetic_weights_are_said_first(cells: list[CellResult]) -> None:
    first = summary_markdown(summary(cells)).partition("## What to use")[0]
    assert f"7 of them: {SYNTHETIC_NOTE}" in first


def test_failures_stand_by_class_with_their_cause(failed: Callable[..., CellResult]) -> None:
    lost = [failed(cell_id=f"fa{n}", failure_class="out_of_memory") for n in range(5)]
    text = summary_markdown(summary(lost))
    assert "5 × out of memory: " in text
    assert "the server ended with status 1 before it was ready" in text
    assert "and 2 more." in text


def test_a_comparison_is_told_with_its_worst_figure(ranked: Ranked) -> None:
    figure = {"system": "s", "workload": "w", "at": "0.6", "metric": "ttft_p95_ms", "higher_is_better": False,
              "margin": 0.03, "launches": 6}  # fmt: skip
    result = ComparisonResult.model_validate(
        {"id": "v-1", "engine": "vllm", "from": "0.32.0", "to": "0.33.0", "experiment": "almanac",
         "method_version": "2", "verdict": ChangeVerdict.REGRESSED,
         "cells": [{**figure, "verdict": "regressed", "change": 0.12, "interval": [0.08, 0.16]},
                   {**figure, "verdict": "equivalent", "change": 0.001}]}
    )  # fmt: skip
    text = summary_markdown(summary([ranked("a", 100)], [result]))
    assert "vllm 0.32.0 → 0.33.0 on almanac: regressed. 2 figures: 1 regressed, 1 equivalent." in text
    assert "worst: ttft_p95_ms on w +12.0%, +8.0% to +16.0%, 6 launches a side" in text


def test_what_was_measured_never_becomes_markup(failed: Callable[..., CellResult]) -> None:
    nasty = failed(cause="<script>alert(1)</script> | [x](y) HF_TOKEN=hf_aaaaaaaaaaaaaaaaaaaaaaaa", stage="launch")
    sections = summary([nasty])
    page, text = summary_html(sections), summary_markdown(sections)
    for said in (page, text):
        assert "<script>" not in said
        assert "hf_aaaa" not in said
    assert "\\[x\\](y)" in text


def test_the_page_stands_alone(cells: list[CellResult]) -> None:
    page = summary_html(summary(cells))
    assert not re.findall(r"(?:src|href)=\"(?!almanac\.html#cell=)", page)
    assert page.count("<h2>") == len(summary(cells))
    assert 'lang="en"' in page
