"""What MLflow is told of a comparison: pure functions, so that names are decided in one place."""

from experiments.schema.comparison import ChangeVerdict, ComparisonResult, FigureChange


def comparison_name(result: ComparisonResult) -> str:
    """Of the run."""
    return f"{result.engine} {result.from_version} → {result.to_version}"


def comparison_tags(result: ComparisonResult) -> dict[str, str]:
    """What people filter by."""
    return {
        "engine": result.engine,
        "engine_version": result.to_version,
        "from": result.from_version,
        "to": result.to_version,
        "verdict": result.verdict.value,
    }


def comparison_metrics(result: ComparisonResult) -> dict[str, float]:
    """`change/WORKLOAD/LOAD/FIGURE` in percent, candidate over baseline, and how many figures came out how. Where
    several systems were compared, each goes under its own name."""
    several = len({one.system for one in result.cells}) > 1
    changes = {_name(one, several=several): 100 * one.change for one in result.cells if one.change is not None}
    counts = {f"figures/{verdict}": sum(one.verdict is verdict for one in result.cells) for verdict in ChangeVerdict}
    return changes | {name: float(count) for name, count in counts.items() if name != "figures/void"}


def _name(one: FigureChange, *, several: bool) -> str:
    parts = [one.system] if several else []
    return "/".join(["change_percent", *parts, one.workload or "any", one.at, one.metric])
