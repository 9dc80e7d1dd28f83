"""Who stands where: cells that answer the same question (one model on one machine, one workload), ranked by rules."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isclose

from experiments.schema.load import OpenLoop
from experiments.schema.result import BetweenLaunches, Capacity, CellResult, PointResult
from tasks.reporting.headlines import LEVEL, WEAK_GRADES
from tasks.reporting.wording import cell_names

SPEED = "saturation_rps"


@dataclass(frozen=True, slots=True)
class Question:
    """What cells have in common where they may be compared."""

    model: str
    hardware: str
    workload: str


@dataclass(frozen=True, slots=True)
class Standing:
    """The cells of a question, those with a ceiling from fast to slow. `names` is by variant id."""

    question: Question
    ranked: tuple[CellResult, ...]
    others: tuple[CellResult, ...]
    names: dict[str, str]

    @property
    def best(self) -> CellResult | None:
        """The fastest of those that carry; of those that do not where none does."""
        return self.ranked[0] if self.ranked else None

    @property
    def level(self) -> tuple[CellResult, ...]:
        """Those that cannot be told apart from the best."""
        return tuple(cell for cell in self.ranked[1:] if not is_apart(self.ranked[0], cell))

    @property
    def runner_up(self) -> CellResult | None:
        """The fastest of those that are certainly slower."""
        return next((cell for cell in self.ranked[1:] if is_apart(self.ranked[0], cell)), None)

    def name(self, cell: CellResult) -> str:
        """Of its variant, within the question."""
        return self.names[cell.variant.id]


def latest(cells: Iterable[CellResult]) -> list[CellResult]:
    """Of each cell what its latest campaign came to; `cells` from old to new."""
    return list({cell.cell_id: cell for cell in cells}.values())


def standings(cells: Iterable[CellResult]) -> list[Standing]:
    """In the order of their names."""
    asked: dict[Question, list[CellResult]] = {}
    for cell in latest(cells):
        question = Question(cell.variant.model.name, cell.variant.hardware, cell.workload.name)
        asked.setdefault(question, []).append(cell)
    ordered = sorted(asked, key=lambda one: (one.model, one.hardware, one.workload))
    return [_standing(question, asked[question]) for question in ordered]


def _standing(question: Question, cells: Sequence[CellResult]) -> Standing:
    ranked = [cell for cell in cells if SPEED in cell.headlines]
    ranked.sort(key=lambda cell: (not carries(cell), -cell.headlines[SPEED]))
    others = tuple(cell for cell in cells if SPEED not in cell.headlines)
    return Standing(question, tuple(ranked), others, cell_names(cells))


def carries(cell: CellResult) -> bool:
    """Whether its headlines rest on valid points."""
    return cell.grade is not None and cell.grade not in WEAK_GRADES


def is_apart(faster: CellResult, slower: CellResult) -> bool:
    """By the intervals between launches where both have one; else by more than 3 %, which one launch does not tell."""
    over, under = interval(faster, SPEED), interval(slower, SPEED)
    if over is not None and under is not None:
        return over[0] > under[1]
    return faster.headlines[SPEED] > LEVEL * slower.headlines[SPEED]


def interval(cell: CellResult, headline: str) -> tuple[float, float] | None:
    """The 95 % interval of a headline between launches."""
    told = cell.between_launches.get(headline, BetweenLaunches(launches=0, mean=0.0))
    return None if told.low is None or told.high is None else (told.low, told.high)


def launches_of(cell: CellResult) -> int:
    """Ways through the load plan."""
    return max(1, len(cell.launches))


def by_capacity(standing: Standing, slo: str) -> list[tuple[CellResult, Capacity]]:
    """From the highest certified rate down; what is unknown or refuted last."""
    found = [(cell, told) for cell in standing.ranked for told in cell.capacities if told.slo == slo]
    return sorted(found, key=lambda pair: (pair[1].certified_rps is None, -(pair[1].certified_rps or 0.0)))


def objectives(standing: Standing) -> list[str]:
    """The SLOs that were asked of its cells."""
    return list(dict.fromkeys(told.slo for cell in standing.ranked for told in cell.capacities))


def witnesses(cell: CellResult, told: Capacity) -> int | None:
    """How many requests were seen at the certified rate, of every launch at its own; None where none is certified."""
    each = [one for launch in cell.launches for one in launch.capacities if one.slo == told.slo] or [told]
    rates = [one.certified_rps for one in each if one.certified_rps is not None]
    at_rate = [point.summary for point in cell.points if point.summary.valid and any(_is_at(point, r) for r in rates)]
    return sum(seen.n for one in at_rate for seen in one.slos if seen.slo == told.slo) or None


def _is_at(point: PointResult, rate_rps: float) -> bool:
    """A capacity is the rate that was asked for, or what was achieved where that was less."""
    load = point.point.load
    if not isinstance(load, OpenLoop):
        return False
    known = [rate for rate in (load.rate_rps, point.summary.achieved_rps) if rate is not None]
    return any(isclose(rate, rate_rps, rel_tol=1e-9) for rate in known)
