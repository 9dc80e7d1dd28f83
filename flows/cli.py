"""The command line: `dyno`. Each command imports what it needs when it runs; printing and exit codes live here."""

import os
import signal
import sys
from enum import StrEnum
from errno import EACCES, EDQUOT, EIO, EISDIR, EMFILE, ENAMETOOLONG, ENFILE, ENOSPC, ENOTDIR, EPERM, EROFS
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal

import typer

from experiments.errors import EXIT_INTERRUPTED, EXIT_MEASUREMENT, EXIT_OK, EXIT_SETUP, DynoError, Interrupted
from flows import cli_profile
from flows.cli_attribute import attribute
from flows.cli_bounds import Prices, bounds, cost
from flows.cli_compare import compare
from flows.cli_deploy import Pool, deploy, worker
from flows.cli_images import images
from flows.cli_replay import replay
from flows.cli_report import report
from flows.cli_stack import stack_app
from flows.cli_store import store_app
from flows.cli_watch import watch
from flows.export_command import export
from flows.terminal import File, Json
from flows.terminal import console as _console
from flows.terminal import logs_shown as _logs_shown
from flows.terminal import note as _note
from flows.terminal import print_json as _print_json
from flows.terminal import read_file as _read

app = typer.Typer(
    name="dyno",
    help="LLM Dyno benchmarks LLM inference engines. Start with: dyno run experiments/quickstart.yaml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_OF_THE_MACHINE = (EACCES, EPERM, ENOSPC, EDQUOT, EROFS, EIO, ENOTDIR, EISDIR, ENAMETOOLONG, EMFILE, ENFILE)
_ROOM = "make room there, or give another folder"
_REMEDIES = {
    ENOSPC: _ROOM,
    EDQUOT: _ROOM,
    EIO: "look at the kernel's log: the disk, or what it is mounted from, does not answer as it should",
    ENAMETOOLONG: "give a shorter name",
    EMFILE: "allow more open files (ulimit -n)",
    ENFILE: "the machine has too many files open: end what holds them",
}
Endpoints = StrEnum("Endpoints", ["completions", "chat"])
Caches = StrEnum("Caches", ["cold", "shared", "hot"])
LENGTHS = "128, 100-200, normal:MEAN,STD, lognormal:MEDIAN,SIGMA, data"


def main() -> None:
    """Runs a command; errors that a person can mend are said without a traceback."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)  # a shell script's background job is born deaf to it
    try:
        returned = app(standalone_mode=False)
        status = returned if isinstance(returned, int) else EXIT_OK
    except DynoError as error:
        _say_error(error)
        status = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        status = EXIT_INTERRUPTED
    except BrokenPipeError:
        status = EXIT_OK
        sys.stderr.close()
    except OSError as error:
        status = _system_error(error)
    except Exception as error:
        status = _usage_error(error)
    if status == EXIT_INTERRUPTED:
        _note("stopped; what was done is kept")
    sys.exit(status)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise Interrupted


def _usage_error(error: Exception) -> int:
    """Click's own errors know how to show themselves; anything else is a defect, and keeps its traceback."""
    show, status = getattr(error, "show", None), getattr(error, "exit_code", None)
    if not callable(show) or not isinstance(status, int):
        raise error
    show()
    return status


def _system_error(error: OSError) -> int:
    """A full disk or a folder that may not be written is the machine's trouble, and no defect of ours."""
    if error.errno not in _OF_THE_MACHINE:
        raise error
    where, what = error.filename or "the disk", os.strerror(error.errno)
    _note(f"{where}: {what}; {_REMEDIES.get(error.errno, 'give a folder that may be written')}")
    return EXIT_SETUP


def _say_error(error: DynoError) -> None:
    prefix = f"{error.stage}: " if error.stage else ""
    print(f"{prefix}{error}", file=sys.stderr)
    if error.log_excerpt:
        print("\n".join(f"    {line}" for line in error.log_excerpt.splitlines()), file=sys.stderr)


@app.callback()
def start(context: typer.Context) -> None:
    """Ends first what a dyno that was killed left running."""
    from flows.stand_ins import announce_stand_ins
    from tasks.campaigns.home import open_home
    from tasks.serving.lease import reap

    announce_stand_ins(context.invoked_subcommand or "")
    for what in reap(open_home().leases):
        _note(f"ended {what}, which a dyno that was killed had left running")


@app.command()
def validate(file: File, as_json: Json = False) -> None:
    """Checks an experiment file; every problem of it is named."""
    from experiments.errors import InputError
    from tasks.quality.material import read_material

    try:
        experiment = _read(file)
        if experiment.quality is not None:
            read_material(experiment.quality)
    except InputError as error:
        if as_json:
            problems = [{"file": p.file, "where": p.where, "what": p.what} for p in error.problems]
            _print_json({"valid": False, "problems": problems})
            raise typer.Exit(error.exit_code) from error
        raise
    cells = len(experiment.cells())
    if as_json:
        _print_json({"valid": True, "experiment": experiment.name, "cells": cells, "problems": []})
    else:
        print(f"{file}: valid, {cells} cells")


@app.command()
def plan(
    file: File,
    as_json: Json = False,
    force: Annotated[bool, typer.Option(help="as run --force")] = False,
    prices: Prices = None,
) -> None:
    """Shows the cells of an experiment: what is measured already, what would be, and what it takes."""
    from flows.cli_bounds import own_prices_of
    from tasks.campaigns.campaign import open_campaign
    from tasks.campaigns.home import open_home
    from tasks.campaigns.planning import estimate, plan_cells
    from tasks.reporting.plan_table import plan_table

    experiment = _read(file)
    campaign = open_campaign(open_home().campaigns, experiment.name, new=force)
    cells = plan_cells(experiment, campaign)
    takes = estimate(cells, experiment.load_plan, own_prices_of(prices), slos=len(experiment.slos))
    if as_json:
        rows = [cell.row() for cell in cells]
        _print_json({"experiment": experiment.name, "campaign": campaign.name, "cells": rows, "estimate": takes.body()})
        return
    _console().print(plan_table([cell.row() for cell in cells]))
    longest = f" (with limits that take long to certify up to {takes.most_seconds / 60:.0f})"
    minutes = f"about {takes.seconds / 60:.0f} min{longest if takes.most_seconds > takes.seconds else ''}"
    print(f"{takes.cells} cells to measure: {minutes}, {takes.gpu_hours:.1f} GPU-hours{takes.money}")


@app.command()
def run(
    file: File,
    force: Annotated[bool, typer.Option("--force", help="measure everything again, in a new campaign")] = False,
    prices: Prices = None,
    pool: Pool = "",
    as_json: Json = False,
) -> None:
    """Measures what an experiment file asks for and has not been measured yet."""
    if prices is not None:
        from experiments.schema.prices import VARIABLE, read_prices

        read_prices(prices)
        os.environ[VARIABLE] = str(prices.absolute())
    _run(file, force=force, retry="", as_json=as_json, pool=pool)


@app.command()
def retry(
    file: File,
    every: Annotated[
        bool, typer.Option("--all", help="also what failed for a reason that a launch cannot mend")
    ] = False,
    pool: Pool = "",
    as_json: Json = False,
) -> None:
    """Measures cells once more, on new launches: those that are invalid, that were interrupted, or that failed for a
    reason that may pass (a timeout, a crash, a full disk; not a bad flag, or a model that is too large)."""
    _run(file, force=False, retry="all" if every else "what may pass", as_json=as_json, pool=pool)


app.command()(report)
app.command()(compare)
app.command()(replay)
app.command()(attribute)


@app.command()
def load(
    context: typer.Context,
    url: Annotated[str | None, typer.Argument(help="the server's root, with or without /v1", metavar="URL")] = None,
    model: Annotated[str | None, typer.Option(help="the model's name as the server knows it")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="closed loop: users at once")] = None,
    rate: Annotated[float | None, typer.Option(help="open loop: requests per second")] = None,
    arrivals: Annotated[str | None, typer.Option(help="constant, poisson (default) or gamma:SHAPE")] = None,
    trace: Annotated[Path | None, typer.Option(help="JSONL or CSV of timestamps and lengths")] = None,
    requests: Annotated[int | None, typer.Option(min=1, help="stop after so many")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.001, help="stop after so long")] = None,
    prompt_tokens: Annotated[str | None, typer.Option(help=LENGTHS, metavar="N|DISTRIBUTION")] = None,
    output_tokens: Annotated[str | None, typer.Option(help=f"{LENGTHS}, natural", metavar="N|DISTRIBUTION")] = None,
    dataset: Annotated[Path | None, typer.Option(help="prompts: JSONL, JSON, CSV, Parquet; dolly, ShareGPT")] = None,
    english: Annotated[bool, typer.Option("--english", help="prompts of sentences instead of random tokens")] = False,
    shared_prefix: Annotated[str | None, typer.Option(help="TOKENS:SHARE[:GROUPS]; the rest is unique")] = None,
    system_prompt: Annotated[Path | None, typer.Option(help="a text file; stands before every prompt")] = None,
    cache: Annotated[
        Caches | None, typer.Option(help="what the server may reuse; default: what is asked shares")
    ] = None,
    hot_prompts: Annotated[int | None, typer.Option(min=1, help="with --cache hot: how many different ones")] = None,
    json_schema: Annotated[Path | None, typer.Option(help="a JSON file; answers are to follow it")] = None,
    endpoint: Annotated[Endpoints, typer.Option()] = Endpoints.completions,
    turns: Annotated[int | None, typer.Option(min=2, max=1000, help="conversations of so many requests each")] = None,
    think_seconds: Annotated[float | None, typer.Option(min=0, help="between an answer and the next turn")] = None,
    tokenizer: Annotated[Path | None, typer.Option(help="a folder with tokenizer.json")] = None,
    ramp_seconds: Annotated[float, typer.Option(min=0, help="outside the window of a timed load")] = 0.0,
    timeout_seconds: Annotated[float, typer.Option(min=0.001, help="of each request")] = 120.0,
    processes: Annotated[int | None, typer.Option(min=1, help="of the client; default: as the load needs")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    slo: Annotated[list[str] | None, typer.Option(help="such as ttft:p95<300ms; may be repeated")] = None,
    api_key_env: Annotated[str, typer.Option(help="the environment variable that holds the API key")] = "",
    fresh_connections: Annotated[bool, typer.Option("--fresh-connections", help="one for each request")] = False,
    out: Annotated[Path | None, typer.Option(help="keeps requests.parquet and trial.json here")] = None,
    import_file: Annotated[Path | None, typer.Option("--import", help="a file of GuideLLM or vllm bench serve")] = None,
    fail_if_invalid: Annotated[bool, typer.Option("--fail-if-invalid", help="then exit with 4")] = False,
    as_json: Json = False,
) -> None:
    """Loads a server that is already there, and reports what it did. Exit code 3: it cannot be reached."""
    from flows import cli_load

    if import_file is not None:
        _refuse_beside_import(context)
        return _import(import_file, slo or [], out, as_json=as_json, fail_if_invalid=fail_if_invalid)
    url, model = cli_load.server_and_model(url, model)
    from tasks.loadgen.plan import Endpoint, TrialPlan
    from tasks.reporting.trial_table import trial_table

    how = cli_load.checked(cli_load.load_of, concurrency=concurrency, rate=rate, arrivals=arrivals, trace=trace)
    stop = cli_load.checked(cli_load.stop_of, load=how, requests=requests, seconds=seconds, ramp_seconds=ramp_seconds)
    content = cli_load.Content(
        dataset=dataset,
        english=english,
        shared_prefix=shared_prefix,
        system_prompt=system_prompt,
        cache=cache.value if cache is not None else None,
        hot_prompts=hot_prompts,
        json_schema=json_schema,
        conversation=cli_load.conversation_of(how, turns, think_seconds),
    )
    plan = TrialPlan(
        endpoint=Endpoint(cli_load.server_root(url), model, cli_load.api_key_variable(api_key_env)),
        dialect=cli_load.GREEDY,
        workload=cli_load.workload_of(how, endpoint.value, prompt_tokens, output_tokens, content),
        load=how,
        stop=stop,
        seed=seed,
        timeout_s=timeout_seconds,
        processes=processes,
        fresh_connections=fresh_connections,
        tokenizer=tokenizer,
    )
    slos, folder = cli_load.slos_of(slo or []), cli_load.folder_for(out)
    with _logs_shown(), cli_load.told_if_stopped(folder, _print_json if as_json else None):
        result = cli_load.measure(cli_load.point_of(how, stop), plan, slos, folder)
    from tasks.analysis.trial_json import trial_json

    if as_json:
        _print_json(trial_json(result.summary))
    else:
        _console().print(trial_table(result.summary))
    if fail_if_invalid and not result.summary.valid:
        raise typer.Exit(EXIT_MEASUREMENT)


def _refuse_beside_import(context: typer.Context) -> None:
    """A file was measured already: what would shape a measurement is refused, not ignored."""
    from experiments.errors import InputError

    kept = {"import_file", "slo", "out", "fail_if_invalid", "as_json"}
    names = [name for name in context.params if name not in kept]
    given = [name for name in names if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"]
    if given:
        words = ["URL" if name == "url" else f"--{name.replace('_', '-')}" for name in given]
        raise InputError(f"--import reads a file that was measured already: leave {', '.join(words)} out")


def _import(file: Path, slos: list[str], out: Path | None, *, as_json: bool, fail_if_invalid: bool) -> None:
    from flows.cli_load import slos_of
    from tasks.import_trial import import_file, import_json
    from tasks.reporting.trial_table import trial_table

    results = import_file(file, slos_of(slos), out)
    if as_json:
        _print_json(import_json(results))
    for result in [] if as_json else results:
        _console().print(trial_table(result.summary))
        for unknown in result.unknown:
            _note(f"unknown: {unknown}")
    if fail_if_invalid and not all(result.summary.valid for result in results):
        raise typer.Exit(EXIT_MEASUREMENT)


@app.command()
def doctor(
    file: Annotated[Path | None, typer.Argument(help="an experiment, to compare with what it needs")] = None,
    seconds: Annotated[float, typer.Option(min=0.5, help="of each load")] = 2.0,
    as_json: Json = False,
) -> None:
    """Shows what the instrument can offer on this machine: streams, events/s, lateness, the error of its stamps."""
    from flows.diagnosis import diagnose
    from tasks.reporting.doctor_table import doctor_table

    experiment = _read(file) if file else None
    _note(f"loading a null server on loopback, {seconds:g} s a load")
    body = diagnose(experiment, seconds=seconds)
    if as_json:
        _print_json(body)
    else:
        _console().print(doctor_table(body))


app.command()(bounds)
app.command()(cost)


def _run(file: Path, *, force: bool, retry: Literal["", "what may pass", "all"], as_json: bool, pool: str = "") -> None:
    from flows.invocation import invoke, invoke_in_pool

    experiment, printer = _read(file), _result_printer(as_json)
    with _logs_shown():
        if pool:
            status = invoke_in_pool(experiment, pool, force=force, retry=retry, print_result=printer)
        else:
            status = invoke(experiment, force=force, retry=retry, print_result=printer)
    raise typer.Exit(status)


def _result_printer(as_json: bool) -> Any:
    """Prints the end of a run: a table and where things are, or one JSON document."""

    def show(body: dict[str, Any], table: object) -> None:
        if as_json:
            _print_json(body)
            return
        _console().print(table)
        for label, value in body["where"].items():
            print(f"{label:<12}{value}")

    return show


@app.command()
def sync(as_json: Json = False) -> None:
    """Tells MLflow of the results that it does not know yet, after it was out of reach."""
    from flows.local_api import quiet_environment
    from tasks.campaigns.home import open_home

    home = open_home()
    quiet_environment(home)
    from tasks.publish import sync as publish_all

    with _logs_shown():
        published = publish_all(home)
    if as_json:
        _print_json({"published": published, "tracking_uri": home.shown_tracking_uri})
    else:
        print(f"{published} results published to {home.shown_tracking_uri}")


@app.command()
def command(
    cell: Annotated[str, typer.Argument(help="a cell's id, or the first letters of it", metavar="CELL")],
    as_json: Json = False,
) -> None:
    """Prints the exact command that launches the server of a cell, to paste."""
    from flows.launch_command import as_line, launch_command

    found = launch_command(cell)
    if as_json:
        _print_json(found)
        return
    for note in found["notes"]:
        _note(f"# {note}")
    print(as_line(found))


app.command()(cli_profile.profile)


app.command()(export)


@app.command()
def engines(
    diff: Annotated[
        tuple[str, str, str] | None,
        typer.Option(metavar="ENGINE OLD NEW", help="what differs between the options of two releases"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Lists the engines that can be measured, how each runs, and its profiles; --diff: what changed on one's command
    line."""
    from flows import cli_engines
    from tasks.reporting.engines_table import engines_table
    from tasks.reporting.plan_table import rows_table

    if diff is None:
        rows = cli_engines.engine_rows()
        _print_json({"engines": rows}) if as_json else _console().print(engines_table(rows))
        return
    found = cli_engines.release_difference(*diff)
    if as_json:
        _print_json(found)
        return
    rows = cli_engines.change_rows(found)
    print(f"{found['engine']} {found['old']} → {found['new']}: {len(rows)} changes, {len(found['used'])} of them ours")
    if rows:
        _console().print(rows_table(rows))


app.command()(images)


@app.command()
def ui(
    mlflow_port: Annotated[int, typer.Option(help="0: any free port")] = 0,
    prefect_port: Annotated[int, typer.Option(help="0: any free port")] = 0,
    as_json: Json = False,
) -> None:
    """Opens the MLflow and Prefect UIs over this store on loopback; Ctrl-C ends both."""
    from flows.user_interfaces import serve_user_interfaces

    def show(addresses: dict[str, str], runs: dict[str, str]) -> None:
        if as_json:
            _print_json(addresses | {"runs": runs})
        else:
            for name, address in [*addresses.items(), *((f"runs of {name}", page) for name, page in runs.items())]:
                print(f"{name:<10}  {address}")
        sys.stdout.flush()
        _note("Ctrl-C ends both.")

    serve_user_interfaces(mlflow_port, prefect_port, show, _note)


app.command()(deploy)
app.command()(watch)
app.command()(worker)
app.add_typer(stack_app)
app.add_typer(store_app)


if __name__ == "__main__":
    main()
