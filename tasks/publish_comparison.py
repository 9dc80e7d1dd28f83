"""Stage: a comparison is in MLflow. It is on disk before, and stays there."""

import logging
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from experiments.errors import PublishError
from experiments.schema.comparison import ComparisonOrder, ComparisonResult
from tasks.campaigns.comparison import Comparison
from tasks.campaigns.home import Home
from tasks.reporting.comparison_report import markdown_report
from tasks.track import tracking_store

log = logging.getLogger("dyno.publish")


@task(name="publish comparison", task_run_name="publish {comparison.id}", cache_policy=NO_CACHE)
def publish_comparison(
    result: ComparisonResult, order: ComparisonOrder, comparison: Comparison, home: Home
) -> ComparisonResult:
    """With the id of its MLflow run; without, and with a warning, where MLflow is out of reach."""
    write_text(_report(comparison), markdown_report(result))
    comparison.save_result(result)
    try:
        return _published(result, order, comparison, home)
    except PublishError as error:
        log.warning("%s", error)
        return result


def sync_comparisons(home: Home) -> int:
    """Tells MLflow of every comparison that has ended and that it does not know; how many those were. Raises
    PublishError."""
    waiting = [
        (comparison, result, order)
        for folder in sorted(home.comparisons.glob("*"))
        for comparison in [Comparison(folder)]
        if (result := comparison.result()) is not None
        and result.ended_at
        and not result.mlflow_run_id
        and (order := comparison.order()) is not None
    ]
    for comparison, result, order in waiting:
        comparison.save_result(_published(result, order, comparison, home))
        log.info("comparison %s", comparison.id)
    return len(waiting)


def _published(
    result: ComparisonResult, order: ComparisonOrder, comparison: Comparison, home: Home
) -> ComparisonResult:
    found = {"report.md": _report(comparison), "comparison.json": comparison.result_file}
    files = {name: path for name, path in found.items() if path.exists()} | {"order.json": comparison.order_file}
    run_id = tracking_store(home).publish_comparison(result, config=order.model_dump(mode="json"), files=files)
    return result.model_copy(update={"mlflow_run_id": run_id})


def _report(comparison: Comparison) -> Path:
    return comparison.folder / "report.md"


def write_text(path: Path, text: str) -> None:
    """Written aside and renamed."""
    aside = path.with_suffix(".partial")
    aside.write_text(text, encoding="utf-8")
    aside.rename(path)
