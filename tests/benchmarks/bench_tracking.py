"""How long searches and reports take over thousands of cells: `python -m tests.benchmarks.bench_tracking [CELLS]`.

The cells are synthetic, the store a temporary folder. In MLflow's SQLite file some are published as dyno publishes
them, without records; the others are copies of their rows, since what a search costs depends on the rows alone."""

import contextlib
import io
import re
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from mlflow import MlflowClient
from rich.console import Console

from experiments.schema.result import CellResult
from tasks.campaigns.campaign import Campaign, all_results
from tasks.interchange.write_tables import write_tables
from tasks.reporting.overview import overview
from tasks.reporting.summary_page import write_summary
from tasks.reporting.text_report import text_report
from tasks.tracking import mlflow_store
from tasks.tracking.mlflow_store import TrackingStore
from tests.tasks.reporting.almanac.synthetic_cells import synthetic_cells

README = Path(mlflow_store.__file__).parent / "README.md"
PUBLISHED = 20
ROWS = {
    "runs": "run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time, "
    "source_version, lifecycle_stage, artifact_uri, experiment_id, deleted_time",
    "tags": "run_uuid, key, value",
    "params": "run_uuid, key, value",
    "metrics": "run_uuid, key, value, timestamp, step, is_nan",
    "latest_metrics": "run_uuid, key, value, timestamp, step, is_nan",
}


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    """Seconds of this process on a processor beside those on the clock, which others at work stretch."""
    start_ns, cpu_ns = time.monotonic_ns(), time.process_time_ns()
    yield
    wall_s, cpu_s = (time.monotonic_ns() - start_ns) / 1e9, (time.process_time_ns() - cpu_ns) / 1e9
    print(f"{what:<52}{wall_s:8.2f} s {cpu_s:8.2f} s of CPU", flush=True)


def main(count: int) -> None:
    cells = synthetic_cells(count)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        campaign = Campaign("synthetic", folder / "campaigns" / "synthetic" / "1")
        for cell in cells:
            campaign.save(cell)
        reports(folder, count)
        searches(folder, cells)


def reports(folder: Path, count: int) -> None:
    """What `dyno report --text`, the summary and `dyno export --cells` do."""
    with timed(f"reading {count} cell.json"):
        cells = list(all_results(folder / "campaigns"))
    with timed("dyno report --text"):
        Console(file=io.StringIO(), width=100).print(text_report(overview(cells)))
    with timed("summary.md and summary.html"):
        write_summary(folder / "almanac.html", cells, ())
    with timed("cells.parquet, CSV and dyno.sqlite"):
        write_tables(folder / "out", cells)


def searches(folder: Path, cells: Sequence[CellResult]) -> None:
    """Publishing, and each search of the README."""
    store = TrackingStore(f"sqlite:///{folder / 'mlflow.db'}", folder)
    with timed("making the database"):
        store.sweep_dead_invocations()
    with timed(f"publishing {PUBLISHED} cells ({2 * PUBLISHED} runs)"):
        for cell in cells[:: max(1, len(cells) // PUBLISHED)][:PUBLISHED]:
            store.publish_cell(cell)
    copied = copy_runs(folder / "mlflow.db", max(0, len(cells) // PUBLISHED - 1))
    print(f"copied to {copied} runs")
    client = MlflowClient(tracking_uri=store.uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    for number, query in enumerate(re.findall(r"```mlflow\n(.*?)\n```", README.read_text("utf-8"), re.DOTALL), 1):
        with timed(f"search {number} of the README, 100 runs at most"):
            found = client.search_runs(experiments, query, max_results=100)
        print(f"  found {len(found)}")
    with timed("the first page of the cells (100 runs)"):
        client.search_runs(experiments, "tags.dyno.kind = 'cell'", max_results=100)


def copy_runs(database: Path, times: int) -> int:
    """Each run of the file so many times more; how many there are then."""
    with contextlib.closing(sqlite3.connect(database)) as opened, opened:
        for copy in range(times):
            for table, columns in ROWS.items():
                others = columns.removeprefix("run_uuid, ")
                name = f"substr('{copy:04x}' || run_uuid, 1, 32)"
                first = f"SELECT {name}, {others} FROM {table} WHERE run_uuid IN (SELECT run_uuid FROM first)"
                if copy == 0 and table == "runs":
                    opened.execute("CREATE TEMP TABLE first AS SELECT run_uuid FROM runs")
                opened.execute(f"INSERT INTO {table} ({columns}) {first}")
        return int(opened.execute("SELECT count(*) FROM runs").fetchone()[0])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
