"""`dyno stack up | status | down`: the whole stack of a team on this machine."""

from typing import Annotated

import typer

from experiments.errors import EXIT_OK, EXIT_SETUP
from flows.terminal import Json, console, logs_shown, note, print_json

stack_app = typer.Typer(
    name="stack",
    help="Prefect on PostgreSQL and Redis, MLflow on PostgreSQL, and two workers as two hosts, on this machine.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@stack_app.command()
def up(
    foreground: Annotated[bool, typer.Option("--foreground", help="stay until Ctrl-C ends it")] = False,
    prefect_port: Annotated[int, typer.Option(help="0: the one of last time, or any free one")] = 0,
    mlflow_port: Annotated[int, typer.Option(help="0: the one of last time, or any free one")] = 0,
    workers: Annotated[bool, typer.Option(help="two measuring hosts and a control host")] = True,
    register: Annotated[bool, typer.Option(help="pools, deployments and automations, as dyno deploy")] = True,
    as_json: Json = False,
) -> None:
    """Starts the stack, on loopback only and with passwords of its own; returns when all of it is well."""
    from flows.stack import run_stack, stack_status, start_in_background
    from tasks.campaigns.home import open_home

    home = open_home().make()
    if foreground:
        with logs_shown():
            run_stack(home, prefect_port=prefect_port, mlflow_port=mlflow_port, workers=workers, register=register)
        return
    options = ["--prefect-port", str(prefect_port), "--mlflow-port", str(mlflow_port)]
    options += ["--workers" if workers else "--no-workers", "--register" if register else "--no-register"]
    start_in_background(home, options, note)
    body = stack_status(home)
    if as_json:
        print_json(body)
        return
    for name, about in (("Prefect", "prefect"), ("MLflow", "mlflow"), ("passwords", "passwords_file")):
        print(f"{name:<10}  {body[about]}")
    print(f"to use it   set -a; . {body['client_file']}; set +a")
    print("to end it   dyno stack down")


@stack_app.command()
def status(as_json: Json = False) -> None:
    """Whether each service is well now. Exit code 3 where one is not, or nothing runs."""
    from flows.stack import stack_status
    from tasks.campaigns.home import open_home
    from tasks.reporting.plan_table import rows_table

    body = stack_status(open_home())
    if as_json:
        print_json(body)
    elif body["state"] == "down":
        note("no stack runs in this store: dyno stack up")
    else:
        console().print(rows_table([{k: str(v) for k, v in one.items() if k != "log"} for one in body["services"]]))
        print(f"{body['state']}: Prefect {body['prefect']}, MLflow {body['mlflow']}")
    raise typer.Exit(EXIT_OK if body["state"] == "up" else EXIT_SETUP)


@stack_app.command()
def down(as_json: Json = False) -> None:
    """Ends it. Databases and stores stay, and the next `up` goes on with them."""
    from flows.stack import stop_stack
    from tasks.campaigns.home import open_home

    was_up = stop_stack(open_home())
    if as_json:
        print_json({"was_up": was_up})
    else:
        note("ended; what it holds is kept" if was_up else "no stack runs in this store")
