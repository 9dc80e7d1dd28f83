"""Cells that nobody measured: figures of a simple model of a server, to test the page. Every page of them says so."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from experiments.schema.base import METHOD_VERSION, content_id
from experiments.schema.bound import CellBounds, CellCost, PointBound
from experiments.schema.cold_start import ColdStart
from experiments.schema.comparison import ChangeVerdict, ComparisonResult, FigureChange
from experiments.schema.failure import FailureClass
from experiments.schema.load import ClosedLoop, LoadPoint, OpenLoop, Poisson, StopRule
from experiments.schema.model import HubSource, Model
from experiments.schema.quality import QualityComparison, QualityResult
from experiments.schema.result import Capacity, CellResult, CellState, Distribution, PointResult, TrialSummary
from experiments.schema.variant import Quantization, Variant
from experiments.schema.workload import Workload

NOTICE = "SYNTHETIC DATA: these figures come from a formula, to test this page. Nothing here was measured."

ENGINES = {"vllm": ("0.32.0", "0.33.0"), "sglang": ("0.5.22", "0.5.23"), "tensorrt_llm": ("1.2.1",)}
SPEED = {"vllm": 1.0, "sglang": 1.07, "tensorrt_llm": 1.16}
RELEASE_GAIN = {"0.33.0": 1.04, "0.5.23": 0.93}
MODELS = {"llama-3.1-8b-instruct": 8.0, "llama-3.1-70b-instruct": 70.0, "gemma-3-27b-it": 27.0, "qwen3-30b-a3b": 5.0}
PRECISIONS = {Quantization.BF16: 1.0, Quantization.FP8: 1.55, Quantization.INT4_AWQ: 1.35}
HARDWARE = {
    "h100-sxm": (1, 1.0, (1.99, 5.0)),
    "h200-sxm": (1, 1.35, (2.5, 7.0)),
    "h100-sxm-x8": (8, 6.2, (15.92, 40.0)),
}
LENGTHS = (
    (128, 1024), (256, 2048), (512, 512), (512, 4096), (1024, 128), (1024, 1024), (2048, 256), (2048, 2048),
    (4096, 512),
)  # fmt: skip
AGREEMENT = {Quantization.FP8: 0.981, Quantization.INT4_AWQ: 0.931}
"""With BF16; below 0.95 it is past a limit."""
FRACTIONS = (0.3, 0.5, 0.65, 0.8, 0.9)


@dataclass(frozen=True, slots=True)
class Server:
    """What the formula needs: requests/s at the ceiling, and latencies of one request alone."""

    ceiling_rps: float
    first_ms: float
    each_ms: float
    out_tokens: int
    in_tokens: int
    gpus: int

    def first(self, load: float) -> float:
        """Median time to first token at a share of the ceiling."""
        return self.first_ms * (1 + 0.6 * load + 0.8 * load * load * load * load / max(0.04, 1.04 - load))

    def each(self, load: float) -> float:
        """Median time per token."""
        return self.each_ms * (1 + 1.9 * load * load)


def synthetic_cells(count: int, seed: int = 7) -> list[CellResult]:
    """The first `count` cells of an endless matrix; a round after the first differs in max_num_seqs."""
    return list(itertools.islice(_cells(random.Random(seed)), count))


def _cells(rng: random.Random) -> Iterator[CellResult]:
    for round_ in itertools.count():
        for lengths, model, hardware, engine, quantization in itertools.product(
            LENGTHS, MODELS, HARDWARE, ENGINES, PRECISIONS
        ):
            for version in ENGINES[engine]:
                variant = _variant(engine, version, model, quantization, hardware, round_)
                workload = Workload(
                    name=f"in{lengths[0]}-out{lengths[1]}", prompt_tokens=lengths[0], output_tokens=lengths[1]
                )
                yield _cell(variant, workload, rng)


def _variant(engine: str, version: str, model: str, quantization: Quantization, hardware: str, round_: int) -> Variant:
    return Variant(
        engine=engine, engine_version=version, quantization=quantization, hardware=hardware, runtime="container",
        model=Model(name=model, source=HubSource(kind="hub", repo=f"synthetic/{model}")),
        tensor_parallel=HARDWARE[hardware][0], max_num_seqs=64 * (round_ + 1) if round_ else None,
    )  # fmt: skip


def _cell(variant: Variant, workload: Workload, rng: random.Random) -> CellResult:
    cell = CellResult(
        cell_id=content_id("synthetic", variant.identity(), workload.identity()), experiment="synthetic",
        campaign="synthetic-1", launch=1, variant=variant, workload=workload, state=CellState.MEASURED,
        started_at="2026-11-20T10:00:00+00:00", ended_at="2026-11-20T10:14:00+00:00",
        provenance={
            "machine": {"cpu": "SYNTHETIC", "cpu_cores": 64}, "launch_s": {"healthy_s": 41.0, "first_token_s": 44.5},
            "argv": [
                variant.engine, "serve", variant.model.name, "--tensor-parallel", str(variant.tensor_parallel),
                "--note", "it's synthetic",
            ],
        },
        stages_s={"download": 0.0, "launch": rng.uniform(30, 90), "warm up": 12.0, "load sweep": 700.0},
    )  # fmt: skip
    if variant.model.name.endswith("70b-instruct") and variant.hardware != "h100-sxm-x8":
        return _failed(cell)
    if variant.engine == "tensorrt_llm" and variant.quantization is Quantization.INT4_AWQ:
        return cell.model_copy(
            update={"state": CellState.UNSUPPORTED, "cause": "no published checkpoint has this precision"}
        )
    return _measured(cell, rng)


def _failed(cell: CellResult) -> CellResult:
    return cell.model_copy(
        update={
            "state": CellState.FAILED, "stage": "launch", "failure_class": FailureClass.OUT_OF_MEMORY, "grade": "F",
            "cause": "the weights do not fit beside the KV cache", 
            "log_excerpt": "torch.OutOfMemoryError: CUDA out of memory.",
        }
    )  # fmt: skip


def _server(cell: CellResult, rng: random.Random) -> Server:
    variant, workload = cell.variant, cell.workload
    gpus, hardware_speed, _ = HARDWARE[variant.hardware]
    speed = hardware_speed * SPEED[variant.engine] * RELEASE_GAIN.get(variant.engine_version, 1.0)
    speed *= PRECISIONS[variant.quantization] * rng.uniform(0.97, 1.03) * (1 + 0.05 * bool(variant.max_num_seqs))
    size = MODELS[variant.model.name]
    in_tokens, out_tokens = workload.longest_prompt_tokens, workload.longest_output_tokens
    tokens = out_tokens + in_tokens / 12
    return Server(
        ceiling_rps=60_000 * speed / size**0.8 / tokens, first_ms=6 + 0.012 * in_tokens * size / speed,
        each_ms=2.2 + 0.7 * size / speed / PRECISIONS[variant.quantization] ** 0.2, out_tokens=out_tokens,
        in_tokens=in_tokens, gpus=gpus,
    )  # fmt: skip


def _measured(cell: CellResult, rng: random.Random) -> CellResult:
    server = _server(cell, rng)
    points = [_point(server, ClosedLoop(concurrency=1), "synchronous", 0.04, rng)]
    points += [
        _point(server, ClosedLoop(concurrency=2**k), "saturation", 1 - 0.5 ** (k / 3), rng) for k in range(2, 9, 2)
    ]
    for load in (*FRACTIONS, 1.1):
        how = OpenLoop(arrivals=Poisson(), rate_rps=server.ceiling_rps * load)
        points.append(_point(server, how, "overloaded" if load > 1 else "open_loop", load, rng))
    price = HARDWARE[cell.variant.hardware][2]
    saturation = server.ceiling_rps * server.out_tokens
    return cell.model_copy(
        update={
            "grade": rng.choice("AAB"), "points": tuple(points), "capacities": (_capacity(points),),
            "headlines": {
                "floor_ttft_p50_ms": server.first_ms, "saturation_rps": server.ceiling_rps,
                "saturation_output_tokens_per_s": saturation,
            },
            "quality": _quality(cell.variant), "cold_starts": _cold_starts(cell.variant),
            "cost": CellCost(unit="GPU-seconds", gpus=server.gpus, usd_per_hour=price, price_source="synthetic"),
            "bounds": CellBounds(
                hardware=cell.variant.hardware, gpus=server.gpus, weights="bf16", total_params=1, active_params=1,
                matmul_active_params=1, weight_bytes=1.0, kv_bytes_per_token=1.0, prompt_tokens=server.in_tokens,
                context_tokens=server.in_tokens + server.out_tokens, latency_floor_ms=server.each_ms * 0.62,
                critical_batch=295.0, largest_batch=180,
            ),
        }
    )  # fmt: skip


def _quality(variant: Variant) -> QualityResult | None:
    agreement = AGREEMENT.get(variant.quantization)
    if agreement is None:
        return None
    against = QualityComparison(
        reference="vllm bf16", reference_variant_id="0" * 12, reference_is="same engine", tokens=4000, texts=60,
        perplexity_ratio=1.02, perplexity_ratio_interval=(1.01, 1.03), agreement=agreement,
        agreement_interval=(agreement - 0.01, agreement + 0.01),
    )  # fmt: skip
    flags = ("agreement with the reference is below 0.95",) if agreement < 0.95 else ()
    return QualityResult(method="synthetic", perplexity=8.1, comparison=against, flags=flags)


def _cold_starts(variant: Variant) -> tuple[ColdStart, ...]:
    """Of vLLM only: a warm one after a cold one."""
    if variant.engine != "vllm":
        return ()
    cold = ColdStart(
        cold=True, how_known="the page cache was dropped", pull_s=20.0, weights_s=14.0, compile_s=33.0, capture_s=9.0,
        healthy_s=71.0, first_token_s=71.4,
    )  # fmt: skip
    return cold, ColdStart(
        launch=1, cold=False, how_known="the page cache held all", healthy_s=24.0, first_token_s=24.3
    )


def _point(server: Server, load: OpenLoop | ClosedLoop, role: str, share: float, rng: random.Random) -> PointResult:
    noise, n = rng.uniform(0.98, 1.02), 700
    first, each = server.first(share) * noise, server.each(min(share, 1.0)) * noise
    last = first + each * (server.out_tokens - 1)
    rate = min(share, 1.0) * server.ceiling_rps * rng.uniform(0.995, 1.005)
    summary = TrialSummary(
        method_version=METHOD_VERSION, requests=n, outcomes={"completed": n}, valid=True, window_s=n / rate,
        offered_rps=rate, achieved_rps=rate, completed_rps=rate, output_tokens_per_s=rate * server.out_tokens,
        input_tokens_per_s=rate * server.in_tokens, total_tokens_per_s=rate * (server.in_tokens + server.out_tokens),
        mean_concurrency=rate * last / 1000, per_user_tokens_per_s=1000 / each, error_share=0.0,
        latencies={
            "ttft_ms": _distribution(first, n, 1.0, rng), "ttft_response_ms": _distribution(first * 1.001, n, 1.0, rng),
            "itl_ms": _distribution(each, n * server.out_tokens, 0.35, rng),
            "tpot_ms": _distribution(each, n, 0.2, rng),
            "e2e_ms": _distribution(last, n, 0.3, rng), "e2e_response_ms": _distribution(last * 1.0005, n, 0.3, rng),
        },
    )  # fmt: skip
    return PointResult(
        point=LoadPoint.model_validate(
            {"step": 0, "role": role, "load": load.model_dump(), "stop": StopRule(requests=n).model_dump()}
        ),
        summary=summary, directory=f"00-{role}", started_at="2026-11-20T10:02:00+00:00",
        bound=PointBound(share=min(0.9, 0.3 + 0.5 * share)),
    )  # fmt: skip


def _distribution(middle: float, n: int, spread: float, rng: random.Random) -> Distribution:
    """Percentiles at fixed multiples of the median, each with an interval that is wider the rarer it is."""
    found = {
        name: middle * (1 + spread * reach) * rng.uniform(0.995, 1.005)
        for name, reach in (("p50", 0.0), ("p90", 0.5), ("p95", 0.8), ("p99", 1.6))
    }
    width = {"p50": 0.02, "p90": 0.04, "p95": 0.06, "p99": 0.15}
    intervals = {name: (value * (1 - width[name]), value * (1 + width[name])) for name, value in found.items()}
    return Distribution(n=n, mean=middle, intervals=intervals, **found)


def _capacity(points: list[PointResult]) -> Capacity:
    """As the search would leave it at TTFT p95 < 300 ms."""
    limit, held, broken = 300.0, None, None
    for point in points:
        if point.point.role != "open_loop":
            continue
        low, high = point.summary.latencies["ttft_response_ms"].intervals["p95"]
        if high is not None and high < limit:
            held = max(held or 0.0, point.summary.achieved_rps or 0.0)
        if low is not None and low >= limit:
            broken = min(broken or 1e9, point.summary.achieved_rps or 0.0)
    verdict = "certified" if held else "refuted" if broken else "unknown"
    return Capacity.model_validate(
        {
            "slo": "ttft_response:p95<300ms", "name": "ttft_response_p95_300ms", "verdict": verdict,
            "certified_rps": held, "refuted_rps": broken, "reason": "synthetic",
        }
    )  # fmt: skip


def synthetic_comparisons() -> list[ComparisonResult]:
    """Two releases compared: one faster, one slower."""
    return [
        _comparison("vllm", "0.32.0", "0.33.0", 0.041, ChangeVerdict.EQUIVALENT, "2026-10-02"),
        _comparison("sglang", "0.5.22", "0.5.23", -0.072, ChangeVerdict.REGRESSED, "2026-11-11"),
    ]


def _comparison(engine: str, old: str, new: str, change: float, verdict: ChangeVerdict, day: str) -> ComparisonResult:
    figures = tuple(
        FigureChange(
            system="llama-3.1-8b-instruct fp8", workload="in1024-out128", at=at, metric="output_tokens_per_s",
            higher_is_better=True, verdict=verdict, margin=0.05, change=change + drift,
            interval=(change + drift - 0.015, change + drift + 0.015), launches=6,
        )
        for at, drift in (("0.3 of capacity", 0.0), ("0.6 of capacity", 0.004), ("0.85 of capacity", -0.003))
    )  # fmt: skip
    return ComparisonResult.model_validate(
        {
            "id": f"{engine}-{new}", "engine": engine, "from": old, "to": new, "experiment": "synthetic",
            "method_version": METHOD_VERSION, "verdict": verdict, "cells": figures,
            "started_at": f"{day}T00:00:00+00:00",
            "ended_at": f"{day}T06:00:00+00:00",
        }
    )  # fmt: skip
