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
    report = comparison.folder / "report.md"
    write_text(report, markdown_report(result))
    comparison.save_result(result)
    files = {"report.md": report, "comparison.json": comparison.result_file, "order.json": comparison.order_file}
    try:
        run_id = tracking_store(home).publish_comparison(result, config=order.model_dump(mode="json"), files=files)
    except PublishError as error:
        log.warning("%s", error)
        return result
    return result.model_copy(update={"mlflow_run_id": run_id})


def write_text(path: Path, text: str) -> None:
    """Written aside and renamed."""
    aside = path.with_suffix(".partial")
    aside.write_text(text, encoding="utf-8")
    aside.rename(path)
