"""How long prompts and answers are: a number of tokens, or a distribution that the schedule draws from."""

import math
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Discriminator, Field, Tag, model_validator

from experiments.schema.base import Spec

LONGEST_TOKENS = 1_000_000
REACH = 4.0
"""Standard deviations up to which a distribution without a `max` goes."""

Tokens = Annotated[int, Field(ge=1, le=LONGEST_TOKENS)]


S = TypeVar("S", bound=Spec)


def _in_order(spec: S, *bounds: float) -> S:
    if list(bounds) != sorted(bounds):
        raise ValueError(f"min, the middle and max are out of order: {', '.join(f'{bound:g}' for bound in bounds)}")
    return spec


class Uniform(Spec):
    """Every whole number from `min` to `max`, both included, equally often."""

    kind: Literal["uniform"] = "uniform"
    min: Tokens
    max: Tokens

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        return _in_order(self, self.min, self.max)

    @property
    def longest(self) -> int:
        return self.max


class Normal(Spec):
    """A normal distribution cut off at `min` and `max` (without them at 1 and mean + 4 std), not heaped up there.

    `mean` and `std` are those before the cut."""

    kind: Literal["normal"] = "normal"
    mean: Annotated[float, Field(ge=1, le=LONGEST_TOKENS)]
    std: Annotated[float, Field(ge=0, le=LONGEST_TOKENS)]
    min: Tokens = 1
    max: Tokens | None = None

    @model_validator(mode="after")
    def _around_the_mean(self) -> Self:
        return _in_order(self, self.min, self.mean, self.longest)

    @property
    def longest(self) -> int:
        return self.max or min(math.ceil(self.mean + REACH * self.std), LONGEST_TOKENS)


class LogNormal(Spec):
    """A normal distribution of the logarithm, cut off at `min` and `max` (without them at 1 and 4 sigma).

    Its place is `median` or `mean`; its width is `sigma`, the standard deviation of the natural logarithm, or beside a
    mean `std`, the standard deviation in tokens. All are those before the cut."""

    kind: Literal["lognormal"] = "lognormal"
    mean: Annotated[float, Field(ge=1, le=LONGEST_TOKENS)] | None = None
    median: Annotated[float, Field(ge=1, le=LONGEST_TOKENS)] | None = None
    sigma: Annotated[float, Field(gt=0, le=10)] | None = None
    std: Annotated[float, Field(gt=0, le=LONGEST_TOKENS)] | None = None
    min: Tokens = 1
    max: Tokens | None = None

    @model_validator(mode="after")
    def _of_two_parameters(self) -> Self:
        if (self.mean is None) == (self.median is None):
            raise ValueError("give either mean or median")
        if (self.sigma is None) == (self.std is None):
            raise ValueError("give either sigma (of the logarithm) or std (in tokens)")
        if self.std is not None and self.mean is None:
            raise ValueError("std goes with mean; beside a median give sigma")
        return _in_order(self, self.min, math.exp(self.log_mean), self.longest)

    @property
    def log_std(self) -> float:
        """σ of ln X; from mean m and standard deviation s it is √ln(1 + s²/m²)."""
        if self.sigma is not None:
            return self.sigma
        assert self.mean is not None, "validated"
        assert self.std is not None, "validated"
        return math.sqrt(math.log1p((self.std / self.mean) ** 2))

    @property
    def log_mean(self) -> float:
        """μ of ln X: ln(median), or ln(mean) − σ²/2."""
        if self.median is not None:
            return math.log(self.median)
        assert self.mean is not None, "validated"
        return math.log(self.mean) - self.log_std**2 / 2

    @property
    def longest(self) -> int:
        return self.max or math.ceil(math.exp(min(self.log_mean + REACH * self.log_std, math.log(LONGEST_TOKENS))))


class FromData(Spec):
    """The lengths of the dataset. Rows outside `min` and `max` are left out, where their length is known.

    For answers: where the dataset tells no length, the model ends by itself, after `max` tokens at the latest."""

    kind: Literal["data"] = "data"
    min: Tokens = 1
    max: Tokens = 4096

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        return _in_order(self, self.min, self.max)

    @property
    def longest(self) -> int:
        return self.max


class Natural(Spec):
    """Answers only: the model ends by itself, after `max` tokens at the latest."""

    kind: Literal["natural"] = "natural"
    max: Tokens = 4096

    @property
    def longest(self) -> int:
        return self.max


def _kind(value: Any) -> str | None:
    """Which of the forms is meant: what has no `kind` is taken for a number."""
    if isinstance(value, dict):
        return value.get("kind")
    return value.kind if isinstance(value, Distribution) else "number"


Distribution = Uniform | Normal | LogNormal | FromData | Natural
PromptLength = Annotated[
    Annotated[Tokens, Tag("number")]
    | Annotated[Uniform, Tag("uniform")]
    | Annotated[Normal, Tag("normal")]
    | Annotated[LogNormal, Tag("lognormal")]
    | Annotated[FromData, Tag("data")],
    Discriminator(_kind),
]
OutputLength = Annotated[
    Annotated[Tokens, Tag("number")]
    | Annotated[Uniform, Tag("uniform")]
    | Annotated[Normal, Tag("normal")]
    | Annotated[LogNormal, Tag("lognormal")]
    | Annotated[FromData, Tag("data")]
    | Annotated[Natural, Tag("natural")],
    Discriminator(_kind),
]


def longest(length: int | Distribution) -> int:
    """The most tokens that it can come to."""
    return length if isinstance(length, int) else length.longest


def shortest(length: int | Distribution) -> int:
    """The fewest."""
    if isinstance(length, int):
        return length
    return 1 if isinstance(length, Natural) else length.min


def described(length: int | Distribution) -> str:
    """For people: `128`, `100-200`, `normal 100 ± 20`."""
    match length:
        case Uniform():
            return f"{length.min}-{length.max}"
        case Normal():
            return f"normal {length.mean:g} ± {length.std:g}"
        case LogNormal():
            return f"lognormal, median {math.exp(length.log_mean):.4g}"
        case FromData():
            return f"the dataset's, at most {length.max}"
        case Natural():
            return f"as the model ends, at most {length.max}"
    return str(length)
