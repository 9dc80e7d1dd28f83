"""`dyno compare`: two releases of an engine, or two settings of one, on interleaved launches."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.errors import EXIT_MEASUREMENT
from flows.terminal import Json, logs_shown, read_file, show


def compare(
    experiment: Annotated[Path, typer.Option(help="an experiment file", metavar="FILE")],
    engine: Annotated[
        str | None, typer.Option(help="which engine's variants of the experiment; with URLs: endpoint")
    ] = None,
    from_version: Annotated[str | None, typer.Option("--from", help="the baseline's version")] = None,
    to_version: Annotated[str | None, typer.Option("--to", help="the candidate's version")] = None,
    from_url: Annotated[str | None, typer.Option(help="the baseline is a server that is there already")] = None,
    to_url: Annotated[str | None, typer.Option(help="the candidate likewise")] = None,
    baseline_set: Annotated[list[str] | None, typer.Option(help="a setting of the baseline; may be repeated")] = None,
    candidate_set: Annotated[
        list[str] | None, typer.Option(help="FIELD=VALUE: a setting of the candidate, such as max_num_seqs=1")
    ] = None,
    launches: Annotated[int, typer.Option(min=2, max=64, help="of each side, at the first look")] = 4,
    escalate: Annotated[
        bool, typer.Option("--escalation/--no-escalation", help="half as many again, twice, where undecided")
    ] = True,
    margin: Annotated[
        float, typer.Option(min=0.001, max=0.9, help="smallest change that matters, until canaries tell")
    ] = 0.03,
    canary: Annotated[bool, typer.Option("--canary/--no-canary", help="launch the baseline as its own rival")] = True,
    budget_minutes: Annotated[float | None, typer.Option(min=0.1, help="no new launch after so long")] = None,
    fail_on_regression: Annotated[bool, typer.Option("--fail-on-regression", help="then exit with 4")] = False,
    as_json: Json = False,
) -> None:
    """Compares two releases of an engine, or two servers that are there already, on interleaved launches: regressed,
    improved, equivalent or undecided.

    Stopped or killed, the same command goes on where it was. Exit code 4: void, since the baseline differed from itself
    or no figure could be compared; 3 where no server started at all.
    """
    from flows.comparing import (
        comparison_order,
        engine_of,
        exit_code_of,
        looks_from,
        run_comparison,
        settings_of,
        url_of,
        versions_of,
    )
    from tasks.campaigns.home import open_home
    from tasks.reporting.comparison_report import comparison_table

    file = read_file(experiment)
    chosen = engine_of(engine, from_url, to_url)
    old, new = versions_of(file, chosen, from_version, to_version)
    order = comparison_order(
        file,
        engine=chosen,
        baseline=settings_of(baseline_set or [], "--baseline-set") | {"engine_version": old} | url_of(from_url),
        candidate=settings_of(candidate_set or [], "--candidate-set") | {"engine_version": new} | url_of(to_url),
        looks=looks_from(launches, escalate=escalate),
        margin=margin,
        canary=canary,
        budget_s=60 * budget_minutes if budget_minutes is not None else None,
        home=open_home().root,
    )
    with logs_shown():
        result = run_comparison(order)
    show(as_json, result.model_dump(mode="json"), comparison_table(result))
    regressed = fail_on_regression and result.verdict == "regressed"
    raise typer.Exit(EXIT_MEASUREMENT if regressed else exit_code_of(result))
