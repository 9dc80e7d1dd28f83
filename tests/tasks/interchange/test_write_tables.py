"""cells.parquet, CSV and dyno.sqlite: what they say is what the records say, and what is absent says why."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from experiments.schema.cold_start import ColdStart
from experiments.schema.load import ClosedLoop, OpenLoop, Poisson
from experiments.schema.model import Model, SyntheticSource
from experiments.schema.quality import QualityComparison, QualityResult
from experiments.schema.result import BetweenLaunches, Capacity, CellResult, CellState, PointResult
from experiments.schema.variant import Quantization, Variant
from experiments.schema.workload import Workload
from tasks.interchange.table import make_table, text
from tasks.interchange.write_benchmark_report import benchmark_reports
from tasks.interchange.write_inferencex import inferencex_rows, inferencex_text
from tasks.interchange.write_tables import datasette_metadata, tables_of, write_tables

Trial = Callable[..., Path]
CAPACITY = Capacity(
    slo="ttft:p95<300ms", name="ttft_p95_300ms", verdict="certified", certified_rps=7.5, reason="at 99 %"
)


def cell_of(*points: PointResult, **changes: Any) -> CellResult:
    fields: dict[str, Any] = {
        "cell_id": "c0ffee123456", "experiment": "mine", "campaign": "mine-1", "launch": 1, "state": CellState.MEASURED,
        "variant": Variant(
            engine="llama_cpp", engine_version="0.3.1", quantization=Quantization.Q8_0,
            model=Model(name="tiny", source=SyntheticSource(kind="synthetic")),
        ),
        "workload": Workload(
            name="short", prompt_tokens=32, output_tokens=8, endpoint="chat", cache="shared", system_prompt="Be brief."
        ),
        "grade": "B", "reasons": ("an SLO is unknown",), "points": points, "capacities": (CAPACITY,),
        "headlines": {"saturation_rps": 20.0},
        "headline_reasons": {"floor_ttft_p50_ms": "the synchronous point was not measured"},
        "between_launches": {"saturation_rps": BetweenLaunches(launches=2, mean=20.0, low=18.0, high=22.0)},
    }  # fmt: skip
    return CellResult(**(fields | changes))


@pytest.fixture
def folders(trial: Trial) -> list[Path]:
    loads = [ClosedLoop(concurrency=10), OpenLoop(arrivals=Poisson(), rate_rps=9.5)]
    return [trial(load, name=f"0{step}") for step, load in enumerate(loads)]


@pytest.fixture
def cells(folders: list[Path]) -> list[CellResult]:
    points = [PointResult.model_validate_json((folder / "trial.json").read_bytes()) for folder in folders]
    lost = cell_of(
        cell_id="fa11ed000000", state=CellState.FAILED, grade=None, stage="launch", cause="CUDA out of memory",
        failure_class="out_of_memory", headlines={}, headline_reasons={}, capacities=(), between_launches={},
        log_excerpt="HF_TOKEN=hf_aaaaaaaaaaaaaaaaaaaaaaaa",
    )  # fmt: skip
    return [cell_of(*points), lost]


@pytest.fixture
def written(cells: list[CellResult], tmp_path: Path) -> Path:
    write_tables(tmp_path / "out", cells)
    return tmp_path / "out"


def by_hand(folder: Path, window: tuple[int, int]) -> dict[str, float]:
    """From requests.parquet, with pandas."""
    frame = pd.read_parquet(folder / "requests.parquet")
    start, stop = window
    seconds = (stop - start) / 1e9
    chunks = frame[["chunk_at_ns", "chunk_tokens"]].explode(["chunk_at_ns", "chunk_tokens"]).dropna()
    inside = chunks[(chunks.chunk_at_ns >= start) & (chunks.chunk_at_ns <= stop)]
    done = frame[(frame.outcome == "completed") & frame.in_window]
    first = done.chunk_at_ns.map(lambda times: times[0])
    last = done.chunk_at_ns.map(lambda times: times[-1])
    ttft = (first - done.sent_at_ns) / 1e6
    late = (frame.sent_at_ns - frame.due_at_ns).dropna() / 1e6
    spread = done.output_tokens - done.chunk_tokens.map(lambda counts: counts[0])
    tpot = ((last - first) / 1e6 / spread.where(spread > 0)).dropna()
    ended = frame[frame.outcome == "completed"].end_at_ns.between(start, stop).sum()
    found: dict[str, Any] = {
        "ttft_mean_ms": ttft.mean(), "ttft_p50_ms": ttft.quantile(0.5), "ttft_p90_ms": ttft.quantile(0.9),
        "ttft_response_p50_ms": ((first - done.due_at_ns) / 1e6).quantile(0.5), "ttft_n": len(ttft),
        "tpot_p50_ms": tpot.quantile(0.5), "e2e_p90_ms": ((last - done.sent_at_ns) / 1e6).quantile(0.9),
        "output_tokens_per_s": inside.chunk_tokens.sum() / seconds, "completed_rps": ended / seconds,
        "lateness_p50_ms": late.quantile(0.5), "window_s": seconds,
        "requests_completed": float((frame.outcome == "completed").sum()), "requests": float(len(frame)),
    }  # fmt: skip
    return {name: float(value) for name, value in found.items()}


def test_the_figures_are_those_of_the_records(written: Path, folders: list[Path]) -> None:
    """Another route: pandas over requests.parquet."""
    points = pd.json_normalize(pd.read_parquet(written / "cells.parquet").points.explode().dropna().tolist())
    assert len(points) == len(folders)
    for (_, point), folder in zip(points.iterrows(), folders, strict=True):
        expected = by_hand(folder, (int(point.window_start_ns), int(point.window_end_ns)))
        assert {name: point[name] for name in expected} == pytest.approx(expected, rel=1e-9)


def test_every_absent_figure_says_why_and_every_other_does_not(written: Path) -> None:
    with closing(sqlite3.connect(written / "dyno.sqlite")) as database:
        for name in ("cells", "points", "capacities"):
            frame = pd.read_sql(f"SELECT * FROM {name}", database)
            figures = [
                column.removesuffix("_reason") for column in map(str, frame.columns) if column.endswith("_reason")
            ]
            assert figures
            for figure in figures:
                assert (frame[figure].isna() == frame[f"{figure}_reason"].notna()).all(), (name, figure)


def test_every_figure_of_a_point_has_a_unit_or_is_no_quantity(cells: list[CellResult]) -> None:
    for table in tables_of(cells).values():
        bare = [c.name for c in table.columns if c.kind == "number" and not c.unit]
        assert bare == []
        assert all(column.meaning for column in table.columns)


def test_cells_parquet_holds_points_and_capacities_and_csv_says_the_same(written: Path) -> None:
    frame = pd.read_parquet(written / "cells.parquet")
    assert [len(points) for points in frame.points] == [2, 0]
    assert frame.capacities[0][0]["certified_rps"] == 7.5
    assert list(frame.saturation_rps_low.dropna()) == [18.0]
    assert frame.floor_ttft_p50_ms_reason[0] == "the synchronous point was not measured"
    flat = pd.read_csv(written / "cells.csv")
    assert set(frame.columns) - set(flat.columns) == {"points", "capacities"}
    np.testing.assert_array_equal(frame.saturation_rps, flat.saturation_rps)
    field = pq.read_schema(written / "cells.parquet").field("saturation_rps")
    assert field.metadata[b"unit"] == b"requests/s"


def test_users_and_system_prompts_can_be_asked_for(written: Path) -> None:
    question = """SELECT points.users FROM points JOIN cells USING (cell)
                  WHERE cells.system_prompt = 'yes' AND cells.endpoint = 'chat' AND points.users IN (10, 50, 100)"""
    with closing(sqlite3.connect(written / "dyno.sqlite")) as database:
        assert database.execute(question).fetchall() == [(10,)]
        assert database.execute("SELECT dataset, users, arrivals FROM cells").fetchone() == (
            "synthetic", "10", "closed_loop poisson",
        )  # fmt: skip
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []


def test_a_failure_has_its_class_and_no_secret(written: Path) -> None:
    with closing(sqlite3.connect(written / "dyno.sqlite")) as database:
        rows = database.execute("SELECT failure_class, may_be_retried, cause, log_excerpt FROM failures").fetchall()
    assert [row[:3] for row in rows] == [("out_of_memory", 0, "CUDA out of memory")]
    assert not any(b"hf_aaaa" in path.read_bytes() for path in written.rglob("*") if path.is_file())


def test_datasette_is_told_what_each_column_is(written: Path, cells: list[CellResult]) -> None:
    told = json.loads((written / "metadata.json").read_text())
    assert told == datasette_metadata(tables_of(cells))
    tables = told["databases"]["dyno"]["tables"]
    with closing(sqlite3.connect(written / "dyno.sqlite")) as database:
        for name, described in tables.items():
            there = [row[1] for row in database.execute(f"PRAGMA table_info({name})")]
            assert list(described["columns"]) == there
    assert tables["points"]["columns"]["tpot_p95_ms"].endswith("unit: ms/token")
    assert tables["points"]["dyno_units"]["output_tokens_per_s"] == "tokens/s"


def test_only_the_last_campaign_of_a_cell_is_the_latest(cells: list[CellResult]) -> None:
    again = cells[0].model_copy(update={"campaign": "mine-2"})
    rows = tables_of([*cells, again])["cells"].rows
    assert [(row["campaign"], row["is_latest"]) for row in rows] == [
        ("mine-1", False),
        ("mine-1", True),
        ("mine-2", True),
    ]


def test_a_figure_without_a_column_is_an_error() -> None:
    with pytest.raises(ValueError, match="has no column speed"):
        make_table("t", "…", [text("name", "…")], [{"name": "a", "speed": 1.0}])


def test_a_benchmark_report_says_units_validity_and_why_something_is_absent(cells: list[CellResult]) -> None:
    closed, offered = [yaml.safe_load(report) for report in benchmark_reports(cells).values()]
    assert closed["scenario"]["load"]["standardized"]["concurrency"] == 10
    assert offered["scenario"]["load"]["standardized"]["rate_qps"] == 9.5
    told = closed["results"]["request_performance"]["aggregate"]
    assert told["latency"]["time_to_first_token"]["units"] == "ms"
    assert told["latency"]["time_to_first_token"]["p50"] == cells[0].points[0].summary.latencies["ttft_ms"].p50
    assert told["requests"] == {"total": 19, "failures": 2, "incomplete": 2}
    own = closed["results"]["profiling"]["dyno"]
    assert "p99 needs" in own["absent"]["ttft_ms.p99"]
    assert own["valid"] is False
    assert own["invalid_reasons"]


def test_a_row_of_inferencex_is_a_closed_loop_point_in_seconds(cells: list[CellResult]) -> None:
    (row,) = inferencex_rows(cells)
    ttft = cells[0].points[0].summary.latencies["ttft_ms"]
    assert (row["conc"], row["isl"], row["osl"], row["precision"]) == (10, 32, 8, "q8_0")
    assert row["median_ttft"] == pytest.approx((ttft.p50 or 0) / 1000)
    assert row["median_intvty"] == pytest.approx(1 / row["median_tpot"])
    absent = {name for name, value in row.items() if value is None and not name.startswith("dyno_")}
    assert absent == set(row["dyno_absent"])
    assert "no GPU" in row["dyno_absent"]["tput_per_gpu"]
    assert json.loads(inferencex_text(cells)) == [row]


def test_quality_and_starts_are_columns_with_intervals_and_reasons() -> None:
    against = QualityComparison(
        reference="bf16", reference_variant_id="v", reference_is="same engine", agreement=0.97,
        agreement_interval=(0.95, 0.99), reasons={"perplexity_ratio": "other texts"},
    )  # fmt: skip
    quality = QualityResult(perplexity=9.5, perplexity_interval=(9.0, 10.0), comparison=against, flags=("agreement",))
    starts = (
        ColdStart(cold=True, how_known="on purpose", first_token_s=80.0, reasons={"compile_s": "nothing to compile"}),
        ColdStart(cold=False, how_known="in memory", first_token_s=12.0),
    )
    (row,) = tables_of([cell_of(quality=quality, cold_starts=starts)])["cells"].rows
    assert (row["quality_agreement"], row["quality_agreement_low"], row["quality_flags"]) == (0.97, 0.95, "agreement")
    assert (row["quality_perplexity_ratio"], row["quality_perplexity_ratio_reason"]) == (None, "other texts")
    assert (row["cold_start_first_token_s"], row["warm_start_first_token_s"]) == (80.0, 12.0)
    assert row["cold_start_compile_s_reason"] == "nothing to compile"
    (bare,) = tables_of([cell_of()])["cells"].rows
    assert bare["quality_agreement_reason"] == "no quality was asked for"
    assert bare["cold_start_first_token_s_reason"] == "there was no cold start"
