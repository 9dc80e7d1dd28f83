"""`dyno report`: everything that was measured, as one page that answers questions."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.terminal import Json, note, print_json, show

if TYPE_CHECKING:
    from experiments.schema.comparison import ComparisonResult
    from experiments.schema.result import CellResult
    from tasks.reporting.almanac.document import Offer


def report(
    out: Annotated[Path, typer.Option(help="the page to write")] = Path("almanac.html"),
    as_text: Annotated[bool, typer.Option("--text", help="tables for the terminal; writes nothing")] = False,
    as_json: Json = False,
) -> None:
    """Writes almanac.html: one file, which opens from disk and asks no network, with all that was measured in it; and
    beside it the executive summary, summary.html and summary.md.

    The page answers which engine, precision and hardware keep a latency limit, at which rate and cost. --text prints
    tables instead: the best of each workload, capacities, grades, failures, comparisons. --json prints the page's data
    (with --text: the tables'), and writes nothing.
    """
    from flows.launch_command import measured_command
    from tasks.reporting.almanac.document import almanac_document

    cells, comparisons = _measured()
    if as_text:
        return _show_text(cells, comparisons, as_json=as_json)
    document = almanac_document(
        cells,
        comparisons,
        offer(),
        commands={cell.cell_id: measured_command(cell) for cell in cells},
        written_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if as_json:
        print_json(document)
    else:
        _write(out, document, cells, comparisons)


def _measured() -> "tuple[list[CellResult], list[ComparisonResult]]":
    """Everything in the store, from old to new. Raises InputError where there is nothing."""
    from experiments.errors import InputError
    from tasks.campaigns.campaign import all_results
    from tasks.campaigns.comparison import all_comparisons
    from tasks.campaigns.home import open_home

    home = open_home()
    cells = list(all_results(home.campaigns))
    if not cells:
        raise InputError(
            f"the store {home.root} holds no results yet: `dyno run experiments/quickstart.yaml` makes some"
        )
    return cells, all_comparisons(home.comparisons)


def _show_text(cells: "Sequence[CellResult]", comparisons: "Sequence[ComparisonResult]", *, as_json: bool) -> None:
    from tasks.reporting.overview import overview
    from tasks.reporting.text_report import text_report

    body = overview(cells, comparisons)
    show(as_json, body, text_report(body))


def _write(
    out: Path,
    document: dict[str, object],
    cells: "Sequence[CellResult]",
    comparisons: "Sequence[ComparisonResult]",
) -> None:
    from experiments.errors import InputError
    from tasks.reporting.almanac.page import write_almanac
    from tasks.reporting.summary_page import write_summary

    try:
        write_almanac(out, document, cells)
        write_summary(out, cells, comparisons)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written: {error.strerror}") from error
    note(f"{out}: {len({cell.cell_id for cell in cells})} cells, {out.stat().st_size / 1e6:.1f} MB")


def offer() -> "Offer":
    """What could be asked here: the catalog's models, hardware and workloads, and engines at the newest release whose
    options are on file."""
    from engine_adapters import ADAPTERS
    from experiments.schema.read import catalog
    from tasks.flags.table import known_versions
    from tasks.reporting.almanac.document import Offer

    lengths = {name: (entry["prompt_tokens"], entry["output_tokens"]) for name, entry in catalog("workloads").items()}
    return Offer(
        models=sorted(catalog("models")),
        hardware={name: entry["gpus"] for name, entry in catalog("hardware").items()},
        engines={name: found[-1] for name in ADAPTERS if (found := known_versions(name))},
        workloads={name: both for name, both in lengths.items() if all(isinstance(length, int) for length in both)},
    )
