"""What the instrument is told to do, and what it says of itself afterwards: plain data on both sides."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engine_adapters.base import MetricsDialect, RequestDialect
from experiments.schema.load import Load, StopRule
from experiments.schema.workload import Workload


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server answers. `url` is its root (no /v1); the key itself is read from the environment when it is used,
    and is never part of any record."""

    url: str
    model: str
    api_key_env: str = ""


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """One load point on one launch. `tokenizer` is a folder with tokenizer.json, or None; `dataset` the file or folder
    of the workload's dataset on this machine. `metric_names` are the adapter's names of the counters that the server
    keeps at `metrics_path`, told in `metrics_dialect`. `gpus` are those of the launch, by NVML's index or UUID."""

    endpoint: Endpoint
    dialect: RequestDialect
    workload: Workload
    load: Load
    stop: StopRule
    seed: int = 0
    timeout_s: float = 120.0
    processes: int | None = None
    fresh_connections: bool = False
    tokenizer: Path | None = None
    dataset: Path | None = None
    metric_names: Mapping[str, str] = field(default_factory=dict)
    metrics_path: str = "/metrics"
    metrics_dialect: MetricsDialect = "prometheus"
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """What is seen while a trial runs, at 2 Hz; rates and percentiles are over the last seconds."""

    elapsed_s: float
    scheduled: int
    finished: int
    errors: int
    in_flight: int
    achieved_rps: float
    chunks_per_s: float
    ttft_p50_ms: float | None
    ttft_p95_ms: float | None


@dataclass(frozen=True, slots=True)
class ClientReport:
    """The instrument's account of itself in one trial. Lateness is s − a of the sent requests, in ms (open loop), or
    the turnaround of closed loop. `cpu_share` is CPU seconds over wall seconds of the busiest client process."""

    processes: int
    stamp: str  # "kernel", "user", or "mixed"
    events: int
    events_sharing_a_stamp: float
    cpu_us_per_event: float | None
    cpu_share: float
    loop_delay_p99_ms: float | None
    connect_p99_ms: float | None
    clock_step_us: float
    bytes_received: int
    scheduling: str = "normal"  # or "real-time", "nice": what the system granted the client while it measured


@dataclass(frozen=True, slots=True)
class TrialRecords:
    """Where the records of a trial lie, and its window W in CLOCK_MONOTONIC ns.

    `findings` are reasons of invalidity that the instrument itself knows: what the pre-flight could not make the
    server honour, a clock that stepped, a client without headroom. `honoured` is the pre-flight's account.
    `counters` is by how much the server's own counters grew from the first to the last request, by our names;
    `counters_reason` says why there are none.
    """

    parquet: Path
    window_start_ns: int
    window_end_ns: int
    client: ClientReport
    findings: tuple[str, ...] = ()
    honoured: dict[str, bool | str | None] = field(default_factory=dict)
    counters: dict[str, float] = field(default_factory=dict)
    counters_reason: str = ""
