"""A cell's points become its headlines, its capacities and its grade."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from experiments.schema.load import ArrivalProcess, ClosedLoop, LoadPlan
from experiments.schema.result import (
    BetweenLaunches,
    Capacity,
    CellResult,
    CellState,
    Derating,
    LaunchSummary,
    PointResult,
)
from experiments.schema.slo import SLO
from tasks.analysis.between import between, capacity_between
from tasks.analysis.capacity import capacity, is_under, looks_at, planned_looks
from tasks.analysis.derating import deratings
from tasks.analysis.rounds import launches_of, rounds_of
from tasks.analysis.sweep import concurrency_of, is_past_peak, saturation_point

Grade = Literal["A", "B", "C", "D", "E", "F"]


@dataclass(frozen=True, slots=True)
class CellSummary:
    """What CellResult takes over field by field. `reasons` explain the state and the grade."""

    state: CellState
    grade: Grade
    reasons: tuple[str, ...]
    headlines: dict[str, float] = field(default_factory=dict)
    headline_reasons: dict[str, str] = field(default_factory=dict)
    capacities: tuple[Capacity, ...] = ()
    deratings: tuple[Derating, ...] = ()
    launches: tuple[LaunchSummary, ...] = ()
    between_launches: dict[str, BetweenLaunches] = field(default_factory=dict)


def summarize_cell(points: Sequence[PointResult], *, slos: Sequence[SLO], plan: LoadPlan) -> CellSummary:
    """The headlines rest on valid points only. Of several rounds they are means, and the grade is that of the worst.

    A  every point is valid, and for every SLO a rate is certified or refuted
    B  every point is valid; an SLO is unknown, throughput still grew at the highest concurrency, fewer launches were
       measured than asked for, or a way through the plan is pieced together from several
    C  a point is invalid, none of those the headlines rest on
    D  a point that the headlines rest on is invalid or absent: the synchronous one, or every one beyond it
    E  half of the points or more are invalid
    F  no point is valid: the cell is invalid
    """
    rounds = [_summarize_round(one, slos, plan) for one in rounds_of(points)] or [_summarize_round((), slos, plan)]
    missing = plan.launches - len(rounds)
    short = (f"{len(rounds)} of {plan.launches} launches were measured",) if points and missing > 0 else ()
    grade = max(one.grade for one in rounds)
    together = rounds[0] if len(rounds) == 1 else _together(rounds, slos)
    return replace(
        together,
        state=CellState.INVALID if grade == "F" else CellState.MEASURED,
        grade=max(grade, "B") if short else grade,
        reasons=(*short, *together.reasons),
        launches=tuple(launch for one in rounds for launch in one.launches),
    )


def _summarize_round(points: Sequence[PointResult], slos: Sequence[SLO], plan: LoadPlan) -> CellSummary:
    capacities = tuple(round_capacity(slo, points, plan, len(slos)) for slo in slos) if searches(plan) else ()
    derated = deratings(points, slos, plan)
    headlines, why_absent = _headlines(points, capacities, derated)
    grade, reasons = _grade(points, capacities, plan)
    pieced = _pieced_together(points)
    return CellSummary(
        state=CellState.INVALID if grade == "F" else CellState.MEASURED,
        grade=max(grade, "B") if pieced else grade,
        reasons=(*reasons, *pieced),
        headlines=headlines,
        headline_reasons=why_absent,
        capacities=capacities,
        deratings=derated,
        launches=(LaunchSummary(launches=launches_of(points), headlines=headlines, capacities=capacities),),
    )


def searches(plan: LoadPlan) -> bool:
    """Whether rates are offered at all: a ladder or a ramp says nothing of capacities."""
    return plan.ladder is None and plan.ramp is None


def round_capacity(
    slo: SLO, points: Sequence[PointResult], plan: LoadPlan, slos: int, arrivals: ArrivalProcess | None = None
) -> Capacity:
    """Of one launch, since looks of two are never pooled: of the last that searched for it, else of the one that looked
    most often. How fast the server is may be known from the others."""
    process = arrivals or plan.open_loop.arrivals[0]
    looks = {launch: looks_at(slo, [p for p in points if p.launch == launch]) for launch in launches_of(points)}
    searched = [p.launch for p in points if p.point.slo == str(slo) and is_under(p, process)]
    chosen = searched[-1] if searched else max(looks, key=lambda launch: len(looks[launch]), default=0)
    own = [point for point in points if point.launch == chosen]
    return capacity(slo, own, looks=planned_looks(plan, slos), arrivals=process, known=points)


def _together(rounds: Sequence[CellSummary], slos: Sequence[SLO]) -> CellSummary:
    """Means and intervals between the rounds. A headline that one of them lacks is absent: the mean of the others would
    be the mean of the lucky ones."""
    names = dict.fromkeys(name for one in rounds for name in (*one.headlines, *one.headline_reasons))
    values = {name: [one.headlines[name] for one in rounds if name in one.headlines] for name in names}
    found = {name: between(known) for name, known in values.items() if len(known) == len(rounds)}
    absent = {
        name: next(
            f"launch {_numbers(one)}: {one.headline_reasons[name]}" for one in rounds if name not in one.headlines
        )
        for name in names
        if name not in found
    }
    capacities = tuple(
        capacity_between([one.capacities[i] for one in rounds]) for i in range(len(rounds[0].capacities))
    )
    certified = {f"capacity_rps/{c.name}": c for c in capacities}
    headlines = {name: figure.mean for name, figure in found.items() if name not in certified}
    headlines |= {name: c.certified_rps for name, c in certified.items() if c.certified_rps is not None}
    absent |= {name: f"{c.verdict}: {c.reason}" for name, c in certified.items() if c.certified_rps is None}
    return replace(
        rounds[0],
        reasons=tuple(dict.fromkeys(f"launch {_numbers(one)}: {reason}" for one in rounds for reason in one.reasons)),
        headlines=headlines,
        headline_reasons={name: reason for name, reason in absent.items() if name not in headlines},
        capacities=capacities,
        between_launches=found,
    )


def _numbers(one: CellSummary) -> str:
    return " and ".join(str(launch) for launch in one.launches[0].launches)


def judge_cell(measured: CellResult, slos: Sequence[SLO], plan: LoadPlan) -> CellResult:
    """The result with its headlines, capacities and grade. A cell that failed on the way keeps its state and has no
    grade; what its points show is shown."""
    found = summarize_cell(measured.points, slos=slos, plan=plan)
    shown = {name: getattr(found, name) for name in SHOWN}
    if measured.state is CellState.MEASURED:
        shown |= {"state": found.state, "grade": found.grade, "reasons": found.reasons}
    return measured.model_copy(update=shown)


SHOWN = ("headlines", "headline_reasons", "capacities", "deratings", "launches", "between_launches")


def _headlines(
    points: Sequence[PointResult], capacities: Sequence[Capacity], derated: Sequence[Derating]
) -> tuple[dict[str, float], dict[str, str]]:
    floor, why_no_floor = _floor(points)
    ceiling = saturation_point([point for point in points if point.summary.valid])
    summary = ceiling.summary if ceiling else None
    why_no_ceiling = "no closed-loop point is valid"
    figures: dict[str, tuple[float | None, str]] = {
        "floor_ttft_p50_ms": (floor, why_no_floor),
        "saturation_rps": (summary.completed_rps if summary else None, why_no_ceiling),
        "saturation_output_tokens_per_s": (
            summary.output_tokens_per_s if summary else None,
            summary.reasons.get("output_tokens_per_s", "") if summary else why_no_ceiling,
        ),
    }
    figures |= {f"capacity_rps/{c.name}": (c.certified_rps, f"{c.verdict}: {c.reason}") for c in capacities}
    figures |= {f"derating/{d.arrivals}/{d.figure}": (d.ratio, d.reason) for d in derated}
    headlines = {name: value for name, (value, _) in figures.items() if value is not None}
    return headlines, {name: why for name, (value, why) in figures.items() if value is None}


def _floor(points: Sequence[PointResult]) -> tuple[float | None, str]:
    synchronous = [point for point in points if is_alone(point)]
    if not synchronous:
        return None, "the synchronous point was not measured"
    summary = synchronous[0].summary
    if not summary.valid:
        return None, f"the synchronous point is invalid: {summary.invalid_reasons[0]}"
    ttft = summary.latencies.get("ttft_ms")
    return (ttft.p50, ttft.reasons.get("p50", "")) if ttft else (None, "TTFT was not measured")


def _grade(
    points: Sequence[PointResult], capacities: Sequence[Capacity], plan: LoadPlan
) -> tuple[Grade, tuple[str, ...]]:
    invalid = [point for point in points if not point.summary.valid]
    named = tuple(_why_invalid(point) for point in invalid)
    if len(invalid) == len(points):
        return "F", named or ("no point was measured",)
    if 2 * len(invalid) >= len(points):
        return "E", named
    missing = _missing_headline_points(points) if searches(plan) else ()
    if missing:
        return "D", (*missing, *named)
    if invalid:
        return "C", named
    open_questions = _open_questions(points, capacities, plan)
    return ("B", open_questions) if open_questions else ("A", ())


def _pieced_together(points: Sequence[PointResult]) -> tuple[str, ...]:
    several = ", ".join(map(str, launches_of(points)))
    if "," not in several:
        return ()
    return (f"its points come from launches {several}: one was cut short, and another took what was missing",)


def _why_invalid(point: PointResult) -> str:
    """The first reason; the point itself has them all."""
    first, *others = point.summary.invalid_reasons
    more = f" (and {len(others)} more reason{'s' if len(others) > 1 else ''})" if others else ""
    return f"{point_name(point)} is invalid: {first}{more}"


def _missing_headline_points(points: Sequence[PointResult]) -> tuple[str, ...]:
    valid_roles = {point.point.role for point in points if point.summary.valid}
    absent = {"synchronous": "there is no valid synchronous point", "saturation": "there is no valid saturation point"}
    return tuple(reason for role, reason in absent.items() if role not in valid_roles)


def _open_questions(points: Sequence[PointResult], capacities: Sequence[Capacity], plan: LoadPlan) -> tuple[str, ...]:
    questions = [f"capacity at {c.slo} is unknown: {c.reason}" for c in capacities if c.verdict == "unknown"]
    if searches(plan) and not is_past_peak(plan, points):
        top = max(concurrency_of(point) for point in points if point.point.role == "saturation")
        questions.append(
            f"throughput still grew at concurrency {top}, the highest of the plan: the ceiling lies higher"
        )
    return tuple(questions)


def is_alone(point: PointResult) -> bool:
    """One request at a time: the floor of latency."""
    load = point.point.load
    return isinstance(load, ClosedLoop) and load.concurrency == 1


def point_name(point: PointResult) -> str:
    """For reasons and tables: what load this point is."""
    load, role = point.point.load, point.point.role
    if load.kind == "closed_loop":
        return f"the {role} point at concurrency {load.concurrency}"
    at = f"{load.rate_rps:.3g} rps" if load.rate_rps is not None else "the trace's own rate"
    what = {"overloaded": "the overloaded point", "capacity": f"a look for the capacity at {point.point.slo}"}
    return f"{what.get(role, 'the open-loop point')} at {at}"
