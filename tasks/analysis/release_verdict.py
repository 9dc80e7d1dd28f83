"""From launches to the verdict on a release: every figure, the canary, and one word for all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from experiments.schema.base import METHOD_VERSION
from experiments.schema.comparison import (
    Arm,
    CanaryResult,
    ChangeVerdict,
    ComparisonOrder,
    ComparisonResult,
    FigureChange,
    LaunchResult,
)
from tasks.analysis.comparison import (
    Judgement,
    Look,
    Series,
    broken_canary,
    compare,
    compare_over_looks,
    decided,
    log_ratio,
    looks_of,
    practical_margin,
)
from tasks.analysis.comparison_loads import LOADS, compared_plan
from tasks.analysis.launch_figures import Searched, series_of
from tasks.analysis.lost_trials import Lost, Place, cannot_keep_up, lost_trials

Key = tuple[str, str, str]
FAILURES_THAT_CONVINCE = 2


@dataclass(slots=True)
class Docket:
    """What was judged so far: looks are taken in order, and what one decides stays decided."""

    order: ComparisonOrder
    canaries: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)
    known: dict[Key, Judgement] = field(default_factory=dict)
    judgements: tuple[Judgement, ...] = ()

    @property
    def looks(self) -> tuple[Look, ...]:
        """Those of the order."""
        return looks_of(self.order.looks)

    def take(self, look: Look, launches: Sequence[LaunchResult]) -> None:
        """Judges all that the look's launches show."""
        series = self._series(launches, look.launches)
        self.judgements = compare_over_looks(series, self.margins({one.metric for one in series}), self.known, look)
        self.known = decided(self.judgements)

    def open_systems(self, launches: Sequence[LaunchResult]) -> frozenset[str]:
        """Those of which a figure is undecided, and whose candidate runs at all."""
        undecided = {one.series.group for one in self.judgements if one.verdict == "undecided"}
        return frozenset(undecided - set(broken_systems(launches)))

    def margins(self, metrics: set[str]) -> dict[str, float]:
        """δ by metric, from the machine's own past canaries where there are enough."""
        return {name: practical_margin(self.canaries.get(name, ()), self.order.margin) for name in metrics}

    def canary(self, launches: Sequence[LaunchResult]) -> CanaryResult:
        """The baseline against itself, at the first look's launches and the whole of q."""
        look = Look(self.looks[0].launches, sum(one.q for one in self.looks))
        series = self._series(launches, look.launches, ("baseline", "canary"))
        judged = compare(series, self.margins({one.metric for one in series}), look)
        return CanaryResult(broken=bool(broken_canary(judged)), figures=tuple(map(_figure, judged)))

    def canary_ratios(self, launches: Sequence[LaunchResult]) -> dict[str, list[float]]:
        """By metric the log ratios of this comparison's canary: what later margins are made of."""
        found: dict[str, list[float]] = {}
        for one in self._series(launches, len(launches), ("baseline", "canary")):
            if min(len(one.baseline), len(one.candidate)) >= 2:
                found.setdefault(one.metric, []).append(log_ratio(one))
        return found

    def result(
        self, launches: Sequence[LaunchResult], *, name: str, started_at: str, ended_at: str
    ) -> ComparisonResult:
        """All of it, with one word for the whole. Without an end it is what the looks until now came to."""
        canary = self.canary(launches)
        baseline, candidate = (lost_trials(launches, self._loads(), arm) for arm in ("baseline", "candidate"))
        cells = (
            *(_figure(_with_losses(one, baseline, candidate)) for one in self.judgements),
            *_broken_figures(launches, self.order.margin),
            *_behind_figures(baseline, candidate, self.order.margin),
        )
        verdict, reason = _overall(cells, canary, launches)
        gaps = _gaps(self.judgements, baseline, candidate)
        verdict = ChangeVerdict.UNDECIDED if gaps and verdict is ChangeVerdict.EQUIVALENT else verdict
        lost = _lost(baseline, candidate) if verdict is ChangeVerdict.UNDECIDED else ""
        reason = "; ".join(filter(None, (reason, lost, gaps)))
        return ComparisonResult(
            id=name,
            engine=self.order.engine,
            from_version=self.order.from_version,
            to_version=self.order.to_version,
            experiment=self.order.experiment,
            method_version=METHOD_VERSION,
            verdict=verdict,
            reason=reason,
            looks=tuple({"launches": look.launches, "q": look.q} for look in self.looks),
            cells=cells,
            canary=canary,
            launches=tuple(launches),
            notes=_notes(self.order),
            started_at=started_at,
            ended_at=ended_at,
        )

    def _series(
        self, launches: Sequence[LaunchResult], most: int, arms: tuple[Arm, Arm] = ("baseline", "candidate")
    ) -> tuple[Series, ...]:
        searched = Searched(compared_plan(self.order.load_plan), self.order.slos)
        return series_of(_first_of_each(launches, most), self._loads(), arms, searched)

    def _loads(self) -> dict[str, dict[str, dict[int, str]]]:
        return {one.name: {cell.workload.name: LOADS for cell in one.cells} for one in self.order.systems}


def arms_of(round_: int, *, canary: bool) -> tuple[Arm, ...]:
    """Forth in even rounds and back in odd ones (A B A′, A′ B A …): what drifts steadily falls on all arms alike."""
    arms: tuple[Arm, ...] = ("baseline", "candidate", "canary") if canary else ("baseline", "candidate")
    return arms if round_ % 2 == 0 else arms[::-1]


def broken_systems(launches: Sequence[LaunchResult]) -> dict[str, LaunchResult]:
    """Those whose candidate failed twice and never ran, while the baseline did; with a launch that shows it."""
    found = {}
    for system in {one.system for one in launches}:
        candidate = [one for one in launches if one.system == system and one.arm == "candidate"]
        baseline = [one for one in launches if one.system == system and one.arm in ("baseline", "pilot")]
        never = len(candidate) >= FAILURES_THAT_CONVINCE and all(one.cause for one in candidate)
        if never and any(not one.cause for one in baseline):
            found[system] = candidate[-1]
    return found


def _first_of_each(launches: Sequence[LaunchResult], most: int) -> list[LaunchResult]:
    """The first `most` launches of each arm of each system that ran."""
    kept: list[LaunchResult] = []
    counts: dict[tuple[str, Arm], int] = {}
    for one in sorted(launches, key=lambda launch: launch.number):
        key = one.system, one.arm
        if not one.cause and counts.get(key, 0) < most:
            counts[key] = counts.get(key, 0) + 1
            kept.append(one)
    return kept


def _figure(judged: Judgement) -> FigureChange:
    one = judged.series
    system, _, workload = one.cell.rpartition("/")
    return FigureChange(
        system=system,
        workload=workload,
        at=one.at,
        metric=one.metric,
        higher_is_better=one.higher_is_better,
        verdict=ChangeVerdict(judged.verdict),
        margin=judged.margin,
        change=judged.change,
        interval=judged.interval,
        level=judged.level,
        p=judged.p,
        q=judged.q,
        launches=judged.launches,
        reason=judged.reason,
        baseline=one.baseline,
        candidate=one.candidate,
    )


def _broken_figures(launches: Sequence[LaunchResult], margin: float) -> list[FigureChange]:
    return [
        FigureChange(
            system=system,
            workload="",
            at="start",
            metric="runs",
            higher_is_better=True,
            verdict=ChangeVerdict.REGRESSED,
            margin=margin,
            launches=sum(one.system == system and one.arm == "candidate" for one in launches),
            reason=f"the candidate does not run: {shown.stage}: {shown.failure_class or 'unknown'}: {shown.cause}",
        )
        for system, shown in sorted(broken_systems(launches).items())
    ]


def _with_losses(judged: Judgement, baseline: Mapping[Place, Lost], candidate: Mapping[Place, Lost]) -> Judgement:
    """Says beside the verdict which side's trials it lacks: what is left of them may be the luckier ones."""
    place = _place(judged.series)
    sides = (("baseline", baseline.get(place)), ("candidate", candidate.get(place)))
    told = [lost.told(side) for side, lost in sides if lost is not None and lost.invalid]
    return replace(judged, reason="; ".join(filter(None, (judged.reason, *told)))) if told else judged


def _lost(*sides: Mapping[Place, Lost]) -> str:
    """How many trials do not count, of all; "" where all do."""
    every = [lost for side in sides for lost in side.values()]
    invalid, trials = sum(lost.invalid for lost in every), sum(lost.trials for lost in every)
    return f"{invalid} of {trials} trials are invalid" if invalid else ""


def _gaps(judgements: Sequence[Judgement], baseline: Mapping[Place, Lost], candidate: Mapping[Place, Lost]) -> str:
    """The loads at which no trial of either side is valid, so that nothing is said of them; "" where there is none."""
    told = {_place(one.series) for one in judgements}
    gaps = sorted(place for place in {*baseline, *candidate} if place not in told)
    if not gaps:
        return ""
    names = list(dict.fromkeys(f"{at} of {workload}" for _, workload, at in gaps))
    named = ", ".join(names[:4]) + (" and others" if len(names) > 4 else "")
    lost = candidate.get(gaps[-1]) or baseline[gaps[-1]]
    return f"no trial of either side is valid at {named}: {lost.reason}"


def _place(series: Series) -> Place:
    system, _, workload = series.cell.rpartition("/")
    return system, workload, series.at


def _behind_figures(
    baseline: Mapping[Place, Lost], candidate: Mapping[Place, Lost], margin: float
) -> list[FigureChange]:
    """Where the candidate always falls behind a load that the baseline holds: there is no latency to compare, and that
    is the regression."""
    return [
        FigureChange(
            system=system,
            workload=workload,
            at=at,
            metric="keeps_up",
            higher_is_better=True,
            verdict=ChangeVerdict.REGRESSED,
            margin=margin,
            launches=lost.trials,
            reason=lost.told("candidate"),
        )
        for (system, workload, at), lost in sorted(candidate.items())
        if (held := baseline.get((system, workload, at))) is not None and cannot_keep_up(held, lost)
    ]


def _notes(order: ComparisonOrder) -> tuple[str, ...]:
    """What the servers were, where they were not started."""
    attached = [one for one in order.systems if one.baseline.endpoint_url or one.candidate.endpoint_url]
    if not attached:
        return ()
    pairs = dict.fromkeys((one.baseline.endpoint_url, one.candidate.endpoint_url) for one in attached)
    return (
        *(f"baseline {baseline}, candidate {candidate}" for baseline, candidate in pairs),
        VISITS,
    )


VISITS = (
    "the servers were there already: a launch is no new start here, but one more visit, so what is said holds for "
    "these servers as they ran, and not for another start of them"
)


def _overall(
    cells: Sequence[FigureChange], canary: CanaryResult, launches: Sequence[LaunchResult]
) -> tuple[ChangeVerdict, str]:
    """The worst that was shown; equivalent only where every figure is. Void where nothing was compared: it says
    nothing of the release."""
    if canary.broken:
        broken = [one for one in canary.figures if one.verdict in (ChangeVerdict.REGRESSED, ChangeVerdict.IMPROVED)]
        return ChangeVerdict.VOID, (
            f"the baseline differs from itself ({broken[0].metric} at {broken[0].at} by {broken[0].change:+.1%}): "
            "something else changed while it was measured; measure again on a quiet machine"
        )
    counts = {verdict: sum(one.verdict == verdict for one in cells) for verdict in ChangeVerdict}
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    if not any(_says_something(one) for one in cells):
        return ChangeVerdict.VOID, f"no figure could be compared: {_why_none(cells, launches)}"
    for verdict in (ChangeVerdict.REGRESSED, ChangeVerdict.IMPROVED, ChangeVerdict.UNDECIDED):
        if counts[verdict]:
            return verdict, f"of {len(cells)} figures {told}"
    return ChangeVerdict.EQUIVALENT, f"all {len(cells)} figures"


def _says_something(one: FigureChange) -> bool:
    """Both sides were held against each other, or the one that fails is told."""
    return one.change is not None or one.verdict is not ChangeVerdict.UNDECIDED


def _why_none(cells: Sequence[FigureChange], launches: Sequence[LaunchResult]) -> str:
    """What failed, the last of it by name."""
    failed = [one for one in launches if one.cause]
    if failed:
        last = failed[-1]
        return f"{len(failed)} of {len(launches)} launches failed, the last ({last.arm}) at {last.stage}: {last.cause}"
    if cells:
        return cells[0].reason
    if any(one.arm == "candidate" for one in launches):
        return "nothing that was measured counts"
    return "there was no time for a launch of both sides"
