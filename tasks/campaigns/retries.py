"""How often each cell of a campaign was retried by itself, and when it may be again."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from experiments.schema.requests import RetryRequest
from experiments.schema.result import CellResult, CellState
from tasks.campaigns.campaign import Campaign, is_retried

FILE = "retries.json"


@dataclass(frozen=True, slots=True)
class Retried:
    """A cell that is not whole: retried `retries` times until now, and due at that time; why not, where it never is."""

    cell_id: str
    retries: int
    due_at: datetime | None
    reason: str = ""

    def is_due(self, now: datetime) -> bool:
        """Whether it is to be measured now."""
        return self.due_at is not None and self.due_at <= now


def looked_over(results: Iterable[CellResult], retries: Mapping[str, int], request: RetryRequest) -> list[Retried]:
    """Each cell that failed, is invalid or was interrupted; `retries` counts by cell what was tried before."""
    unwhole = (CellState.FAILED, CellState.INVALID, CellState.INTERRUPTED)
    return [_looked_at(one, retries.get(one.cell_id, 0), request) for one in results if one.state in unwhole]


def _looked_at(result: CellResult, retries: int, request: RetryRequest) -> Retried:
    if not is_retried(result, "what may pass"):
        return Retried(result.cell_id, retries, None, f"{result.failure_class}: another launch would fail likewise")
    if retries >= request.max_retries:
        return Retried(result.cell_id, retries, None, f"it was retried {retries} times, as often as is allowed")
    ended = datetime.fromisoformat(result.ended_at)
    delay = timedelta(hours=0 if request.now else request.first_delay_hours * request.growth**retries)
    return Retried(result.cell_id, retries, ended + delay)


def read_retries(campaign: Campaign) -> dict[str, int]:
    """By cell; empty where nothing was retried."""
    try:
        return {str(cell): int(count) for cell, count in json.loads((campaign.folder / FILE).read_text()).items()}
    except FileNotFoundError:
        return {}


def count_retries(campaign: Campaign, cells: Iterable[str]) -> None:
    """Counted before they are made: a worker that dies of a retry must not try for ever."""
    counts = read_retries(campaign)
    body = counts | {cell: counts.get(cell, 0) + 1 for cell in cells}
    aside = campaign.folder / f"{FILE}.partial"
    aside.write_text(json.dumps(body, indent=1), encoding="utf-8")
    aside.rename(campaign.folder / FILE)
