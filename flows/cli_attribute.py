"""`dyno attribute`: what each flag of a tuned profile brings, by leaving it out."""

from typing import Annotated

import typer

from flows.terminal import File, Json, logs_shown, read_file, show


def attribute(
    file: File,
    engine: Annotated[str, typer.Option(help="whose variants of the experiment")],
    engine_profile: Annotated[str | None, typer.Option(help="a profile of the engine: dyno engines lists them")] = None,
    flags: Annotated[str | None, typer.Option(help='groups of flags instead: "--a 1; --b"')] = None,
    launches: Annotated[int, typer.Option(min=2, max=64, help="of each side, at the first look")] = 4,
    escalate: Annotated[
        bool, typer.Option("--escalation/--no-escalation", help="half as many again, twice, where undecided")
    ] = True,
    margin: Annotated[
        float, typer.Option(min=0.001, max=0.9, help="smallest change that matters, until canaries tell")
    ] = 0.03,
    canary: Annotated[bool, typer.Option("--canary/--no-canary", help="launch the whole set as its own rival")] = True,
    budget_minutes: Annotated[float | None, typer.Option(min=0.1, help="no new launch after so long")] = None,
    as_json: Json = False,
) -> None:
    """Leaves out one group of flags at a time, and compares with the whole set on interleaved launches: what each
    helps or hurts. Without --engine-profile and --flags the groups are the variant's own profile, or its extra_args.

    Stopped or killed, the same command goes on where it was. Exit code 4: void, since the whole set differed from
    itself or no figure could be compared; 3 where no server started at all.
    """
    from flows.attributing import attribution_order
    from flows.comparing import exit_code_of, looks_from, run_comparison
    from tasks.analysis.attribution import flag_effects
    from tasks.campaigns.home import open_home
    from tasks.reporting.attribution_table import attribution_table

    order = attribution_order(
        read_file(file),
        engine=engine,
        profile=engine_profile,
        flags=flags,
        looks=looks_from(launches, escalate=escalate),
        margin=margin,
        canary=canary,
        budget_s=60 * budget_minutes if budget_minutes is not None else None,
        home=open_home().root,
    )
    with logs_shown():
        result = run_comparison(order)
    effects = flag_effects(order.systems, result)
    body = result.model_dump(mode="json") | {"flags": [one.model_dump(mode="json") for one in effects]}
    show(as_json, body, attribution_table(result, effects))
    raise typer.Exit(exit_code_of(result))
