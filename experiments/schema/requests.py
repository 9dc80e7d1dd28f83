"""What a deployment is asked to do: each model is a form in Prefect's UI, with these descriptions."""

from typing import Annotated

from pydantic import Field

from experiments.schema.base import Spec

MEASURING_POOL = "dyno"
"""Its workers have the hardware, and measure one thing at a time."""

CONTROL_POOL = "dyno-control"
"""Its workers wait, watch and publish: where they shared the measuring pool, a matrix would hold the slot that its own
variants wait for."""

Experiments = Annotated[
    tuple[str, ...],
    Field(
        description="names of shipped experiments, or paths of files on the worker; empty: those of the Prefect "
        "variable dyno_experiments"
    ),
]
PoolName = Annotated[str, Field(description="work pool whose workers measure", min_length=1)]


class WatchRequest(Spec):
    """One round of the release watcher."""

    engines: tuple[str, ...] = Field(default=(), description="engines to watch; empty: all that have releases")
    prereleases: bool = Field(default=False, description="whether alphas, betas and release candidates are news too")


class ReleaseRequest(Spec):
    """A new release of an engine, to be compared with the last one that was measured."""

    engine: str = Field(description="the engine, as experiments name it")
    version: str = Field(description="the new release", min_length=1)
    previous: str = Field(
        default="", description="compared with where none was measured: the release before; empty: only measured ones"
    )
    experiments: Experiments = ()
    launches: int = Field(default=4, ge=2, description="launches a side, before it is judged for the first time")
    margin: float = Field(default=0.05, gt=0, lt=1, description="the smallest relative change that matters")
    canary: bool = Field(default=True, description="whether the baseline is launched as its own rival too")
    budget_minutes: float | None = Field(default=None, gt=0, description="no new launch is made after it")


class MatrixRequest(Spec):
    """Experiments measured whole, each in a campaign of its own, on the workers of a pool."""

    experiments: Experiments = ()
    pool: PoolName = MEASURING_POOL
    attempts: int = Field(default=3, ge=1, le=10, description="runs of a variant whose worker dies, all together")


class RetryRequest(Spec):
    """Failed cells measured once more, where their class of failure may pass. The n-th try of a cell waits
    `first_delay_hours` × `growth`ⁿ⁻¹ after the failure before."""

    experiments: Experiments = ()
    pool: PoolName = MEASURING_POOL
    max_retries: int = Field(default=3, ge=1, le=20, description="after so many a cell stays failed")
    first_delay_hours: float = Field(default=1.0, ge=0, description="from a failure to the first retry")
    growth: float = Field(default=4.0, ge=1, description="each delay is so many times the one before")
    now: bool = Field(default=False, description="do not wait for the delays; the bound on attempts holds")


class FlagsRequest(Spec):
    """Every flag that we emit, held against the real parsers of engine releases."""

    releases: tuple[str, ...] = Field(
        default=(), description="engine==version each; empty: all whose options are known"
    )


class PublishRequest(Spec):
    """What lies in the store of one worker, told to MLflow."""

    reports: bool = Field(default=True, description="whether the report of each latest campaign is written anew")
