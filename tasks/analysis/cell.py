"""A cell's points become its headlines, its capacities and its grade."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from experiments.schema.load import LoadPlan
from experiments.schema.result import Capacity, CellResult, CellState, PointResult
from experiments.schema.slo import SLO
from tasks.analysis.capacity import capacity
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


def summarize_cell(points: Sequence[PointResult], *, slos: Sequence[SLO], plan: LoadPlan) -> CellSummary:
    """The headlines rest on valid points only.

    A  every point is valid, and for every SLO a rate is certified or refuted
    B  every point is valid; an SLO is unknown, or throughput still grew at the highest concurrency
    C  a point is invalid, none of those the headlines rest on
    D  the synchronous point, or every closed-loop point beyond it, is invalid or absent
    E  half of the points or more are invalid
    F  no point is valid: the cell is invalid
    """
    capacities = tuple(capacity(slo, points) for slo in slos)
    headlines, why_absent = _headlines(points, capacities)
    grade, reasons = _grade(points, capacities, plan)
    return CellSummary(
        state=CellState.INVALID if grade == "F" else CellState.MEASURED,
        grade=grade,
        reasons=reasons,
        headlines=headlines,
        headline_reasons=why_absent,
        capacities=capacities,
    )


def judge_cell(measured: CellResult, slos: Sequence[SLO], plan: LoadPlan) -> CellResult:
    """The result with its headlines, capacities and grade. A cell that failed on the way keeps its state and has no
    grade; what its points show is shown."""
    found = summarize_cell(measured.points, slos=slos, plan=plan)
    shown = {"headlines": found.headlines, "headline_reasons": found.headline_reasons, "capacities": found.capacities}
    if measured.state is CellState.MEASURED:
        shown |= {"state": found.state, "grade": found.grade, "reasons": found.reasons}
    return measured.model_copy(update=shown)


def _headlines(
    points: Sequence[PointResult], capacities: Sequence[Capacity]
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
    headlines = {name: value for name, (value, _) in figures.items() if value is not None}
    return headlines, {name: why for name, (value, why) in figures.items() if value is None}


def _floor(points: Sequence[PointResult]) -> tuple[float | None, str]:
    synchronous = [point for point in points if point.point.role == "synchronous"]
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
    missing = _missing_headline_points(points)
    if missing:
        return "D", (*missing, *named)
    if invalid:
        return "C", named
    open_questions = _open_questions(points, capacities, plan)
    return ("B", open_questions) if open_questions else ("A", ())


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
    if not is_past_peak(plan, points):
        top = max(concurrency_of(point) for point in points if point.point.role == "saturation")
        questions.append(
            f"throughput still grew at concurrency {top}, the highest of the plan: the ceiling lies higher"
        )
    return tuple(questions)


def point_name(point: PointResult) -> str:
    """For reasons and tables: what load this point is."""
    load, role = point.point.load, point.point.role
    if load.kind == "closed_loop":
        return f"the {role} point at concurrency {load.concurrency}"
    at = f"{load.rate_rps:.3g} rps" if load.rate_rps is not None else "the trace's own rate"
    return f"the {'overloaded' if role == 'overloaded' else 'open-loop'} point at {at}"
