"""The vocabulary of results: what trial.json and cell.json hold. Data only; the statistics live in tasks/analysis."""

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from experiments.schema.base import Spec
from experiments.schema.bound import CellBounds, CellCost, PointBound, TokenCost
from experiments.schema.cold_start import ColdStart
from experiments.schema.failure import FailureClass
from experiments.schema.load import LoadPlan, LoadPoint
from experiments.schema.quality import QualityResult
from experiments.schema.slo import SLO
from experiments.schema.variant import Variant
from experiments.schema.workload import Workload


class CellState(StrEnum):
    """What became of a cell. Anything but measured has a reason. Of a stand-in, a program in an engine's place, there
    are figures, and nothing was measured."""

    MEASURED = "measured"
    STAND_IN = "stand_in"
    INVALID = "invalid"
    FAILED = "failed"
    UNSUPPORTED = "unsupported"
    INTERRUPTED = "interrupted"


class Distribution(Spec):
    """Percentiles of a latency in its unit (ms, or ms/token), by linear interpolation over `n` pooled samples.

    An absent figure is None, and `reasons` says why under the figure's name. `intervals` holds 95 % bounds
    (low, high) of a percentile, None on a side that n does not give. They rest on `effective_n` independent samples,
    fewer than n where samples depend on one another; `n_is` says what is counted.
    """

    n: int = 0
    n_is: str = "requests"
    effective_n: dict[str, int] = Field(default_factory=dict)
    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    reasons: dict[str, str] = Field(default_factory=dict)
    intervals: dict[str, tuple[float | None, float | None]] = Field(default_factory=dict)


RATES = (
    "offered_rps",
    "achieved_rps",
    "completed_rps",
    "output_tokens_per_s",
    "input_tokens_per_s",
    "total_tokens_per_s",
    "per_user_tokens_per_s",
    "mean_concurrency",
    "littles_law_concurrency",
    "goodput_rps",
    "attainment",
    "error_share",
    "cache_hit_ratio",
    "engine_cache_hit_ratio",
    "energy_j",
    "joules_per_output_token",
)
"""Figures of a trial that are one number, in the order in which they are told."""

LATENCIES = (
    "ttft_ms",
    "ttft_response_ms",
    "ttft_answer_ms",
    "tpot_ms",
    "tpot_compat_ms",
    "itl_ms",
    "icl_ms",
    "e2e_ms",
    "e2e_response_ms",
    "longest_stall_ms",
)


class SLOAttainment(Spec):
    """One SLO at one point: `attainment` is the share of all requests due in W that met it; goodput in rps.

    `verdict` is that of a single look at 99 % on each side; upper_ms and lower_ms are those bounds of the percentile.
    `share_over` is the share of samples at or over the bound, and `effective_n` the independent requests behind it:
    from the two another level can be applied. None where the SLO's latency was not measured at all.
    """

    slo: str
    attainment: float | None
    goodput_rps: float | None
    verdict: Literal["certified", "refuted", "unknown"]
    n: int = 0
    effective_n: int = 0
    share_over: float | None = None
    attainment_interval: tuple[float, float] | None = None
    percentile_ms: float | None = None
    upper_ms: float | None = None
    lower_ms: float | None = None
    reason: str = ""


TURN_FIGURES = ("ttft_ms", "tpot_ms", "e2e_ms", "prompt_tokens", "cache_hit_ratio")


class TurnSummary(Spec):
    """The k-th turns of all conversations, due in W; `turn` counts from 0. `figures` holds TURN_FIGURES, each over the
    completed requests; there `cache_hit_ratio` is a share of each prompt, while the field is that of all their tokens.
    """

    turn: int
    requests: int
    outcomes: dict[str, int]
    cache_hit_ratio: float | None = None
    figures: dict[str, Distribution] = Field(default_factory=dict)
    reasons: dict[str, str] = Field(default_factory=dict)


class Bucket(Spec):
    """A stretch of a trial that is told by itself: `start_s` from the window's start (below 0 in the ramp), the output
    tokens that arrived in it per second, and the median TTFT of the `requests` that were due in it."""

    start_s: float
    seconds: float
    requests: int
    output_tokens_per_s: float | None
    ttft_p50_ms: float | None


class TrialSummary(Spec):
    """All statistics of one trial. Rates are per second of the window W, which is `window_s` long.

    `mean_concurrency` is what was in flight in W, `littles_law_concurrency` what rate × residence says it should be.
    `cache_hit_ratio` is by the usage of the requests, `engine_cache_hit_ratio` by the engine's counters over the trial.
    `energy_j` is what the launch's GPUs took in W, `joules_per_output_token` that over the output tokens of W.
    `gpu` holds mean_power_w, mean_utilisation_percent, mean_sm_clock_mhz, max_memory_used_gib, max_temperature_c and
    power_capped_share; `engine` mean_running_requests, max_waiting_requests, max_kv_cache_usage_ratio and preemptions:
    each where it was told in W.
    `goodput_rps` and `attainment` count the requests that met every SLO. `error_share` is of all requests due in W.
    """

    method_version: str
    requests: int
    outcomes: dict[str, int]
    valid: bool
    invalid_reasons: tuple[str, ...] = ()
    window_s: float
    offered_rps: float | None = None
    achieved_rps: float | None = None
    completed_rps: float | None = None
    output_tokens_per_s: float | None = None
    input_tokens_per_s: float | None = None
    total_tokens_per_s: float | None = None
    mean_concurrency: float | None = None
    littles_law_concurrency: float | None = None
    per_user_tokens_per_s: float | None = None
    goodput_rps: float | None = None
    attainment: float | None = None
    error_share: float | None = None
    cache_hit_ratio: float | None = None
    engine_cache_hit_ratio: float | None = None
    energy_j: float | None = None
    joules_per_output_token: float | None = None
    gpu: dict[str, float] = Field(default_factory=dict)
    engine: dict[str, float] = Field(default_factory=dict)
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    latencies: dict[str, Distribution] = Field(default_factory=dict)
    lateness_ms: Distribution = Distribution()
    client: dict[str, Any] = Field(default_factory=dict)
    slos: tuple[SLOAttainment, ...] = ()
    turns: tuple[TurnSummary, ...] = ()
    buckets: tuple[Bucket, ...] = ()
    reasons: dict[str, str] = Field(default_factory=dict)


class ImportedFrom(Spec):
    """The file of another tool that a trial was read from; `version` and `model` are empty where it does not say."""

    tool: Literal["guidellm", "vllm"]
    version: str = ""
    file: str
    model: str = ""


class PointResult(Spec):
    """A load point as measured on one launch, `launch`; 0 where it was part of no cell, or of one that had no other.
    `round` counts the ways through the load plan: one launch each, or several where one was cut short and another took
    the points that were missing. `directory` is relative to the launch's folder. `model` is the name that was asked of
    the server, at `endpoint`; `text_overhead_tokens` what it adds to a text: chat template and system prompt, where it
    had to be found out. Where it was not measured here, `imported_from` says by what, and `unknown` what that tool's
    file does not tell."""

    point: LoadPoint
    launch: int = 0
    round: int = 1
    summary: TrialSummary
    directory: str
    started_at: str
    seed: int = 0
    window_ns: tuple[int, int] = (0, 0)
    findings: tuple[str, ...] = ()
    honoured: dict[str, bool | str | None] = Field(default_factory=dict)
    model: str = ""
    endpoint: Literal["", "completions", "chat"] = ""
    text_overhead_tokens: int | None = None
    imported_from: ImportedFrom | None = None
    unknown: tuple[str, ...] = ()
    bound: PointBound | None = None
    cost: TokenCost | None = None


class Capacity(Spec):
    """The highest rate at which an SLO holds, as an interval: it holds at `certified_rps`, it does not at
    `refuted_rps`; either is None where nothing was shown. `verdict` is what may be said of the variant."""

    slo: str
    name: str
    verdict: Literal["certified", "refuted", "unknown"]
    certified_rps: float | None = None
    refuted_rps: float | None = None
    reason: str = ""


class WarmUpResult(Spec):
    """How a launch was warmed up before a cell: the tokens of each window, and whether the last of them agreed before
    the time was over."""

    launch: int = 0
    is_steady: bool
    seconds: float
    tokens_per_window: tuple[int, ...] = ()


class LaunchSummary(Spec):
    """One way through the load plan: what its points show by themselves. `launches` are several where one was cut short
    and another took the points that were missing."""

    launches: tuple[int, ...]
    headlines: dict[str, float] = Field(default_factory=dict)
    capacities: tuple[Capacity, ...] = ()


class BetweenLaunches(Spec):
    """A figure over `launches` independent launches: their mean, and its 95 % t interval; None below two."""

    launches: int
    mean: float
    low: float | None = None
    high: float | None = None


class Derating(Spec):
    """What an arrival process costs: `figure` under it over that under constant arrivals, at the same `rate_rps` where
    it is a latency. A ratio above 1 is a longer latency, one below 1 a smaller capacity."""

    arrivals: str
    figure: str
    rate_rps: float | None = None
    value: float | None = None
    constant: float | None = None
    ratio: float | None = None
    reason: str = ""


class CellResult(Spec):
    """cell.json: one cell of one campaign, whole. `headlines` holds floor_ttft_p50_ms, saturation_rps,
    saturation_output_tokens_per_s, capacity_rps/NAME where certified, and derating/ARRIVALS/FIGURE; `headline_reasons`
    says why one is absent. Over several launches they are means, and `between_launches` has their intervals. `launch`
    is the latest; each point names its own. `load_plan`, `slos` and `seed` are what it was measured by: with them it
    can be measured again. `quality` is the variant's, None where the experiment asks for none; `cold_starts` are the
    starts of its servers."""

    cell_id: str
    experiment: str
    campaign: str
    launch: int
    variant: Variant
    workload: Workload
    state: CellState
    grade: Literal["A", "B", "C", "D", "E", "F"] | None = None
    reasons: tuple[str, ...] = ()
    stage: str = ""
    cause: str = ""
    failure_class: FailureClass | None = None
    log_excerpt: str = ""
    points: tuple[PointResult, ...] = ()
    headlines: dict[str, float] = Field(default_factory=dict)
    headline_reasons: dict[str, str] = Field(default_factory=dict)
    capacities: tuple[Capacity, ...] = ()
    deratings: tuple[Derating, ...] = ()
    launches: tuple[LaunchSummary, ...] = ()
    between_launches: dict[str, BetweenLaunches] = Field(default_factory=dict)
    warm_ups: tuple[WarmUpResult, ...] = ()
    bounds: CellBounds | None = None
    bound_reason: str = ""
    cost: CellCost | None = None
    quality: QualityResult | None = None
    cold_starts: tuple[ColdStart, ...] = ()
    stages_s: dict[str, float] = Field(default_factory=dict)
    provenance: dict[str, Any] = Field(default_factory=dict)
    started_at: str = ""
    ended_at: str = ""
    mlflow_run_id: str = ""
    prefect_run_id: str = ""
    load_plan: LoadPlan | None = None
    slos: tuple[SLO, ...] = ()
    seed: int = 0
