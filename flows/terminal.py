"""What every command does with the terminal: JSON and tables on stdout, logs and notes on stderr."""

import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, RenderableType

if TYPE_CHECKING:
    from experiments.schema.experiment import Experiment

File = Annotated[Path, typer.Argument(help="an experiment file", metavar="FILE")]
Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout; progress and logs on stderr")]


def print_json(body: object) -> None:
    """The one document of a command that was asked for JSON."""
    print(json.dumps(body, indent=1, ensure_ascii=False))


def show(as_json: bool, body: object, table: RenderableType) -> None:
    """The document, or the table."""
    if as_json:
        print_json(body)
    else:
        console().print(table)


def note(text: str) -> None:
    """For people; never part of what a program reads."""
    print(text, file=sys.stderr, flush=True)


def console() -> Console:
    """Of a terminal's own width; 100 columns where the output goes elsewhere."""
    return Console(width=None if sys.stdout.isatty() else 100, highlight=False)


def read_file(file: Path) -> "Experiment":
    """The experiment of a file. Raises InputError with all its problems."""
    from engine_adapters import ADAPTERS
    from experiments.schema.read import read_experiment
    from tasks.campaigns.planning import check_lines

    experiment = read_experiment(file, ADAPTERS)
    check_lines(experiment, str(file))
    return as_stand_ins(experiment, str(file))


def as_stand_ins(experiment: "Experiment", file: str) -> "Experiment":
    """With every variant marked where DYNO_STAND_INS names what runs in the engines' place; as it is elsewhere. Raises
    InputError where a person wrote the mark."""
    from experiments.errors import InputError, Problem
    from tasks.campaigns.home import stand_ins

    for index, line in enumerate(experiment.variants):
        if any(variant.stand_in for variant in line):
            what = "is not written: what runs in the place of engines is named by DYNO_STAND_INS"
            raise InputError(problems=(Problem(file, f"variants[{index}].stand_in", what),))
    if stand_ins() is None:
        return experiment
    marked = tuple(tuple(v.model_copy(update={"stand_in": True}) for v in line) for line in experiment.variants)
    return experiment.model_copy(update={"variants": marked})


@contextlib.contextmanager
def logs_shown() -> Iterator[None]:
    """What dyno's loggers say goes to stderr while the block runs."""
    from tasks.reporting.console import ConsoleHandler

    handler = ConsoleHandler(Console(stderr=True, highlight=False))
    logger = logging.getLogger("dyno")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        handler.clear()
        logger.removeHandler(handler)
