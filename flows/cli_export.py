"""`dyno export`: what was measured, in the files of other tools."""

from collections.abc import Sequence
from pathlib import Path

from experiments.errors import InputError
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
    found = {result.cell_id: result for result in all_results(home.campaigns)}
    matches = sorted(name for name in found if prefix and name.startswith(prefix))
    if len(matches) != 1:
        what = f"begins the ids of {len(matches)} cells: {', '.join(matches[:8])}" if matches else "is no folder, and"
        raise InputError(
            f"{prefix!r} {what}" + ("" if matches else f" no cell of the store {home.root} begins with it")
        )
    result = found[matches[0]]
    if not result.points:
        raise InputError(
            f"cell {matches[0]} has no measured point: it is {result.state.value}. {result.cause}".rstrip()
        )
    campaign = Campaign(result.experiment, home.campaigns / result.experiment / result.campaign.rpartition("-")[2])
    return campaign.launch_folder(result.cell_id, result.launch)


def write_text(path: Path, text: str) -> None:
    """Written aside and renamed. Raises InputError where it cannot be."""
    aside = path.with_name(path.name + ".partial")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.rename(path)
    except OSError as error:
        raise InputError(f"--out {path}: cannot be written: {error.strerror}") from error
