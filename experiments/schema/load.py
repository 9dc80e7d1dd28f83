"""Loads: when requests are due, how long a point runs, and the plan of points of a cell."""

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

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


class WarmUp(Spec):
    """One request at a time until throughput is steady: the last two stretches of windows of `window_seconds` agree,
    and there were at least `windows` of them. After `max_seconds` measuring begins all the same, and the result says
    so."""

    max_seconds: Seconds = 60.0
    window_seconds: Seconds = 1.0
    windows: Annotated[int, Field(ge=2)] = 2

    @model_validator(mode="after")
    def _there_is_time(self) -> Self:
        if self.windows * self.window_seconds > self.max_seconds:
            raise ValueError(
                f"{self.windows} windows of {self.window_seconds:g} s do not fit into "
                f"max_seconds ({self.max_seconds:g})"
            )
        return self


class Saturation(Spec):
    """Closed loop at concurrency 2, 4, 8 … until output throughput grows by less than `min_gain` a doubling."""

    max_concurrency: Annotated[int, Field(ge=2)] = 256
    min_gain: Annotated[float, Field(gt=0, lt=1)] = 0.05


def _one_or_several(value: object) -> object:
    """`poisson`, `{kind: gamma, shape: 0.5}`, or a list of such -> a list with kinds spelt out."""
    several = value if isinstance(value, list | tuple) else [value]
    return tuple({"kind": one} if isinstance(one, str) else one for one in several)


Arrivals = Annotated[
    tuple[ArrivalProcess, ...], BeforeValidator(_one_or_several), Field(min_length=1, description="one, or a list")
]


class OpenLoopPoints(Spec):
    """Rates between the floor and the ceiling, under each of `arrivals`; what is told of the cell is of the first.

    With `fractions`, these of the saturation rate; one above 1 is labelled overloaded. Without, `points` rates: three
    that near the saturation rate geometrically, the others where latency bends most; and one at 110 %.
    """

    fractions: tuple[Annotated[float, Field(gt=0, le=2)], ...] | None = None
    points: Annotated[int, Field(ge=1, le=50)] = 4
    arrivals: Arrivals = (Poisson(),)

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if self.fractions is not None and self.points != OpenLoopPoints.model_fields["points"].default:
            raise ValueError("fractions and points contradict: give the rates, or how many to place, not both")
        if len(set(self.arrivals)) < len(self.arrivals):
            raise ValueError("arrivals names one process twice")
        if len(self.arrivals) > 1 and any(process.kind == "trace" for process in self.arrivals):
            raise ValueError("a trace has its own rate: it cannot stand beside other arrivals")
        return self


class CapacitySearch(Spec):
    """For each SLO, looks at open-loop rates until the lowest refuted one is at most `resolution` above the highest
    certified one. At most `max_looks` for each SLO and arrival process; `budget_seconds` is the time of all of them
    together, on each launch."""

    budget_seconds: Seconds = 600.0
    resolution: Annotated[float, Field(gt=0, le=1)] = 0.1
    max_looks: Annotated[int, Field(ge=1, le=64)] = 10


class Ladder(Spec):
    """A plain ladder of users, one point each: as many `requests` a point, or so many `seconds`."""

    concurrency: Annotated[tuple[Annotated[int, Field(ge=1, le=100_000)], ...], Field(min_length=1)]
    requests: Annotated[int, Field(ge=1)] | None = None
    seconds: Seconds | None = None

    @model_validator(mode="after")
    def _rises_and_ends(self) -> Self:
        _must_rise("concurrency", self.concurrency)
        if (self.requests is None) == (self.seconds is None):
            raise ValueError("a rung of the ladder ends by requests or by seconds: give one of the two")
        return self


class Ramp(Spec):
    """Users that come one after the other over `ramp_seconds`, and stay until `seconds` are over, the ramp included.
    Token rate and median TTFT are told for each `bucket_seconds` too."""

    users: Annotated[tuple[Annotated[int, Field(ge=1, le=100_000)], ...], Field(min_length=1)] = (10, 50, 100)
    ramp_seconds: Annotated[float, Field(ge=0)] = 20.0
    seconds: Seconds = 300.0
    bucket_seconds: Seconds = 5.0

    @model_validator(mode="after")
    def _leaves_a_window(self) -> Self:
        _must_rise("users", self.users)
        if self.ramp_seconds + self.bucket_seconds > self.seconds:
            raise ValueError(
                f"after a ramp of {self.ramp_seconds:g} s, {self.seconds:g} s leave no bucket of "
                f"{self.bucket_seconds:g} s to measure in"
            )
        return self


def _must_rise(name: str, numbers: tuple[int, ...]) -> None:
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        raise ValueError(f"{name} must rise from step to step, and {list(numbers)} does not")


class LoadPlan(Spec):
    """The points of a cell on each of `launches` launches.

    Without `ladder` and `ramp`: synchronous, saturation, open loop between, and with `capacity` a search for the
    capacity under each SLO. Each point has at least `requests_per_point` requests and runs at least `min_seconds`, and
    at most about `max_seconds`. A ladder or a ramp stands in place of all of these, and has its own ends.
    """

    launches: Annotated[int, Field(ge=1, le=100)] = 1
    requests_per_point: Annotated[int, Field(ge=8)] = 100
    min_seconds: Seconds = 3.0
    max_seconds: Seconds = 120.0
    request_timeout_s: Seconds = 120.0
    warm_up: WarmUp = WarmUp()
    saturation: Saturation = Saturation()
    open_loop: OpenLoopPoints = OpenLoopPoints()
    capacity: CapacitySearch | None = None
    ladder: Ladder | None = None
    ramp: Ramp | None = None

    @model_validator(mode="before")
    @classmethod
    def _warm_up_in_short(cls, written: Any) -> Any:
        """`warm_up_max_seconds: 30` is short for `warm_up: {max_seconds: 30}`."""
        if not isinstance(written, dict) or "warm_up_max_seconds" not in written:
            return written
        if "warm_up" in written:
            raise ValueError("warm_up_max_seconds and warm_up contradict: give warm_up.max_seconds alone")
        rest = {name: value for name, value in written.items() if name != "warm_up_max_seconds"}
        return rest | {"warm_up": {"max_seconds": written["warm_up_max_seconds"]}}

    @model_validator(mode="after")
    def _min_below_max(self) -> Self:
        if self.min_seconds > self.max_seconds:
            raise ValueError("min_seconds is above max_seconds")
        return self

    @model_validator(mode="after")
    def _one_procedure(self) -> Self:
        """A value that is the default counts as not given: a plan that is read back names them all."""
        if self.ladder is not None and self.ramp is not None:
            raise ValueError("ladder and ramp contradict: each is a whole plan; give one of them")
        own = "ladder" if self.ladder is not None else "ramp"
        given = [name for name in _OF_THE_SWEEP if getattr(self, name) != LoadPlan.model_fields[name].default]
        if (self.ladder is not None or self.ramp is not None) and given:
            raise ValueError(f"{own} is a whole plan: {' and '.join(given)} would never be used; leave them out")
        if self.capacity is not None and self.open_loop.arrivals[0].kind == "trace":
            raise ValueError("capacity searches for a rate, and a trace has its own: give another arrival process")
        return self

    def identity(self) -> dict[str, Any]:
        """What a cell's id says of its plan: all but the number of launches, which may grow."""
        return self.model_dump(mode="json", exclude={"launches"}, exclude_none=True)


_OF_THE_SWEEP = ("saturation", "open_loop", "capacity")

Role = Literal["synchronous", "saturation", "open_loop", "overloaded", "capacity", "ladder", "ramp"]


class LoadPoint(Spec):
    """One x on the curve. `step` counts the points of a cell on a launch from 0; `role` says what the point is for, and
    `slo` whose capacity it looks for. With `bucket_seconds` it is told bucket by bucket too."""

    step: Annotated[int, Field(ge=0)]
    role: Role
    load: Load
    stop: StopRule
    slo: str = ""
    bucket_seconds: Seconds | None = None
