"""Timelines on the page: on one axis, told in words too, small, and where the trial is."""

import re
from pathlib import Path

import pytest

from experiments.schema.result import CellResult, Distribution, TurnSummary
from experiments.schema.timeline import Curve, Timeline, Track
from tasks.reporting.report import write_report
from tasks.reporting.timelines import described, scale_top, time_ticks, timeline_figure

TIMES = tuple(i * 0.1 for i in range(101))
SAW = Curve("in flight", TIMES, tuple(float(i % 7) for i in range(101)))
BAND = Curve("busy", (0.0, 10.0), (40.0, 60.0), (30.0, 50.0), (50.0, 70.0))
TIMELINE = Timeline(
    span_s=10.0,
    window_s=(2.0, 9.0),
    tracks=(
        Track("Requests", "in flight", "requests", (SAW,)),
        Track("Requests", "TTFT", "ms", dots=((0.5, 20.0), (5.0, 180.0)), note="2 of 9 requests"),
        Track("Engine", "running and waiting", "requests", (Curve("running", (1.0, 2.0), (3.0, 4.0)),
                                                            Curve("waiting", (1.0, 2.0), (0.0, 12.0)))),
        Track("2 GPUs", "busy", "%", (BAND,), top=100.0),
    ),
    throttled_s=((4.0, 5.0),),
)  # fmt: skip


def test_all_tracks_share_one_axis_and_the_window_is_shaded_in_each() -> None:
    drawn = timeline_figure(TIMELINE, "4 at a time")
    windows = re.findall(r'class="window" x="(\d+)" y="0" width="(\d+)"', drawn)
    assert windows == [("200", "700")] * 4
    assert drawn.count('class="throttled" x="400" y="0" width="100"') == 1
    assert drawn.count('class="time-axis"') == 1
    assert "2.0 to 9.0 s after the first request was due" in drawn
    assert "A GPU throttled (red): 4.0–5.0 s." in drawn
    assert "TTFT: 2 of 9 requests." in drawn


def test_points_lie_where_their_time_and_value_are() -> None:
    drawn = timeline_figure(TIMELINE, "4 at a time")
    assert "M50 90h0M500 10h0" in drawn  # 20 and 180 of 200 ms
    assert 'd="M100 75L200 66.7"' in drawn  # 3 and 4 of 12
    assert 'd="M0 60L1000 40"' in drawn
    assert 'd="M0 50L1000 30L1000 50L0 70Z"' in drawn


def test_each_track_is_told_in_words() -> None:
    drawn = timeline_figure(TIMELINE, "4 at a time")
    assert drawn.count('role="img"') == drawn.count("<title>") == drawn.count("<desc>") == 4
    assert described(TIMELINE.tracks[2]) == "running from 3.00 to 4.00 requests; waiting from 0 to 12.0 requests"
    assert described(TIMELINE.tracks[1]) == "each request from 20.0 to 180 ms"


def test_colours_are_those_of_the_page() -> None:
    assert not re.search(r"#[0-9a-f]{3}", timeline_figure(TIMELINE, "4 at a time"))


@pytest.mark.parametrize(
    ("highest", "top"), [(0.0, 1.0), (1.0, 1.0), (7.0, 8.0), (98.0, 100.0), (0.0123, 0.016), (2048.0, 3000.0)]
)
def test_the_scale_ends_at_a_round_number(highest: float, top: float) -> None:
    assert scale_top(Track("a", "b", "c", (Curve("d", (0.0,), (highest,)),))) == pytest.approx(top)


@pytest.mark.parametrize(
    ("span_s", "ticks"),
    [
        (10.0, [0, 2, 4, 6, 8, 10]),
        (0.35, [0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35]),
        (610.0, [0, 100, 200, 300, 400, 500, 600]),
    ],
)
def test_time_is_marked_in_round_seconds(span_s: float, ticks: list[float]) -> None:
    assert time_ticks(span_s) == pytest.approx(ticks)


def report(folder: Path, cells: list[CellResult], timelines: dict[str, dict[str, Timeline]]) -> str:
    write_report(folder / "r.html", experiment="e", cells=cells, timelines=timelines)
    return (folder / "r.html").read_text()


def test_a_report_of_a_hundred_trials_stays_small(cells: list[CellResult], tmp_path: Path) -> None:
    dense = Track("Requests", "in flight", "requests", (Curve("in flight", TIMES, tuple(i + 0.123 for i in TIMES)),))
    dots = Track("Requests", "TTFT", "ms", dots=tuple((i / 30, 100.0 + i) for i in range(300)))
    timeline = Timeline(10.0, (0.0, 10.0), (dense,) * 7 + (dots,))
    without = len(report(tmp_path, cells, {}))
    count = sum(len(cell.points) for cell in cells)
    timelines = {cell.cell_id: {point.directory: timeline for point in cell.points} for cell in cells}
    each = (len(report(tmp_path, cells, timelines)) - without) / count
    assert 5_000 < each < 25_000


def test_a_point_shows_its_timeline_with_what_engine_and_gpu_said(cells: list[CellResult], tmp_path: Path) -> None:
    cell = cells[0]
    told = cell.points[0].summary.model_copy(
        update={
            "energy_j": 5120.0, "joules_per_output_token": 0.42,
            "gpu": {"mean_power_w": 512.0, "power_capped_share": 0.31},
            "engine": {"mean_running_requests": 3.9, "max_waiting_requests": 12.0, "max_kv_cache_usage_ratio": 0.71},
        }
    )  # fmt: skip
    points = (cell.points[0].model_copy(update={"summary": told}), *cell.points[1:])
    cell = cell.model_copy(update={"points": points})
    page = report(tmp_path, [cell], {cell.cell_id: {point.directory: TIMELINE for point in cell.points[:2]}})
    assert page.count('<details class="point">') == 2
    assert "energy 5,120 J (0.420 J per output token) · power 512 W in the mean · at its power limit 31%" in page
    assert "running 3.90 requests in the mean · waiting 12 requests at most · KV cache in use 71% of it at most" in page
    assert "no telemetry was taken beside this trial" in page  # the second point's


def test_turns_have_a_table_where_there_are_any(cells: list[CellResult], tmp_path: Path) -> None:
    turns = tuple(
        TurnSummary(
            turn=k, requests=40, outcomes={"completed": 40}, cache_hit_ratio=0.25 * k,
            figures={
                "ttft_ms": Distribution(n=40, p50=11.5 + k, p95=20.0),
                "prompt_tokens": Distribution(n=40, p50=64.0 * (k + 1)),
            },
        )
        for k in range(3)
    )  # fmt: skip
    summary = cells[0].points[0].summary.model_copy(update={"turns": turns})
    point = cells[0].points[0].model_copy(update={"summary": summary})
    page = report(tmp_path, [cells[0].model_copy(update={"points": (point,)})], {})
    table = page.split('aria-label="Turn by turn"')[1].split("</table>")[0]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in table.split("<tr>")[2:]]
    assert rows[2] == ["3", "40", "13.5", "20.0", "–", "–", "192", "50%"]
    assert len(rows) == 3


def test_without_records_there_is_no_empty_section(cells: list[CellResult], tmp_path: Path) -> None:
    assert "over time" not in report(tmp_path, cells, {})
