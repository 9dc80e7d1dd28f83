"""What `dyno export` writes: what was measured, in the files of other tools."""

from collections.abc import Sequence
from pathlib import Path

from experiments.errors import InputError
from experiments.schema.result import CellResult
from tasks.campaigns.campaign import Campaign, all_results
from tasks.campaigns.home import Home, open_home
from tasks.interchange.measured import Measured, read_all
from tasks.interchange.write_guidellm import guidellm_text
from tasks.interchange.write_vllm import vllm_text


def export_text(is_guidellm: bool, trials: Sequence[Measured]) -> str:
    """A report with a benchmark a trial for GuideLLM; for vLLM an object a trial, on a line each."""
    return guidellm_text(trials) if is_guidellm else vllm_text(trials)


def trials_of(what: str | None) -> list[Measured]:
    """Of a folder, of the cell of the store whose id begins with `what`, or of the store's only experiment."""
    if what is None:
        return read_all(_only_campaign(open_home()))
    if what and Path(what).is_dir():
        return read_all(Path(what))
    return read_all(_cell_folder(open_home(), what))


def _only_campaign(home: Home) -> Path:
    experiments = sorted(path for path in home.campaigns.glob("*") if path.is_dir())
    if len(experiments) != 1:
        there = ", ".join(path.name for path in experiments) or "nothing"
        raise InputError(f"give a cell's id or a folder: the store {home.root} holds {there}")
    numbers = [path for path in experiments[0].iterdir() if path.name.isdigit()]
    if not numbers:
        raise InputError(f"{experiments[0]}: there is no campaign in it")
    return max(numbers, key=lambda path: int(path.name))


def _cell_folder(home: Home, prefix: str) -> Path:
    """The last launch of the cell in its latest campaign."""
    result = _cell(home, prefix)
    if not result.points:
        raise InputError(
            f"cell {result.cell_id} has no measured point: it is {result.state.value}. {result.cause}".rstrip()
        )
    campaign = Campaign(result.experiment, home.campaigns / result.experiment / result.campaign.rpartition("-")[2])
    return campaign.launch_folder(result.cell_id, result.launch)


def _cell(home: Home, prefix: str) -> CellResult:
    """Of its latest campaign."""
    found = {result.cell_id: result for result in all_results(home.campaigns)}
    matches = sorted(name for name in found if prefix and name.startswith(prefix))
    if len(matches) != 1:
        what = f"begins the ids of {len(matches)} cells: {', '.join(matches[:8])}" if matches else "is no folder, and"
        raise InputError(
            f"{prefix!r} {what}" + ("" if matches else f" no cell of the store {home.root} begins with it")
        )
    return found[matches[0]]


def write_text(path: Path, text: str) -> None:
    """Written aside and renamed. Raises InputError where it cannot be."""
    aside = path.with_name(path.name + ".partial")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.rename(path)
    except OSError as error:
        raise InputError(f"--out {path}: cannot be written: {error.strerror}") from error


def write_everything(folder: Path) -> list[Path]:
    """All that the store holds: cells.parquet, CSV, dyno.sqlite with its metadata.json, a Benchmark Report a trial, and
    rows as InferenceX has them. Raises InputError where nothing was measured or the folder cannot be written."""
    from tasks.interchange.write_benchmark_report import benchmark_reports
    from tasks.interchange.write_inferencex import inferencex_text
    from tasks.interchange.write_tables import write_tables

    cells = everything_measured()
    try:
        written = write_tables(folder, cells)
        reports = folder / "benchmark-reports"
        reports.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}") from error
    texts = {reports / name: report for name, report in benchmark_reports(cells).items()}
    for path, body in (texts | {folder / "inferencex.json": inferencex_text(cells)}).items():
        write_text(path, body)
        written.append(path)
    return written


def everything_measured() -> list[CellResult]:
    """Every result of the store, campaigns from old to new. Raises InputError where there is none."""
    home = open_home()
    cells = list(all_results(home.campaigns))
    if not cells:
        raise InputError(f"the store {home.root} holds no result yet: dyno run FILE measures one")
    return cells


def cells_text(is_report: bool, what: str | None) -> tuple[str, int]:
    """Benchmark Reports, a YAML document a trial, or rows of InferenceX: of the cell whose id begins with `what`, or of
    every cell. With the number of what was written."""
    from tasks.interchange.write_benchmark_report import benchmark_reports
    from tasks.interchange.write_inferencex import inferencex_rows, inferencex_text

    cells = everything_measured() if what is None else [_cell(open_home(), what)]
    if is_report:
        reports = benchmark_reports(cells)
        return "---\n".join(reports.values()), len(reports)
    return inferencex_text(cells), len(inferencex_rows(cells))
