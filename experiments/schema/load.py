"""Loads: when requests are due, how long a point runs, and the plan of points of a cell."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from experiments.schema.base import Spec

Seconds = Annotated[float, Field(gt=0)]


class Constant(Spec):
    """Equal gaps."""

    kind: Literal["constant"] = "constant"


class Poisson(Spec):
    """Exponential gaps: the counts of any interval have dispersion 1."""

    kind: Literal["poisson"] = "poisson"


class Gamma(Spec):
    """Gamma gaps: shape 1 is Poisson; below 1 is burstier, above 1 smoother."""

    kind: Literal["gamma"] = "gamma"
    shape: Annotated[float, Field(gt=0)]


class Trace(Spec):
    """Replays a file (JSONL or CSV) of timestamps, input and output lengths. Never re-anchored."""

    kind: Literal["trace"] = "trace"
    path: Annotated[str, Field(min_length=1)]


ArrivalProcess = Annotated[Constant | Poisson | Gamma | Trace, Field(discriminator="kind")]


class OpenLoop(Spec):
    """Requests are due whatever became of the earlier ones. A trace carries its own rate: `rate_rps` is None."""

    kind: Literal["open_loop"] = "open_loop"
    arrivals: ArrivalProcess
    rate_rps: Annotated[float, Field(gt=0)] | None

    @model_validator(mode="after")
    def _rate_where_it_means_something(self) -> Self:
        if (self.rate_rps is None) != (self.arrivals.kind == "trace"):
            raise ValueError("a trace has its own rate; every other arrival process needs rate_rps")
        return self


class ClosedLoop(Spec):
    """`concurrency` users, each of whom sends its next request `think_time_s` after the answer to its last one."""

    kind: Literal["closed_loop"] = "closed_loop"
    concurrency: Annotated[int, Field(ge=1, le=100_000)]
    think_time_s: Annotated[float, Field(ge=0)] = 0.0


Load = Annotated[OpenLoop | ClosedLoop, Field(discriminator="kind")]


class StopRule(Spec):
    """When a point ends: by requests or by seconds. The ramp's requests stay outside the window of a timed point."""

    requests: Annotated[int, Field(ge=1)] | None = None
    seconds: Seconds | None = None
    ramp_s: Annotated[float, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.requests is None) == (self.seconds is None):
            raise ValueError("give either requests or seconds")
        return self


class Saturation(Spec):
    """Closed loop at concurrency 2, 4, 8 … until output throughput grows by less than `min_gain` a doubling."""

    max_concurrency: Annotated[int, Field(ge=2)] = 256
    min_gain: Annotated[float, Field(gt=0, lt=1)] = 0.05


class OpenLoopPoints(Spec):
    """Rates as fractions of the saturation rate; a fraction above 1 is labelled overloaded."""

    fractions: tuple[Annotated[float, Field(gt=0, le=2)], ...] = (0.3, 0.6, 0.85, 1.1)
    arrivals: ArrivalProcess = Poisson()


class LoadPlan(Spec):
    """The points of a cell: synchronous, saturation, open loop between. Each point has at least `requests_per_point`
    requests and runs at least `min_seconds`, and at most about `max_seconds`."""

    requests_per_point: Annotated[int, Field(ge=8)] = 100
    min_seconds: Seconds = 3.0
    max_seconds: Seconds = 120.0
    warm_up_max_seconds: Seconds = 60.0
    request_timeout_s: Seconds = 120.0
    saturation: Saturation = Saturation()
    open_loop: OpenLoopPoints = OpenLoopPoints()

    @model_validator(mode="after")
    def _min_below_max(self) -> Self:
        if self.min_seconds > self.max_seconds:
            raise ValueError("min_seconds is above max_seconds")
        return self


class LoadPoint(Spec):
    """One x on the curve. `step` counts the points of a cell from 0; `role` says what the point is for."""

    step: Annotated[int, Field(ge=0)]
    role: Literal["synchronous", "saturation", "open_loop", "overloaded"]
    load: Load
    stop: StopRule
