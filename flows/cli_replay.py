"""`dyno replay CELL`: a stored cell measured again, and whether it comes out as before."""

from typing import Annotated

import typer

from experiments.errors import EXIT_MEASUREMENT, EXIT_OK
from flows.terminal import Json, logs_shown, show


def replay(
    cell: Annotated[str, typer.Argument(help="a cell's id, or the first letters of it", metavar="CELL")],
    anyway: Annotated[bool, typer.Option("--anyway", help="even on another machine, engine or weights")] = False,
    as_json: Json = False,
) -> None:
    """Measures a stored cell again on a new launch, with its own load points, workload and seed: reproduced, not
    reproduced (exit code 4) or undecided, figure by figure against the interval of another launch."""
    from flows.replaying import replay_order, run_replay
    from tasks.reporting.replay_table import replay_table

    order = replay_order(cell, anyway=anyway)
    with logs_shown():
        result = run_replay(order)
    show(as_json, result.model_dump(mode="json"), replay_table(result))
    raise typer.Exit(EXIT_MEASUREMENT if result.verdict == "not reproduced" else EXIT_OK)
