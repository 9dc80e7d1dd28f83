"""Answers by another route than the page's: plain loops over the cells as they were before they were packed."""

from dataclasses import dataclass

from experiments.schema.load import OpenLoop
from experiments.schema.result import CellResult, CellState, PointResult
from experiments.schema.slo import parse_slo

METRICS = {"first": "ttft_response_ms", "each": "itl_ms", "last": "e2e_response_ms"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A question in the page's own words."""

    model: str
    hardware: str
    tokens_in: int
    tokens_out: int
    get: str
    within_ms: float
    percent: int
    show: str = "throughput"

    @property
    def fragment(self) -> str:
        """The address of the question."""
        return (
            f"#model={self.model}&hardware={self.hardware}&in={self.tokens_in}&out={self.tokens_out}"
            f"&get={self.get}&within_ms={self.within_ms:g}&percent={self.percent}&show={self.show}"
        )


@dataclass(frozen=True, slots=True)
class Holds:
    """A cell that keeps the limit, and the figures by which questions rank it."""

    cell: CellResult
    rate_rps: float
    lowest_ms: float
    usd: float

    @property
    def name(self) -> str:
        """As the page names it where engine, version and precision differ."""
        variant = self.cell.variant
        return f"{variant.engine} {variant.engine_version} · {variant.quantization}"


def answers(cells: list[CellResult], asked: Asked) -> list[Holds]:
    """Those that keep the limit, the best first."""
    found = [one for cell in cells if _is_asked(cell, asked) and (one := _holds(cell, asked)) is not None]
    rank = {
        "throughput": lambda one: -one.rate_rps,
        "every": lambda one: -one.rate_rps,
        "latency": lambda one: one.lowest_ms,
        "cheapest": lambda one: one.usd,
    }
    return sorted(found, key=rank[asked.show])


def _is_asked(cell: CellResult, asked: Asked) -> bool:
    return (
        cell.state is CellState.MEASURED
        and cell.variant.model.name == asked.model
        and cell.variant.hardware == asked.hardware
        and cell.workload.prompt_tokens == asked.tokens_in
        and cell.workload.output_tokens == asked.tokens_out
    )


def _holds(cell: CellResult, asked: Asked) -> Holds | None:
    rate = _certified(cell, asked)
    if rate is None:
        return None
    metric, figure = METRICS[asked.get], f"p{asked.percent}"
    under = [
        value
        for point in _open(cell)
        if (value := point.summary.latencies[metric].model_dump()[figure]) < asked.within_ms
    ]
    at = min(_open(cell), key=lambda point: abs((point.summary.achieved_rps or 0.0) - rate))
    assert cell.cost is not None
    assert cell.cost.usd_per_hour is not None
    usd = cell.cost.usd_per_hour[0] * 1e6 / 3600 / (at.summary.output_tokens_per_s or 1.0)
    return Holds(cell, rate, min(under), usd)


def _certified(cell: CellResult, asked: Asked) -> float | None:
    """The search's word on this very objective, else the highest rate below any refuted one whose interval lies under
    the limit."""
    for capacity in cell.capacities:
        slo = parse_slo(capacity.slo)
        if (f"{slo.metric}_ms", slo.percentile, slo.bound_ms) == (METRICS[asked.get], asked.percent, asked.within_ms):
            return capacity.certified_rps
    figure, metric = f"p{asked.percent}", METRICS[asked.get]
    seen = [(_rate(point), point.summary.latencies[metric].intervals[figure]) for point in _open(cell)]
    broken = min((rate for rate, (low, _) in seen if low is not None and low >= asked.within_ms), default=float("inf"))
    held = [rate for rate, (_, high) in seen if high is not None and high < asked.within_ms and rate < broken]
    return max(held, default=None)


def _open(cell: CellResult) -> list[PointResult]:
    return [point for point in cell.points if point.point.role == "open_loop"]


def _rate(point: PointResult) -> float:
    """What was asked, or what came of it where that was less."""
    load = point.point.load
    assert isinstance(load, OpenLoop)
    return min(point.summary.achieved_rps or 0.0, load.rate_rps or 0.0)
