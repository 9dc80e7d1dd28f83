"""The bounds of a cell and of each of its points, from what the result itself has on record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.schema.bound import CellBounds, PointBound
from experiments.schema.hardware import Hardware
from experiments.schema.result import CellResult, PointResult
from experiments.schema.variant import Variant
from experiments.schema.workload import Workload
from tasks.analysis.model_shape import ModelShape, UnknownShape, model_shape
from tasks.analysis.roofline import (
    KV_BYTES,
    PRECISIONS,
    WEIGHTS_OF_METHOD,
    Machine,
    Mix,
    Precision,
    Roofline,
    throughput_bound,
)

MEMORY_FRACTION = 0.9
"""Of the GPUs' memory, where a variant does not say: what engines take for themselves by default."""

NO_PEAK = "the peak of this hardware's arithmetic is not known"
NO_MEMORY = "this hardware's memory is not known"


class NoBound(ValueError):
    """Why there is none."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A roofline with what a person wants to know it for."""

    roofline: Roofline
    hardware: str
    weights: str
    memory_fraction: float

    def largest_batch(self, context_tokens: float) -> int | None:
        """Sequences of that length that fit."""
        return self.roofline.largest_batch(context_tokens, memory_fraction=self.memory_fraction)


def with_bounds(
    cell: CellResult, hardware: Hardware, *, config: Mapping[str, Any] | None, bandwidth: Sequence[Mapping[str, float]]
) -> CellResult:
    """The result with `bounds`, and each point with its `bound`, or the reason why there is none.

    `config` is the model's config.json; `bandwidth` what was measured of a CPU, as (working_set_bytes, gb_per_s).
    """
    try:
        subject = subject_of(cell.variant, hardware, config, bandwidth)
    except NoBound as no:
        points = tuple(p.model_copy(update={"bound": PointBound(reason=str(no))}) for p in cell.points)
        return cell.model_copy(update={"points": points, "bound_reason": str(no)})
    points = tuple(p.model_copy(update={"bound": point_bound(p, cell, subject)}) for p in cell.points)
    prompt, output = cell.workload.longest_prompt_tokens, cell.workload.longest_output_tokens
    bounds = cell_bounds(subject, prompt_tokens=prompt, context_tokens=prompt + output)
    return cell.model_copy(update={"points": points, "bounds": bounds})


def subject_of(
    variant: Variant, hardware: Hardware, config: Mapping[str, Any] | None, bandwidth: Sequence[Mapping[str, float]]
) -> Subject:
    """Raises NoBound."""
    if config is None:
        raise NoBound("the model's config.json is not known: it is neither in the store nor in the catalog")
    if variant.runtime == "endpoint" and not hardware.gpus:
        raise NoBound("the server was there already, and on what it runs is not known: name its hardware")
    if variant.speculative_tokens:
        raise NoBound("speculative decoding gives several tokens a step: no bound here holds for it")
    try:
        shape = model_shape(config)
    except UnknownShape as error:
        raise NoBound(str(error)) from error
    weights = WEIGHTS_OF_METHOD.get(shape.weight_format, variant.quantization.value)
    precision = PRECISIONS.get(weights)
    if precision is None:
        raise NoBound(f"the bytes of a weight in {variant.quantization} are not known here")
    machine = _machine(variant, hardware, precision, _cpu_bandwidth(bandwidth, shape, precision))
    fraction = variant.gpu_memory_fraction or MEMORY_FRACTION
    roofline = Roofline(shape, precision, KV_BYTES[variant.kv_cache_dtype], machine)
    return Subject(roofline, hardware.name, weights, fraction)


def _cpu_bandwidth(measured: Sequence[Mapping[str, float]], shape: ModelShape, precision: Precision) -> float | None:
    """That of a working set no larger than the weights: a small model is read from a cache. What a larger set is read
    at, a smaller one can be too, whatever was measured of it on a busy machine."""
    weights = shape.matmul_active * precision.layer_bytes
    sizes = sorted(entry["working_set_bytes"] for entry in measured)
    if not sizes:
        return None
    chosen = max((size for size in sizes if size <= weights), default=sizes[0])
    return max(entry["gb_per_s"] for entry in measured if entry["working_set_bytes"] >= chosen) * 1e9


def _machine(variant: Variant, hardware: Hardware, precision: Precision, cpu_bandwidth: float | None) -> Machine:
    used = max(variant.tensor_parallel * variant.pipeline_parallel, variant.expert_parallel)
    gpus = min(used, hardware.gpus) if hardware.gpus else 0
    if not gpus:
        if cpu_bandwidth is None:
            raise NoBound("this machine's memory bandwidth was not measured: dyno doctor does it")
        return Machine(0, cpu_bandwidth)
    if hardware.bandwidth_gb_per_s is None:
        raise NoBound(f"the catalog does not say the memory bandwidth of {hardware.name}")
    flops = _flops(hardware, precision.compute)
    return Machine(
        gpus=gpus,
        bandwidth_bytes_per_s=gpus * hardware.bandwidth_gb_per_s * 1e9,
        memory_bytes=gpus * hardware.memory_gib * 2**30 if hardware.memory_gib else None,
        flops=gpus * flops if flops else None,
        attention_flops=gpus * flops if flops else None,
    )


def _flops(hardware: Hardware, compute: str) -> float | None:
    """Of one GPU; hardware without that unit multiplies in BF16, as engines then do."""
    peak = next((value for name, value in hardware.tflops.items() if name == compute), None)
    peak = peak or hardware.tflops.get("bf16")
    return peak * 1e12 if peak else None


def cell_bounds(subject: Subject, *, prompt_tokens: float, context_tokens: float) -> CellBounds:
    """Of a model on hardware, for prompts and whole sequences of these lengths."""
    roofline, machine = subject.roofline, subject.roofline.machine
    prefill_s, largest = roofline.prefill_s(prompt_tokens), subject.largest_batch(context_tokens)
    missing = {"tflops": machine.flops, "critical_batch": machine.flops, "prefill_ms": machine.flops}
    reasons = {name: NO_PEAK for name, value in missing.items() if value is None}
    return CellBounds(
        hardware=subject.hardware,
        gpus=machine.gpus,
        weights=subject.weights,
        total_params=roofline.shape.total,
        active_params=roofline.shape.active,
        matmul_active_params=roofline.shape.matmul_active,
        weight_bytes=roofline.weight_bytes,
        kv_bytes_per_token=roofline.kv_bytes_per_token,
        prompt_tokens=prompt_tokens,
        context_tokens=context_tokens,
        bandwidth_gb_per_s=machine.bandwidth_bytes_per_s / 1e9,
        tflops=machine.flops / 1e12 if machine.flops else None,
        latency_floor_ms=1e3 * roofline.latency_floor_s,
        critical_batch=roofline.critical_batch,
        largest_batch=largest,
        prefill_ms=None if prefill_s is None else 1e3 * prefill_s,
        reasons=reasons | ({"largest_batch": NO_MEMORY} if largest is None else {}),
    )


def point_bound(point: PointResult, cell: CellResult, subject: Subject) -> PointBound:
    """What so many requests in flight allow, and the share of it that was attained. An invalid trial has none: its
    throughput is no figure."""
    summary = point.summary
    in_flight, output = summary.mean_concurrency, summary.output_tokens_per_s
    if not summary.valid or in_flight is None or output is None:
        return PointBound(reason="the trial is invalid, or its throughput was not measured")
    mix = _mix(point, cell.workload)
    if mix is None:
        return PointBound(reason="no request was completed")
    roofline, largest = subject.roofline, subject.largest_batch(mix.prompt_tokens + mix.output_tokens)
    found = throughput_bound(roofline, mix, in_flight=in_flight, largest_batch=largest)
    if found is None:
        return PointBound(reason=f"one token is prefill alone, and {NO_PEAK}")
    bound_rps, binds = found
    batch = max(1.0, in_flight if largest is None else min(in_flight, max(1, largest)))
    return PointBound(
        floor_ms=1e3 * roofline.latency_floor_s,
        step_ms=1e3 * roofline.decode_step_s(batch, mix.context_tokens),
        batch=batch,
        context_tokens=mix.context_tokens,
        bound_tokens_per_s=bound_rps * mix.output_tokens,
        share=output / (bound_rps * mix.output_tokens),
        binds=binds,
    )


def _mix(point: PointResult, workload: Workload) -> Mix | None:
    """Lengths as realised, in the mean; as asked where the server does not count them."""
    summary = point.summary
    completed = summary.outcomes.get("completed", 0)
    if not completed:
        return None
    prompt = summary.prompt_tokens / completed if summary.prompt_tokens else float(workload.longest_prompt_tokens)
    output = summary.output_tokens / completed if summary.output_tokens else float(workload.longest_output_tokens)
    told = [ratio for ratio in (summary.cache_hit_ratio, summary.engine_cache_hit_ratio) if ratio is not None]
    cached = max(told) if told else 0.0 if workload.cache == "cold" else 1.0
    return Mix(prompt * (1 - min(cached, 1.0)), prompt, max(output, 1.0))
