"""Run by a Python that has GuideLLM: reads a report with GuideLLM's own models, and computes its metrics anew.

python recompute_guidellm.py REPORT        prints the metrics as the file has them and as GuideLLM computes them
"""

import importlib
import json
import sys
from typing import Any


def main() -> None:
    schemas: Any = importlib.import_module("guidellm.benchmark.schemas")
    report = schemas.GenerativeBenchmarksReport.load_file(sys.argv[1])
    found: list[dict[str, Any]] = []
    for benchmark in report.benchmarks:
        accumulator = schemas.GenerativeBenchmarkAccumulator(config=benchmark.config)
        accumulator.timings.measure_start = benchmark.scheduler_metrics.measure_start_time
        accumulator.timings.measure_end = benchmark.scheduler_metrics.measure_end_time
        accumulator.completed.requests_stats = benchmark.requests.successful
        accumulator.incomplete.requests_stats = benchmark.requests.incomplete
        accumulator.errored.requests_stats = benchmark.requests.errored
        anew = schemas.GenerativeMetrics.compile(accumulator)
        requests = [
            each.model_dump(mode="json")
            for group in (benchmark.requests.successful, benchmark.requests.incomplete, benchmark.requests.errored)
            for each in group
        ]
        found.append(
            {"written": benchmark.metrics.model_dump(mode="json"), "anew": anew.model_dump(mode="json")}
            | {"requests": requests, "strategy": benchmark.config.strategy.model_dump(mode="json")}
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
