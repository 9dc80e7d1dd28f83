"""`dyno export`: the command."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from experiments.errors import InputError
from flows.terminal import note


class Formats(StrEnum):
    """Whose file is written."""

    cells = "cells"
    guidellm = "guidellm"
    vllm = "vllm"
    benchmark_report = "benchmark-report"
    inferencex = "inferencex"


def export(
    what: Annotated[
        str | None, typer.Argument(help="a cell's id, the first letters of it, or a folder", metavar="[CELL|DIR]")
    ] = None,
    form: Annotated[Formats | None, typer.Option("--format", help="whose file to write")] = None,
    cells: Annotated[
        Path | None, typer.Option(metavar="DIR", help="writes all of the store there, in every form")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="the file; without it, stdout. With cells: the folder")] = None,
) -> None:
    """Writes what was measured for other tools.

    --cells DIR (or --format cells --out DIR): cells.parquet, a CSV file a table, dyno.sqlite and metadata.json for
    Datasette, a Benchmark Report 0.2 a trial, and rows as InferenceX has them; of the whole store.
    --format guidellm or vllm: measured trials as that tool's report; without a CELL or a DIR, those of the latest
    campaign of the store's only experiment. --format benchmark-report or inferencex: those of one cell, or of all."""
    from flows import cli_export

    folder = _cells_folder(what, form, cells, out)
    if folder is not None:
        note(f"{folder}: {len(cli_export.write_everything(folder))} files")
    elif form in (Formats.guidellm, Formats.vllm):
        trials = cli_export.trials_of(what)
        _deliver(out, cli_export.export_text(form is Formats.guidellm, trials), len(trials))
    else:
        body, count = cli_export.cells_text(form is Formats.benchmark_report, what)
        _deliver(out, body, count)


def _cells_folder(what: str | None, form: Formats | None, cells: Path | None, out: Path | None) -> Path | None:
    """Where all of the store goes; None where one tool's file is asked for."""
    if form in (None, Formats.cells) and cells is None and out is None:
        raise InputError("say what to write: --cells DIR for all of the store, or --format with one tool's name")
    if form is None and cells is None:
        raise InputError("--out needs --format: say whose file to write")
    if form not in (None, Formats.cells) and cells is not None:
        raise InputError(f"--cells writes every form, --format {form} one: leave one of them out")
    if cells is not None and out is not None:
        raise InputError("--cells names the folder already: leave --out out")
    folder = cells or (out if form is Formats.cells else None)
    if folder is not None and what is not None:
        raise InputError(f"--cells writes the whole store: leave {what} out")
    if folder is not None and folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: give a folder")
    return folder


def _deliver(out: Path | None, body: str, trials: int) -> None:
    from flows.cli_export import write_text

    if out is None:
        sys.stdout.write(body)
        return
    write_text(out, body)
    note(f"{out}: {trials} trial{'s' if trials > 1 else ''}")
