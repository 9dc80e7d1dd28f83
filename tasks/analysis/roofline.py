"""Bounds: what memory bandwidth, arithmetic and memory would allow at best. No engine can be faster; each is measured
by how near it comes.

After Lacroix's inference arithmetic, in general form: KV reads, experts, windows and latent attention count, peaks are
dense, and quantized weights need not mean quantized arithmetic.
"""

import math
from dataclasses import dataclass

from experiments.schema.bound import Binding
from tasks.analysis.model_shape import ModelShape


@dataclass(frozen=True, slots=True)
class Precision:
    """Bytes of a parameter of the layers, of the embedding and output projection, and of experts; `compute` is the unit
    that multiplies, where the hardware has it: weight-only formats multiply in BF16."""

    layer_bytes: float
    table_bytes: float
    expert_bytes: float
    compute: str = "bf16"


def _of(layer_bytes: float, *, table_bytes: float = 2.0, compute: str = "bf16") -> Precision:
    return Precision(layer_bytes, table_bytes, layer_bytes, compute)


PRECISIONS: dict[str, Precision] = {
    "bf16": _of(2.0),
    "f16": _of(2.0),
    "fp8": _of(1.0, compute="fp8"),
    "fp8_block": _of(1.0, compute="fp8"),
    "int8": _of(1.0),
    "w8a8": _of(1.0, compute="int8"),
    "int4_awq": _of(0.5 + 2.5 / 128),
    "nf4": _of(0.5 + 4 / 64),
    "mxfp4": Precision(2.0, 2.0, 0.5 + 1 / 32),
    "q8_0": _of(34 / 32, table_bytes=34 / 32),
    "q6_k": _of(210 / 256, table_bytes=210 / 256),
    "q5_k_m": _of(176 / 256, table_bytes=176 / 256),
    "q4_k_m": _of(144 / 256, table_bytes=144 / 256),
    "q4_0": _of(18 / 32, table_bytes=18 / 32),
}
"""By the neutral word of a quantization, or the quant_method of a config.json. Scales count; the few tensors that stay
in BF16 and the larger types that _m files mix in do not: a bound may be too generous, never too strict."""

KV_BYTES: dict[str | None, float] = {
    None: 2.0, "f16": 2.0, "bf16": 2.0, "fp8": 1.0, "fp8_e4m3": 1.0, "fp8_e5m2": 1.0, "q8_0": 34 / 32, "q4_0": 18 / 32,
}  # fmt: skip
"""Of one value of the cache, by the variant's word; None is the model's own 16 bits."""

WEIGHTS_OF_METHOD = {"mxfp4": "mxfp4", "fp8": "fp8_block"}
"""Checkpoints that come quantized: what their config.json says stands above what the variant does."""


@dataclass(frozen=True, slots=True)
class Machine:
    """All GPUs of a replica together. A None is not known."""

    gpus: int
    bandwidth_bytes_per_s: float
    memory_bytes: float | None = None
    flops: float | None = None
    attention_flops: float | None = None


@dataclass(frozen=True, slots=True)
class Roofline:
    """A model in a precision on a machine."""

    shape: ModelShape
    precision: Precision
    kv_bytes: float
    machine: Machine

    @property
    def weight_bytes(self) -> float:
        """Of all weights, as they lie in memory."""
        shape, tables = self.shape, self.shape.embedding + (0 if self.shape.is_tied else self.shape.output_head)
        experts = shape.moe_layers * shape.experts * shape.expert
        return self._bytes(tables, shape.every_step, experts)

    def weight_bytes_read(self, batch: float) -> float:
        """By one decode step of `batch` tokens."""
        shape = self.shape
        return self._bytes(shape.output_head, shape.every_step, shape.experts_read(batch))

    def _bytes(self, tables: float, layers: float, experts: float) -> float:
        p = self.precision
        return tables * p.table_bytes + layers * p.layer_bytes + experts * p.expert_bytes

    def kv_sequence_bytes(self, context_tokens: float) -> float:
        """That one sequence of that length keeps, and each of its decode steps reads."""
        return self.shape.kv_tokens(context_tokens) * self.shape.kv_values * self.kv_bytes

    @property
    def kv_bytes_per_token(self) -> float:
        """While no window is full yet."""
        return self.kv_sequence_bytes(1)

    @property
    def latency_floor_s(self) -> float:
        """Between two tokens of one request alone, its KV not counted: bytes of weights over bandwidth."""
        return self.weight_bytes_read(1) / self.machine.bandwidth_bytes_per_s

    def decode_memory_s(self, batch: float, context_tokens: float) -> tuple[float, float]:
        """(weights, KV): what one step of a batch spends to read each."""
        kv = batch * self.kv_sequence_bytes(context_tokens)
        bandwidth = self.machine.bandwidth_bytes_per_s
        return self.weight_bytes_read(batch) / bandwidth, kv / bandwidth

    def decode_compute_s(self, batch: float, context_tokens: float) -> float:
        """2 FLOPs a parameter and token, and attention over the context; 0 where the peak is not known."""
        attention = self.shape.attention_flops * self.shape.kv_tokens(context_tokens)
        return batch * (self._matmul_s(self.shape.matmul_active) + self._attention_s(attention))

    def decode_step_s(self, batch: float, context_tokens: float) -> float:
        """The least that one step of a batch takes; reading and computing may overlap entirely."""
        return max(sum(self.decode_memory_s(batch, context_tokens)), self.decode_compute_s(batch, context_tokens))

    def prefill_compute_s(self, prompt_tokens: float) -> float:
        """Every prompt token passes every active parameter but the output projection, which only the last one needs."""
        shape = self.shape
        layers = shape.matmul_active - shape.output_head
        attention = shape.attention_flops * shape.attention_pairs(prompt_tokens)
        matmul = self._matmul_s(layers * prompt_tokens + shape.output_head)
        return matmul + self._attention_s(attention)

    def prefill_s(self, prompt_tokens: float) -> float | None:
        """The least that one prompt takes; None where the arithmetic's peak is not known."""
        if self.machine.flops is None:
            return None
        reading = self.weight_bytes_read(prompt_tokens) / self.machine.bandwidth_bytes_per_s
        return max(self.prefill_compute_s(prompt_tokens), reading)

    @property
    def critical_batch(self) -> float | None:
        """B*: the batch whose arithmetic takes as long as reading the weights. For a dense model bytes per weight ·
        FLOPs / (2 · bandwidth); with experts the batch itself decides how many are read. None: peak not known."""
        if self.machine.flops is None:
            return None
        low, high = 0.0, 1.0
        while self._computes_longer(high) is False:
            high *= 2
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if self._computes_longer(middle) else (middle, high)
        return high

    def _computes_longer(self, batch: float) -> bool:
        reading = self.weight_bytes_read(batch) / self.machine.bandwidth_bytes_per_s
        return batch * self._matmul_s(self.shape.matmul_active) >= reading

    def largest_batch(self, context_tokens: float, *, memory_fraction: float) -> int | None:
        """Sequences of that length whose KV fits beside the weights; None where the memory is not known."""
        if self.machine.memory_bytes is None:
            return None
        room = self.machine.memory_bytes * memory_fraction - self.weight_bytes
        return max(0, math.floor(room / self.kv_sequence_bytes(context_tokens)))

    def _matmul_s(self, params: float) -> float:
        return 2 * params / self.machine.flops if self.machine.flops else 0.0

    def _attention_s(self, flops: float) -> float:
        return flops / self.machine.attention_flops if self.machine.attention_flops else 0.0


@dataclass(frozen=True, slots=True)
class Mix:
    """What one request of a point asks: prompt tokens to compute (none that a cache answered), prompt tokens in all,
    output tokens."""

    computed_prompt_tokens: float
    prompt_tokens: float
    output_tokens: float

    @property
    def context_tokens(self) -> float:
        """In the mean over its decode steps."""
        return self.prompt_tokens + self.output_tokens / 2


def throughput_bound(
    roofline: Roofline, mix: Mix, *, in_flight: float, largest_batch: int | None
) -> tuple[float, Binding] | None:
    """(requests a second at most with so many in flight, what binds); None where nothing that is known binds, as with
    answers of one token on hardware whose arithmetic is not known.

    A request costs its share of the steps that it takes part in, and its prefill. A step of b sequences is read for all
    of them, so a mean of b over steps bounds the mean throughput; b is at most what is in flight, and what fits.
    """
    batch = max(1.0, in_flight if largest_batch is None else min(in_flight, max(1, largest_batch)))
    weights_s, kv_s = roofline.decode_memory_s(batch, mix.context_tokens)
    steps = max(mix.output_tokens - 1, 0.0) / batch  # prefill gives the first token
    decode_s = steps * roofline.decode_compute_s(batch, mix.context_tokens)
    prefill_s = roofline.prefill_compute_s(mix.computed_prompt_tokens)
    memory_s = steps * (weights_s + kv_s)
    if decode_s + prefill_s > memory_s:
        return 1 / (decode_s + prefill_s), "prefill compute" if prefill_s > decode_s else "decode compute"
    if not memory_s:
        return None
    if largest_batch is not None and in_flight > largest_batch:
        return 1 / memory_s, "KV capacity"
    return 1 / memory_s, "weights bandwidth" if weights_s >= kv_s else "KV bandwidth"
