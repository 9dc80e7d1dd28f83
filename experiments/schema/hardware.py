"""Hardware that variants name: what a bound and a cost need to know of it. Peaks are dense: vendors like to print the
sparse ones, which are twice as high."""

from typing import Annotated, Literal

from pydantic import Field

from experiments.schema.base import Name, Spec

Compute = Literal["bf16", "fp8", "int8", "fp4"]
Positive = Annotated[float, Field(gt=0)]


class PriceRange(Spec):
    """US dollars an hour for the whole of the hardware, as found on a date: prices move, so it is never a constant."""

    low: Positive
    high: Positive
    dated: str
    source: str


class Hardware(Spec):
    """A machine, or the part of it that a variant gets. All but `gpus` and the price is of one GPU. `gpus` is 0 for a
    CPU, whose bandwidth is measured where it stands."""

    name: Name
    gpus: Annotated[int, Field(ge=0)]
    memory_gib: Positive | None = None
    bandwidth_gb_per_s: Positive | None = None
    tflops: dict[Compute, Positive] = Field(default_factory=dict)
    power_w: Positive | None = None
    usd_per_hour: PriceRange | None = None
