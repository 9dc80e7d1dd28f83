"""A variant: one system under test. Two equal variants are the same server."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from experiments.schema.base import Name, Spec, content_id
from experiments.schema.model import Model


class Quantization(StrEnum):
    """The precision of the weights, in neutral words; each engine's adapter says which artifact that means for it.

    `w4a16` are 4-bit integers in groups that were rounded, or chosen by GPTQ: numbers other than those of AWQ. `mxfp4`
    is used as it is published, and never made.
    """

    BF16 = "bf16"
    F16 = "f16"
    FP8 = "fp8"
    FP8_BLOCK = "fp8_block"
    INT8 = "int8"
    W8A8 = "w8a8"
    INT4_AWQ = "int4_awq"
    W4A16 = "w4a16"
    MXFP4 = "mxfp4"
    NF4 = "nf4"
    Q8_0 = "q8_0"
    Q6_K = "q6_k"
    Q5_K_M = "q5_k_m"
    Q4_K_M = "q4_k_m"
    Q4_0 = "q4_0"


VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class EnvironmentVariable(Spec):
    """One variable of the server's environment. Never a secret: secrets come from dyno's own environment."""

    name: VariableName
    value: str


EndpointURL = Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.\[\]:_-]+(/[A-Za-z0-9._~/-]*)?$")]
"""The root of a server that is there already: no user, password or query in it, so that it can be on record."""


class Variant(Spec):
    """Engine and version, model, quantization, parallelism, flags, hardware. None means: the engine's own default, but
    for `prefix_cache`, which is off, and `cpu_threads`, which are all cores but one, where the engine has a switch.

    `engine_backend` is one of an engine's several executors, by its own name for it: pytorch, tensorrt, turbomind.
    `speculative_tokens` without a method are looked up as n-grams of what was said before; `speculative_model` is the
    draft's folder or repository as the engine is to find it, for draft_model, eagle and eagle3. `api_key_env` names the
    environment variable of dyno's that holds the key of a server that is there already; no key is ever written.
    `stand_in` is never written by a person: it says that a program answers in the engine's place, and that nothing is
    measured.
    """

    engine: Name
    engine_version: Name
    model: Model
    quantization: Quantization
    hardware: Name = "cpu"
    runtime: Literal["environment", "container", "endpoint"] = "environment"
    endpoint_url: EndpointURL | None = None
    api_key_env: VariableName | None = None
    engine_backend: Name | None = None
    engine_profile: Name = "default"
    tensor_parallel: Annotated[int, Field(ge=1)] = 1
    pipeline_parallel: Annotated[int, Field(ge=1)] = 1
    expert_parallel: Annotated[int, Field(ge=1)] = 1
    max_model_len: Annotated[int, Field(ge=1)] | None = None
    max_num_seqs: Annotated[int, Field(ge=1)] | None = None
    kv_cache_dtype: Literal["f16", "bf16", "fp8", "fp8_e4m3", "fp8_e5m2", "q8_0", "q4_0"] | None = None
    gpu_memory_fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    prefix_cache: bool | None = None
    chunked_prefill: bool | None = None
    speculative_tokens: Annotated[int, Field(ge=1)] | None = None
    speculative_method: Literal["ngram", "draft_model", "eagle", "eagle3", "mtp"] | None = None
    speculative_model: Annotated[str, Field(pattern=r"^[^-\s]")] | None = None
    cpu_threads: Annotated[int, Field(ge=1)] | None = None
    dummy_weights: bool = False
    trust_remote_code: bool = False
    seed: int | None = None
    extra_args: tuple[str, ...] = ()
    env: tuple[EnvironmentVariable, ...] = ()
    stand_in: bool = False

    def identity(self) -> dict[str, Any]:
        """What makes this the system that it is: names that people chose are left out."""
        body = self.model_dump(mode="json")
        body["model"] = self.model.source.model_dump(mode="json")
        if self.model.calibration is not None:
            body["calibration"] = self.model.calibration
        for key in ("endpoint_url", "api_key_env", "engine_backend", "speculative_method", "speculative_model"):
            if body[key] is None:
                del body[key]  # without a value it is the same system whether that key exists or not
        if not self.stand_in:
            del body["stand_in"]
        return body

    @property
    def id(self) -> str:
        """Equal for equal systems, on every machine."""
        return content_id("variant", self.identity())

    @property
    def engine_name(self) -> str:
        """As it is shown and filtered by: a stand-in never bears the engine's name alone."""
        return f"STAND-IN of {self.engine}" if self.stand_in else self.engine

    @property
    def label(self) -> str:
        """For tables: engine, version, back end where one is named, model, quantization."""
        engine = " ".join(filter(None, (self.engine_name, self.engine_version, self.engine_backend)))
        return f"{engine} · {self.model.name} · {self.quantization}"
