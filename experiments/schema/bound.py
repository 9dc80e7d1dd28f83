"""What the hardware would allow, and what a measured point made of it; what tokens cost in time and money."""

from typing import Literal

from pydantic import Field

from experiments.schema.base import Spec

Binding = Literal["weights bandwidth", "KV bandwidth", "decode compute", "prefill compute", "KV capacity"]


class PointBound(Spec):
    """Of one load point. `floor_ms` is the least time between two tokens of one request alone, `step_ms` that of the
    point's own batch and context. `share` is of `bound_tokens_per_s`, the most output tokens a second that so many
    requests in flight allow. Where there is none, `reason` says why."""

    floor_ms: float | None = None
    step_ms: float | None = None
    batch: float | None = None
    context_tokens: float | None = None
    bound_tokens_per_s: float | None = None
    share: float | None = None
    binds: Binding | None = None
    reason: str = ""


class CellBounds(Spec):
    """Of a model on hardware. `weights` is the precision that was counted with; parameters are counts;
    `critical_batch` is B*, above which decoding is bound by compute; `largest_batch` is what fits beside the weights at
    `context_tokens`; `prefill_ms` is of one prompt of `prompt_tokens`. A None has its reason under its name."""

    hardware: str
    gpus: int
    weights: str
    total_params: int
    active_params: int
    matmul_active_params: int
    weight_bytes: float
    kv_bytes_per_token: float
    prompt_tokens: float
    context_tokens: float
    bandwidth_gb_per_s: float | None = None
    tflops: float | None = None
    latency_floor_ms: float | None = None
    critical_batch: float | None = None
    largest_batch: int | None = None
    prefill_ms: float | None = None
    reasons: dict[str, str] = Field(default_factory=dict)


class TokenCost(Spec):
    """For a million tokens. `usd` is (low, high): equal where one price is known."""

    input: float | None = None
    output: float | None = None
    total: float | None = None
    usd_input: tuple[float, float] | None = None
    usd_output: tuple[float, float] | None = None
    usd_total: tuple[float, float] | None = None


class CellCost(Spec):
    """`unit` is what the figures of `saturation` and `capacities` count: GPU-seconds, or machine-seconds on a CPU whose
    price is known. `capacities` is by the name of the SLO, at its certified rate."""

    unit: Literal["GPU-seconds", "machine-seconds"] | None = None
    gpus: int = 0
    usd_per_hour: tuple[float, float] | None = None
    price_source: str = ""
    saturation: TokenCost | None = None
    capacities: dict[str, TokenCost] = Field(default_factory=dict)
    reasons: dict[str, str] = Field(default_factory=dict)
